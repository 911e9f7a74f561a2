"""Claims as a page shows them: verdict, reason, and the interval as a strip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from explorer.phases import counted, number
from explorer.phases.claims import FAILS, HOLDS, UNKNOWN, UNTESTED, Claim

ORDER = (HOLDS, FAILS, UNKNOWN)
SIGNS = {HOLDS: "✓", FAILS: "✗", UNKNOWN: "?"}
WIDTH = 260  # of a strip, in pixels of its own


def listed(claims: Sequence[Claim], figures: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The claims that the run tests: those that hold first, among equals those with a chart.

    So cards side by side are of about the same height.
    """
    tested = [c for c in claims if c.verdict != UNTESTED]
    tested.sort(key=lambda c: (ORDER.index(c.verdict), c.name not in figures))
    return [
        {"claim": c, "sign": SIGNS[c.verdict], "strip": strip(c), "figure": figures.get(c.name)}
        for c in tested
    ]


def score(claims: Sequence[Claim]) -> str:
    """How many hold, do not hold, cannot be told, as a sentence."""
    n = {v: sum(c.verdict == v for c in claims) for v in (*ORDER, UNTESTED)}
    tested = len(claims) - n[UNTESTED]
    return (
        f"Of {counted(tested, 'claim')} that this run can be asked, {n[HOLDS]} hold, {n[FAILS]} do not, "
        f"and of {n[UNKNOWN]} it cannot tell."
    )


def strip(claim: Claim) -> dict[str, Any] | None:
    """Where interval, effect, null and least relevant effect lie on a strip, in its pixels."""
    if not np.isfinite(claim.p):
        return None
    marks = [claim.low, claim.high, claim.effect, claim.null, claim.least]
    low, high = min(marks), max(marks)
    pad = 0.12 * (high - low or 1.0)

    def at(value: float) -> float:
        return round(8 + (WIDTH - 16) * (value - low + pad) / (high - low + 2 * pad), 1)

    return {
        "width": WIDTH,
        "low": at(claim.low),
        "high": at(claim.high),
        "effect": at(claim.effect),
        "null": at(claim.null),
        "least": at(claim.least) if claim.least != claim.null else None,
        "null_text": number(claim.null),
        "least_text": number(claim.least),
        "said": f"Effect {number(claim.effect)}, 95 % interval {number(claim.low)} to {number(claim.high)}, "
        f"p = {number(claim.p)} after correction",
    }
