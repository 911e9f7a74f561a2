"""Verdicts of claims, from an effect and its resampled values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from explorer.phases.claims.estimates import LEVEL, Estimate
from explorer.phases.numbers import format_amount, format_interval, format_number

HOLDS, FAILS, UNKNOWN, UNTESTED = "holds", "does not hold", "cannot tell", "not testable here"
SIGNS = {HOLDS: "✓", FAILS: "✗", UNKNOWN: "?", UNTESTED: ""}
RELEVANT_RHO = 0.2  # smallest rank correlation that would matter


@dataclass(frozen=True)
class Chart:
    """Chart of a claim: ``scatter`` (x, y, colour) or ``slices`` (measure, axis)."""

    kind: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """An estimated effect, positive if it supports the claim.

    ``quantity`` names the effect at the beginning of a sentence. ``basis`` names the data behind it, and its
    first number counts them, as in "40 cells". ``least`` is the smallest effect that would matter.
    """

    quantity: str
    estimate: Estimate
    basis: str
    chart: Chart
    unit: str = ""
    null: float = 0.0
    least: float = 0.0
    note: str = ""

    @property
    def n(self) -> int:
        return next((int(word) for word in self.basis.split() if word.isdecimal()), 0)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, with the verdict of this run.

    ``low`` and ``high`` are the ends of the 95 % interval of ``effect``. ``p`` is its two-sided probability
    under ``null``, and ``p_least`` that of an effect of ``least`` or more. Both are corrected by Holm's
    method over all claims that the run tests; ``p_alone`` has both before the correction. A claim *holds* if
    p < .05, the effect lies on the claimed side and it is at least ``least``. It *does not hold* if
    ``p_least`` < .05. Otherwise the run *cannot tell*. If the run lacks an axis or a measure that the
    claim needs, the claim is *not testable here*. ``n`` counts the cells or lines behind the effect, and
    ``basis`` names them. ``noise`` is the share of the variance of the effect that more replicates would
    reduce, and ``seeds`` the number of replicates of a cell. ``doubts`` are the one-sided p of second tests
    that the claim must pass to hold, and not to hold. ``would_decide`` says what would decide a claim that
    the run does not decide.
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
    p_least: float = np.nan
    unit: str = ""
    n: int = 0
    basis: str = ""
    noise: float = 0.0
    p_alone: tuple[float, float] = (np.nan, np.nan)
    hangs_on_cut: bool = False
    would_decide: str = ""
    seeds: int = 0
    doubts: tuple[float, float] = (0.0, 0.0)


def summarise(name: str, statement: str, evidence: Evidence) -> Claim:
    """Return a claim with its interval and uncorrected p; ``decide`` adds the verdict."""
    found, null, least = evidence.estimate, evidence.null, evidence.least
    p, p_least = min(1.0, 2 * min(found.tails(null))), min(1.0, 2 * found.tails(least)[1])
    amount = format_amount(found.value, evidence.unit)
    interval = f"{format_interval(found.low, found.high)} ({evidence.basis})"
    why = f"{evidence.quantity}: {amount}, {interval}. {evidence.note}".rstrip()
    return Claim(
        name, statement, "", why, evidence.chart, found.value, found.low, found.high, null, least, p, p_least,
        evidence.unit, evidence.n, evidence.basis, found.noise, (p, p_least), doubts=found.doubts,
    )  # fmt: skip


def decide(claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims with verdicts, and both p values after Holm's correction over the tested claims."""
    tested = [c for c in claims if np.isfinite(c.p)]
    p, p_least = holm({c.name: c.p for c in tested}), holm({c.name: c.p_least for c in tested})
    return [
        _decide_one(replace(c, p=p[c.name], p_least=p_least[c.name])) if c.name in p else c for c in claims
    ]


def holm(p: dict[str, float]) -> dict[str, float]:
    """Return p values corrected for their number by Holm's method."""
    adjusted, worst = {}, 0.0
    for k, name in enumerate(sorted(p, key=lambda name: p[name])):
        worst = max(worst, min(1.0, p[name] * (len(p) - k)))
        adjusted[name] = worst
    return adjusted


def _decide_one(claim: Claim) -> Claim:
    """Return the claim with its verdict, and with the reason of a verdict other than *holds*."""
    needed = format_amount(claim.least, claim.unit)
    if claim.effect >= claim.least and claim.effect > claim.null and claim.p < LEVEL:
        return replace(claim, verdict=HOLDS)
    verdict = UNKNOWN
    if claim.effect < claim.least and claim.p_least < LEVEL:
        verdict = FAILS
        reason = (
            f"At least {needed} would count."
            if claim.least > claim.null
            else f"All of it is below {format_number(claim.least)}."
        )
    elif claim.low <= claim.null:
        reason = f"The interval includes {format_number(claim.null)}."
        if claim.high < claim.least:
            reason = f"The interval is below {needed}, but not after correction for the number of claims."
    elif claim.effect < claim.least:
        reason = f"There is an effect, but it may be smaller than the {needed} that would count."
    else:
        reason = (
            f"p = {format_number(claim.p)} after correction for the number of claims, so it may be chance."
        )
    return replace(claim, verdict=verdict, why=f"{claim.why} {reason}")
