"""Numerics of claims that pick a place on lines of cells: a dip, or the best temperature."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from explorer.phases.claims.estimates import LEVEL, Estimate
from explorer.phases.noise import MANY, t_above, t_quantile
from explorer.phases.resampling import DRAWS
from explorer.settings import seed_for

MOST = 0.5  # share of the lines that must show a dip


class Dip(NamedTuple):
    """The dip of the mean over lines: its depth, its place with its shoulders, and the lines that show it."""

    depth: Estimate
    place: int
    left: int
    right: int
    lines: int


def find_dip(values: np.ndarray, noise: np.ndarray, allowed: np.ndarray, looks: int) -> Dip:
    """Find the deepest dip of the mean over lines, below the lower of its two shoulders.

    ``values`` (lines, n) are means of cells and ``noise`` (lines, n) their variances. A dip at the same place
    of every line is a main effect of the place. What differs between lines is its error (two-way analysis of
    variance), unless the noise of replicates is larger. The end ``low`` holds for all pairs of places at once
    (studentised range), so choosing the deepest dip does not flatter it. ``value`` is chosen on one half of
    the noise and read from the other (data fission). A depth is never below 0. ``allowed`` (n,) are the
    places at which a dip counts, and ``looks`` the number of alignments of the lines that are tried.
    """
    lines, n = values.shape
    mean = values.mean(axis=0)
    residual = values - mean - values.mean(axis=1, keepdims=True) + values.mean()
    df = (lines - 1) * (n - 1)
    variance, least = float((residual**2).sum() / df), float(noise.mean())
    if least > variance:
        variance, df = least, int(MANY)
    stderr = float(np.sqrt(2 * variance / lines))  # of a difference of two places
    naive, left, place, right = (v[0] for v in _deepest(mean[None], allowed))
    random = np.random.default_rng(seed_for("halves"))
    half = np.sqrt(variance / lines) * random.normal(size=(DRAWS, n))
    chosen = _deepest(mean + half, allowed)[1:]
    a, k, b = (np.take_along_axis(mean - half, at[:, None], 1)[:, 0] for at in chosen)
    value = max(0.0, float((np.minimum(a, b) - k).mean()))
    span = _spans(n, df)  # largest difference of two places if there is no effect, in standard errors
    low = float(naive) - float(np.quantile(span, 1 - LEVEL / 2 / looks)) * stderr
    high = float(naive) + float(t_quantile(1 - LEVEL / 4 / looks, df)) * stderr
    showing = int(((values[:, place] < values[:, left]) & (values[:, place] < values[:, right])).sum())
    rare = 1.0 if showing <= MOST * lines else 0.0

    def tails(x: float) -> tuple[float, float]:
        if stderr == 0:
            return max(float(naive <= x), rare), float(naive >= x)
        t = (float(naive) - x) / stderr
        above = min(1.0, looks * ((span >= t).sum() + 1) / (len(span) + 1))
        return max(above, rare), min(1.0, 2 * looks * float(t_above(-t, df)))

    low, high = max(0.0, min(low, value)), max(0.0, high, value)
    share = min(1.0, least / variance) if variance > 0 else 1.0
    return Dip(Estimate(value, low, high, tails, share), int(place), int(left), int(right), showing)


def _deepest(mean: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return depth, left shoulder, place and right shoulder of the deepest dip of each row of (draws, n)."""
    n, rows = mean.shape[1], np.arange(len(mean))
    before = np.maximum.accumulate(mean, axis=1)[:, :-2]
    after = np.maximum.accumulate(mean[:, ::-1], axis=1)[:, ::-1][:, 2:]
    depth = np.where(allowed[1:-1], np.minimum(before, after) - mean[:, 1:-1], -np.inf)
    place = depth.argmax(axis=1) + 1
    at = np.arange(n)
    left = np.where(at < place[:, None], mean, -np.inf).argmax(axis=1)
    right = np.where(at > place[:, None], mean, -np.inf).argmax(axis=1)
    return depth[rows, place - 1], left, place, right


@cache
def _spans(n: int, df: int) -> np.ndarray:
    """Return draws of the studentised range of n means, in standard errors of a difference."""
    random = np.random.default_rng(seed_for("range", str(n), str(df)))
    means = random.normal(size=(4 * DRAWS, n))
    spread = np.sqrt(random.chisquare(min(df, MANY), size=4 * DRAWS) / min(df, MANY))
    return np.ptp(means, axis=1) / spread / np.sqrt(2)


def gain_of_choosing(values: np.ndarray, stderr: np.ndarray, df: float, start: np.ndarray) -> Estimate:
    """Estimate how much better the best place of each line is than the place ``start``, mean over lines.

    ``values`` and ``stderr`` are (lines, n), ``start`` (lines,). The place is chosen on half of the noise,
    m + e, and read from the other, m − e, where e has the spread of the noise (Leiner et al., "Data fission",
    2023), so choosing does not flatter the gain. The draws of e give the end ``low``. The end ``high`` is
    that of the largest gain as measured. A gain is never below 0.
    """
    rows = np.arange(len(values))
    random = np.random.default_rng(seed_for("halves"))
    wide = float(t_quantile(1 - LEVEL / 2, df) / t_quantile(1 - LEVEL / 2, MANY))
    half = wide * stderr * random.normal(size=(DRAWS, *values.shape))
    best = (values + half).argmax(axis=2)[..., None]
    read = np.take_along_axis(values - half, best, 2)[..., 0] - (values - half)[:, rows, start]
    draws = read.mean(axis=1)
    value = max(0.0, float(draws.mean()))
    naive = float((values.max(axis=1) - values[rows, start]).mean())
    error = np.sqrt((stderr**2).max(axis=1) + stderr[rows, start] ** 2)
    reach = float(np.sqrt((error**2).sum())) / len(values)
    low = max(0.0, float(np.quantile(draws, LEVEL / 2)))
    high = max(0.0, naive + float(t_quantile(1 - LEVEL / 2, df)) * reach)

    def tails(x: float) -> tuple[float, float]:
        above = float(t_above((x - naive) / reach, df)) if reach > 0 else float(naive >= x)
        return (int((draws <= x).sum()) + 1) / (DRAWS + 1), above

    return Estimate(min(value, high), min(low, value), high, tails, noise=1.0)
