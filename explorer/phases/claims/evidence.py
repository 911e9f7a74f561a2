"""Verdicts of claims, from an effect and its resampled values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from explorer.phases.numbers import number

HOLDS, FAILS, UNKNOWN, UNTESTED = "holds", "does not hold", "cannot tell", "not testable here"
LEVEL = 0.05
RELEVANT_RHO = 0.2  # smallest rank correlation that would matter


@dataclass(frozen=True)
class Chart:
    """Chart of a claim: ``scatter`` (x, y, colour) or ``slices`` (measure, axis)."""

    kind: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """An effect, positive if it supports the claim: ``values`` (1 + draws,), the first from the run itself.

    ``quantity`` names the effect at the beginning of a sentence. ``basis`` names the data behind it, such as
    "40 cells". ``least`` is the smallest effect that would matter.
    """

    quantity: str
    values: np.ndarray
    basis: str
    chart: Chart
    unit: str = ""
    null: float = 0.0
    least: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, with the verdict of this run.

    ``low`` and ``high`` are the ends of the 95 % bootstrap interval of ``effect``. ``p`` is its two-sided
    bootstrap probability under ``null``, after Holm's correction over all claims that the run tests. A claim
    *holds* if p < .05, the effect lies on the claimed side and the effect is at least ``least``. It *does not
    hold* if the whole interval lies below ``least``. Otherwise the run *cannot tell*. If the run lacks an
    axis or a measure that the claim needs, the claim is *not testable here*.
    """

    name: str
    statement: str
    verdict: str
    why: str
    chart: Chart | None = None
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    null: float = 0.0
    least: float = 0.0
    p: float = np.nan
    unit: str = ""


def summarise(name: str, statement: str, evidence: Evidence) -> Claim:
    """Return a claim with its interval and uncorrected p; ``decide`` adds the verdict."""
    effect, draws = float(evidence.values[0]), evidence.values[1:]
    draws = draws[np.isfinite(draws)]
    low, high = (float(end) for end in np.percentile(draws, [50 * LEVEL, 100 - 50 * LEVEL]))
    sides = [(draws <= evidence.null).sum(), (draws >= evidence.null).sum()]
    p = min(1.0, 2 * (min(sides) + 1) / (len(draws) + 1))
    amount = f"{number(effect)} {evidence.unit}".rstrip()
    interval = f"95 % interval {number(low)} to {number(high)} ({evidence.basis})"
    why = f"{evidence.quantity}: {amount}, {interval}. {evidence.note}".rstrip()
    return Claim(
        name, statement, "", why, evidence.chart, effect, low, high, evidence.null, evidence.least,
        float(p), evidence.unit,
    )  # fmt: skip


def decide(claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims with verdicts and p after Holm's correction over the tested claims."""
    tested = sorted((c for c in claims if np.isfinite(c.p)), key=lambda c: c.p)
    adjusted: dict[str, float] = {}
    worst = 0.0
    for k, claim in enumerate(tested):
        worst = max(worst, min(1.0, claim.p * (len(tested) - k)))
        adjusted[claim.name] = worst
    return [_decide_one(replace(c, p=adjusted[c.name])) if c.name in adjusted else c for c in claims]


def _decide_one(claim: Claim) -> Claim:
    """Return the claim with its verdict, and with the reason of a verdict other than *holds*."""
    unit = claim.unit.removesuffix("s") if claim.least == 1 else claim.unit
    needed = f"{number(claim.least)} {unit}".rstrip()
    if claim.effect >= claim.least and min(claim.effect, claim.low) > claim.null and claim.p < LEVEL:
        return replace(claim, verdict=HOLDS)
    verdict = UNKNOWN
    if claim.high < claim.least:
        verdict = FAILS
        reason = (
            f"At least {needed} would count." if claim.least > claim.null else f"All of it is below {needed}."
        )
    elif claim.low <= claim.null:
        reason = f"The interval includes {number(claim.null)}."
    elif claim.effect < claim.least:
        reason = f"There is an effect, but it may be smaller than the {needed} that would count."
    else:
        reason = f"p = {number(claim.p)} after correction for the number of claims, so it may be chance."
    return replace(claim, verdict=verdict, why=f"{claim.why} {reason}")
