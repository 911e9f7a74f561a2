"""Estimates of effects: 95 % intervals and probabilities of the values on either side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from explorer.phases.noise import MANY, t_above, t_quantile
from explorer.phases.resampling import DRAWS
from explorer.settings import seed_for

LEVEL = 0.05


@dataclass(frozen=True)
class Estimate:
    """An effect with the ends of its 95 % interval.

    ``tails(x)`` returns two p values: of the hypothesis that the true effect is at most x, and of the
    hypothesis that it is at least x. ``noise`` is the share of the variance that more replicates would
    reduce; more cells or lines reduce all of it. ``doubts`` are p values of second tests, which the two
    probabilities of ``tails`` are never below.
    """

    value: float
    low: float
    high: float
    tails: Callable[[float], tuple[float, float]]
    noise: float = 0.0
    doubts: tuple[float, float] = (0.0, 0.0)

    def within(self, least: float, most: float) -> Estimate:
        """Return the estimate without the parts of its interval that are impossible."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))

    def negative(self) -> Estimate:
        """Return the estimate of the opposite effect."""
        tails = self.tails
        return Estimate(
            -self.value, -self.high, -self.low, lambda x: (tails(-x)[1], tails(-x)[0]), self.noise
        )


def resampled(values: np.ndarray) -> Estimate:
    """Return the estimate with a percentile interval; ``values`` (1 + draws,), the first as measured."""
    draws = values[1:][np.isfinite(values[1:])]
    low, high = (float(end) for end in np.percentile(draws, [50 * LEVEL, 100 - 50 * LEVEL]))
    size = len(draws) + 1

    def tails(x: float) -> tuple[float, float]:
        return (int((draws <= x).sum()) + 1) / size, (int((draws >= x).sum()) + 1) / size

    return Estimate(float(values[0]), low, high, tails)


def student(value: float, stderr: float, df: float, noise: float = 0.0) -> Estimate:
    """Return the estimate of a mean with a standard error that has ``df`` degrees of freedom."""
    reach = float(t_quantile(1 - LEVEL / 2, df)) * stderr

    def tails(x: float) -> tuple[float, float]:
        if stderr == 0:
            return float(value <= x), float(value >= x)
        t = (value - x) / stderr
        return float(t_above(t, df)), float(t_above(-t, df))

    return Estimate(value, value - reach, value + reach, tails, noise)


def mean_of(values: np.ndarray, noise: np.ndarray) -> Estimate:
    """Return the estimate of a mean over lines or cells, (n,).

    ``noise`` (n,) is the variance of each that comes from replicates. The variance between lines contains it.
    If lines are few, the variance between them may still be smaller by chance; then the noise is used.
    """
    spread, df, share = _spread(values, noise)
    return student(float(values.mean()), spread / np.sqrt(len(values)), df, share)


def rising_lines(changes: np.ndarray, noise: np.ndarray) -> Estimate:
    """Return the estimate of the share of lines that rise minus the share that fall, from changes (n,).

    If all lines measured rise, their share has no spread, but the changes have one. They count as normal with
    mean μ and deviation σ, and the effect is 2Φ(μ/σ) − 1. Its interval is that of noncentral t. ``noise`` is
    as in ``mean_of``.
    """
    from scipy.special import ndtr

    n, (spread, df, share) = len(changes), _spread(changes, noise)
    random = np.random.default_rng(seed_for("changes", str(n)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(np.divide(changes.mean(), spread), posinf=np.inf, neginf=-np.inf)
    size = 4 * DRAWS
    ratios = ratio * np.sqrt(random.chisquare(df, size) / df) - random.normal(size=size) / np.sqrt(n)
    found = resampled(np.concatenate([[np.sign(changes).mean()], 2 * ndtr(ratios) - 1]))
    low, high = min(found.low, found.value), max(found.high, found.value)
    return replace(found, low=low, high=high, noise=share)


def _spread(values: np.ndarray, noise: np.ndarray) -> tuple[float, float, float]:
    """Return the standard deviation between lines, its degrees of freedom, and the share that is noise."""
    between, within = float(values.var(ddof=1)), float(noise.mean())
    df = len(values) - 1 if between >= within else MANY
    return float(np.sqrt(max(between, within))), df, within / between if between > within else 1.0


def difference(one: Estimate, other: Estimate, df: float) -> Estimate:
    """Return the estimate of one minus another, independent effect."""
    a, b = ((e.high - e.low) / 2 / float(t_quantile(1 - LEVEL / 2, df)) for e in (one, other))
    share = (a**2 * one.noise + b**2 * other.noise) / (a**2 + b**2 or 1.0)
    return student(one.value - other.value, float(np.hypot(a, b)), df, share)


def weaker(*parts: Estimate) -> Estimate:
    """Return the estimate of the smallest of several effects.

    The smallest is above x only if all are, and below x if any is: for the latter, the p value is corrected.
    """
    value, low, high = (min(getattr(p, name) for p in parts) for name in ("value", "low", "high"))

    def tails(x: float) -> tuple[float, float]:
        below, above = zip(*(p.tails(x) for p in parts), strict=True)
        return max(below), min(1.0, len(parts) * min(above))

    return Estimate(value, low, high, tails, min(parts, key=lambda p: p.low).noise)


def below_one(squares: Estimate) -> Estimate:
    """Return the estimate of 1 − √q, from that of a mean square q; below 0, q counts as 0."""
    value, high, low = (1 - max(q, 0.0) ** 0.5 for q in (squares.value, squares.low, squares.high))

    def tails(x: float) -> tuple[float, float]:
        below, above = squares.tails((1 - x) ** 2)
        return above, below  # of x < 1

    return Estimate(value, low, high, tails, squares.noise)


def doubted(estimate: Estimate, p: float) -> Estimate:
    """Return the estimate with a p value of at least ``p`` that the effect is not above any number."""

    def tails(x: float) -> tuple[float, float]:
        below, above = estimate.tails(x)
        return max(below, p), above

    return replace(estimate, tails=tails, doubts=(p, 0.0))
