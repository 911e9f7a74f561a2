"""Verdicts of claims, from an effect and its resampled values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from explorer.phases.numbers import number

HOLDS, FAILS, UNKNOWN, UNTESTED = "holds", "does not hold", "cannot tell", "not testable here"
LEVEL = 0.05


@dataclass(frozen=True)
class Chart:
    """Chart of a claim: ``scatter`` (x, y, colour) or ``slices`` (measure, axis)."""

    kind: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """An effect, positive if it supports the claim, with its values in resampled runs.

    ``least`` is the smallest effect that would matter. ``said`` names the effect at the beginning of a
    sentence. ``basis`` names the data behind it, such as "40 cells".
    """

    effect: float
    draws: np.ndarray  # (draws,)
    unit: str
    said: str
    basis: str
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


def judged(name: str, statement: str, chart: Chart, found: Evidence) -> Claim:
    """Return a claim with its interval and uncorrected p; ``corrected`` adds the verdict."""
    draws = found.draws[np.isfinite(found.draws)]
    low, high = np.percentile(draws, [50 * LEVEL, 100 - 50 * LEVEL])
    sides = [(draws <= found.null).sum(), (draws >= found.null).sum()]
    p = min(1.0, 2 * (min(sides) + 1) / (len(draws) + 1))
    unit = f" {found.unit}" if found.unit else ""
    why = (
        f"{found.said}: {number(found.effect)}{unit}, 95 % interval {number(float(low))} to "
        f"{number(float(high))} ({found.basis})."
    )
    return Claim(
        name, statement, "", why + (f" {found.note}" if found.note else ""), chart, found.effect,
        float(low), float(high), found.null, found.least, float(p), found.unit,
    )  # fmt: skip


def corrected(claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims with verdicts and p after Holm's correction over the tested claims."""
    tested = sorted((c for c in claims if np.isfinite(c.p)), key=lambda c: c.p)
    adjusted: dict[str, float] = {}
    worst = 0.0
    for k, claim in enumerate(tested):
        worst = max(worst, min(1.0, claim.p * (len(tested) - k)))
        adjusted[claim.name] = worst
    return [_decided(replace(c, p=adjusted[c.name])) if c.name in adjusted else c for c in claims]


def _decided(claim: Claim) -> Claim:
    unit = claim.unit.removesuffix("s") if claim.least == 1 else claim.unit
    needed = f"{number(claim.least)} {unit}".rstrip()
    if (
        claim.effect > claim.null
        and claim.effect >= claim.least
        and claim.p < LEVEL
        and claim.low > claim.null
    ):
        return replace(claim, verdict=HOLDS)
    if claim.high < claim.least:
        reason = (
            f"At least {needed} would count." if claim.least > claim.null else f"All of it is below {needed}."
        )
        return replace(claim, verdict=FAILS, why=f"{claim.why} {reason}")
    if claim.low <= claim.null:
        reason = f"The interval includes {number(claim.null)}."
    elif claim.effect < claim.least:
        reason = f"There is an effect, but it may be smaller than the {needed} that would count."
    else:
        reason = f"p = {number(claim.p)} after correction for the number of claims, so it may be chance."
    return replace(claim, verdict=UNKNOWN, why=f"{claim.why} {reason}")
