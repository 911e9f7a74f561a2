"""Claims for display: verdict, reason, and the interval as a strip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from explorer.phases import counted, number
from explorer.phases.claims import FAILS, HOLDS, UNKNOWN, UNTESTED, Claim

ORDER = (HOLDS, FAILS, UNKNOWN)
SIGNS = {HOLDS: "✓", FAILS: "✗", UNKNOWN: "?"}
WIDTH = 260  # of a strip, in the strip's own pixels


def listed(claims: Sequence[Claim], figures: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims that the run tests: those that hold first, and with a chart before without.

    This order gives neighbouring cards about the same height.
    """
    tested = [c for c in claims if c.verdict != UNTESTED]
    tested.sort(key=lambda c: (ORDER.index(c.verdict), c.name not in figures))
    return [
        {"claim": c, "sign": SIGNS[c.verdict], "strip": strip(c), "figure": figures.get(c.name)}
        for c in tested
    ]


def score(claims: Sequence[Claim]) -> str:
    """Return a sentence with the numbers of claims by verdict."""
    n = {v: sum(c.verdict == v for c in claims) for v in (*ORDER, UNTESTED)}
    tested = len(claims) - n[UNTESTED]
    return (
        f"Of {counted(tested, 'claim')} that this run can test, {n[HOLDS]} hold, {n[FAILS]} do not hold "
        f"and {n[UNKNOWN]} cannot be decided."
    )


def strip(claim: Claim) -> dict[str, Any] | None:
    """Return the positions of interval, effect, null and least relevant effect on a strip, in pixels."""
    if not np.isfinite(claim.p):
        return None
    marks = {name: getattr(claim, name) for name in ("low", "high", "effect", "null", "least")}
    low, high = min(marks.values()), max(marks.values())
    pad = 0.12 * (high - low or 1.0)
    scale = (WIDTH - 16) / (high - low + 2 * pad)
    places = {name: round(8 + scale * (value - low + pad), 1) for name, value in marks.items()}
    if claim.least == claim.null:
        del places["least"]
    return {
        **places,
        "width": WIDTH,
        "null_text": number(claim.null),
        "least_text": number(claim.least),
        "label": f"Effect {number(claim.effect)}, 95 % interval {number(claim.low)} to {number(claim.high)}, "
        f"p = {number(claim.p)} after correction",
    }
