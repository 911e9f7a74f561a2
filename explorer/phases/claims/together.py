"""One verdict for each claim over several spaces, from the verdicts of their runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from explorer.phases.claims.estimates import LEVEL, Estimate, student
from explorer.phases.claims.evidence import FAILS, HOLDS, UNKNOWN, UNTESTED, Claim, holm
from explorer.phases.claims.wanted import MOST, needed_factor, what_decides
from explorer.phases.noise import MANY, t_above, t_quantile
from explorer.phases.numbers import format_amount, format_interval, format_number
from explorer.units import plural

GENERAL, CONTRADICTED = "holds in general", "contradicted"
EVERY = "all spaces"  # stands for the space in the row of the verdict over all of them
FEWEST_SPACES = 3  # of two, the spread is hardly known
SMALLEST_P = 0.01  # below it, a resampled p is replaced by the normal approximation if that is smaller
# Effects of a chosen place. They are never below 0, so their mean would be above 0 without any effect.
CHOSEN = frozenset({"lowest-loss-is-not-best", "double-descent-in-temperature", "double-descent-in-width"})


@dataclass(frozen=True)
class Together:
    """A claim with its verdict over several spaces.

    ``effect`` is the mean over spaces with its 95 % interval, and ``spread`` the standard deviation of the
    true effects between spaces. ``p`` is the two-sided probability of the mean under ``null``, corrected by
    Holm's method over claims. By space, ``claims`` has the claim of the run, ``verdicts`` the verdict of the
    study, and ``wants`` what would decide a claim that the study cannot tell there.
    """

    name: str
    statement: str
    verdict: str
    why: str
    would_decide: str = ""
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    spread: float = np.nan
    p: float = np.nan
    null: float = 0.0
    least: float = 0.0
    unit: str = ""
    claims: Mapping[str, Claim] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    wants: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The verdict, with the number of spaces against it if it holds in others."""
        against = len(self.spaces(FAILS))
        return f"{self.verdict}, not in {against}" if against and self.spaces(HOLDS) else self.verdict

    @property
    def n(self) -> int:
        """The number of spaces in which the claim can be tested."""
        return sum(verdict != UNTESTED for verdict in self.verdicts.values())

    def spaces(self, verdict: str) -> list[str]:
        """Return the spaces in which the claim has this verdict."""
        return [space for space, one in self.verdicts.items() if one == verdict]


@dataclass(frozen=True)
class Pooled:
    """The mean effect over spaces, and the standard deviation of the true effects between them."""

    mean: Estimate
    spread: float
    n: int


def pool(effects: Sequence[float], errors: Sequence[float]) -> Pooled:
    """Estimate the mean of effects that differ between spaces (random effects), with their standard errors.

    The variance between spaces is that of Paule and Mandel (1982). The interval of the mean is that of
    Hartung and Knapp (2001), never narrower than the one without their factor.
    """
    y, variance = np.asarray(effects, dtype=float), np.maximum(np.asarray(errors, dtype=float) ** 2, 1e-12)
    df = len(y) - 1

    def excess(between: float) -> tuple[float, float, float]:
        weights = 1 / (variance + between)
        mean = float((weights * y).sum() / weights.sum())
        return float((weights * (y - mean) ** 2).sum()) - df, mean, float(weights.sum())

    low, high = 0.0, float(((y - y.mean()) ** 2).sum()) / df
    if excess(0.0)[0] <= 0:
        high = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle)[0] > 0 else (low, middle)
    over, mean, weight = excess(high)
    error = float(np.sqrt(max(1.0, (over + df) / df) / weight))
    return Pooled(student(mean, error, df), float(np.sqrt(high)), len(y))


def combine(runs: Mapping[str, Sequence[Claim]]) -> list[Together]:
    """Return each claim with one verdict over the runs of several spaces, by name of the space.

    A space counts if the claim holds there (or does not) after two corrections by Holm's method: over the
    spaces of the claim, and over claims for the smallest p in any space. A claim *holds in general* if it
    holds in all of at least FEWEST_SPACES spaces, or if no space contradicts it and their mean effect is
    large enough to count and above the null after Holm's correction over claims. Otherwise it *holds in m
    of n* spaces. If it holds in none, it is *contradicted* if the mean effect or most of the spaces show
    that it does not hold, and *contradicted in m of n* spaces if some do. The standard error of a space
    is half of its 95 % interval, divided by 1.96. If a verdict depends on the cut of the loss, the space
    cannot tell. Effects of a chosen place (CHOSEN) have no mean; others have one over the spaces that
    share the commonest unit. Spaces that share a data set or an architecture are alike, so "in general"
    means in spaces like these.
    """
    names = list(dict.fromkeys(claim.name for claims in runs.values() for claim in claims))
    by_name = {n: {s: c for s, claims in runs.items() for c in claims if c.name == n} for n in names}
    sides = {HOLDS: 0, FAILS: 1}
    inside = {n: {v: _in_spaces(claims, k) for v, k in sides.items()} for n, claims in by_name.items()}
    anywhere = {v: holm({n: min(inside[n][v].values(), default=1.0) for n in names}) for v in sides}
    pooled = {n: _pooled(n, claims) for n, claims in by_name.items()}
    above, below = ({n: _p_of_mean(pooled[n], by_name[n], v) for n in names if pooled[n]} for v in sides)
    above, below = holm(above), holm(below)
    found = {}
    for name, claims in by_name.items():
        verdicts = {space: UNTESTED if c.verdict == UNTESTED else UNKNOWN for space, c in claims.items()}
        for verdict, corrected in inside[name].items():
            for space, p in corrected.items():
                if max(p, anywhere[verdict][name]) < LEVEL and _large_enough(claims[space], verdict):
                    verdicts[space] = verdict
        found[name] = verdicts
    undecided = {v: sum(v not in verdicts.values() for verdicts in found.values()) for v in sides}
    return [
        _together(
            claims,
            found[name],
            pooled[name],
            above.get(name, np.nan),
            below.get(name, np.nan),
            {space: _wanted(claims, found[name], space, undecided) for space in claims},
        )
        for name, claims in by_name.items()
    ]


def _in_spaces(claims: Mapping[str, Claim], side: int) -> dict[str, float]:
    """Return p of the claim in each space, corrected over the spaces; ``side`` 0: holds, 1: does not hold."""
    return holm({space: _p_alone(c, side) for space, c in claims.items() if _known(c)})


def _known(claim: Claim) -> bool:
    """Return whether the run has an effect, and a verdict that does not depend on the loss cut."""
    return bool(np.isfinite(claim.p)) and not claim.hangs_on_cut


def _error(claim: Claim) -> float:
    return (claim.high - claim.low) / 2 / float(t_quantile(1 - LEVEL / 2, MANY))


def _p_alone(claim: Claim, side: int) -> float:
    """Return the uncorrected two-sided p; a resampled p cannot be below 1 in 1,000."""
    p = claim.p_alone[side]
    if p > SMALLEST_P or not _error(claim):
        return p
    distance = claim.effect - claim.null if side == 0 else claim.least - claim.effect
    return min(p, 2 * float(t_above(distance / _error(claim), MANY)))


def _large_enough(claim: Claim, verdict: str) -> bool:
    return (claim.effect >= claim.least and claim.effect > claim.null) == (verdict == HOLDS)


def _alike(claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims whose effect is in the commonest unit."""
    units = Counter(c.unit for c in claims).most_common(1)
    return [c for c in claims if c.unit == units[0][0]]


def _pooled(name: str, claims: Mapping[str, Claim]) -> Pooled | None:
    known = _alike([c for c in claims.values() if _known(c)])
    if len(known) < FEWEST_SPACES or name in CHOSEN:
        return None
    return pool([c.effect for c in known], [_error(c) for c in known])


def _p_of_mean(pooled: Pooled | None, claims: Mapping[str, Claim], verdict: str) -> float:
    """Return the two-sided p of the mean effect under the null, or of the smallest effect that counts."""
    assert pooled
    one = next(c for c in claims.values() if _known(c))
    null = pooled.mean.tails(one.null)[0] if verdict == HOLDS else pooled.mean.tails(one.least)[1]
    return min(1.0, 2 * null)


def _together(
    claims: Mapping[str, Claim],
    verdicts: dict[str, str],
    pooled: Pooled | None,
    above: float,
    below: float,
    wants: Mapping[str, tuple[tuple[int, float], str]],
) -> Together:
    (one, *_) = _alike([c for c in claims.values() if np.isfinite(c.p)]) or claims.values()
    found = Together(
        one.name,
        one.statement,
        UNTESTED,
        "",
        null=one.null,
        least=one.least,
        unit=one.unit,
        claims=claims,
        verdicts=verdicts,
        wants={space: text for space, (_, text) in wants.items()},
    )
    holding, failing, n = found.spaces(HOLDS), found.spaces(FAILS), found.n
    values = {}
    if pooled:
        mean = pooled.mean
        values = {
            "effect": mean.value,
            "low": mean.low,
            "high": mean.high,
            "spread": pooled.spread,
            "p": above,
        }
        general = above < LEVEL and mean.value >= one.least and mean.value > one.null and not failing
        against = below < LEVEL and mean.value < one.least
    else:
        general, against = False, False
    general |= n >= FEWEST_SPACES and len(holding) == n
    if not n:
        verdict = UNTESTED
    elif general:
        verdict = GENERAL
    elif holding:
        verdict = f"holds in {len(holding)} of {n}"
    elif against or 2 * len(failing) > n:
        verdict = CONTRADICTED
    elif failing:
        verdict = f"{CONTRADICTED} in {len(failing)} of {n}"
    else:
        verdict = UNKNOWN
    easiest = min(wants, key=lambda space: wants[space][0])
    place = f"in {easiest}: " if n else ""
    wanted = f"{place}{wants[easiest][1]}" if verdict in (UNKNOWN, UNTESTED) else ""
    return Together(
        **{**found.__dict__, **values, "verdict": verdict, "would_decide": wanted, "why": _why(found, pooled)}
    )


def _wanted(
    claims: Mapping[str, Claim], verdicts: Mapping[str, str], space: str, undecided: Mapping[str, int]
) -> tuple[tuple[int, float], str]:
    """Return what would decide the claim in a space: a key that is smaller for what takes less, and words.

    A space has to stand Holm's correction over the undecided spaces of the claim and, unless the claim has
    this verdict in another space, over the claims that have it in none (``undecided``, by verdict).
    """
    one = claims[space]
    if verdicts[space] == UNTESTED:
        return (3, 0.0), one.would_decide
    if verdicts[space] != UNKNOWN:
        return (4, 0.0), ""
    if not np.isfinite(one.p):
        return (1, 0.0), one.would_decide
    side = HOLDS if _large_enough(one, HOLDS) else FAILS
    open_ = sum(_known(c) and verdicts[s] != side for s, c in claims.items())
    tests = max(1, open_) * (1 if side in verdicts.values() else undecided[side])
    factor = needed_factor(one, tests)
    counts = factor <= MOST and not one.hangs_on_cut and one.low < one.high
    return (0 if counts else 2, factor), what_decides(one, tests)


def _why(found: Together, pooled: Pooled | None) -> str:
    parts = [
        f"{text} in {', '.join(spaces)}"
        for verdict, text in ((HOLDS, "holds"), (FAILS, "does not hold"), (UNKNOWN, "cannot be told"))
        if (spaces := found.spaces(verdict))
    ]
    text = f"It {'; '.join(parts)}." if parts else "No space of this study can test it."
    if pooled:
        mean = pooled.mean
        amount = format_amount(mean.value, found.unit)
        interval = format_interval(mean.low, mean.high)
        text = (
            f"Mean effect over {pooled.n} spaces {amount}, {interval}; true effects differ between spaces by "
            f"{format_number(pooled.spread)} (standard deviation). {text}"
        )
    elif 0 < found.n < FEWEST_SPACES:
        text += f" {plural(found.n, 'space')} cannot show whether it holds in general."
    return text


def table(claims: Sequence[Together]) -> pd.DataFrame:
    """Return a row for each claim and space, and one for the verdict over ``all spaces``."""
    rows = []
    for one in claims:
        whole = (one.effect, one.low, one.high, one.p, one.n, one.unit, one.would_decide)
        rows.append((one.name, EVERY, one.verdict, *whole))
        for space, c in one.claims.items():
            found = (c.effect, c.low, c.high, c.p, c.n, c.unit, one.wants[space])
            rows.append((one.name, space, one.verdicts[space], *found))
    heads = ["claim", "space", "verdict", "effect", "low", "high", "p", "n", "unit", "would_decide"]
    return pd.DataFrame(rows, columns=heads)
