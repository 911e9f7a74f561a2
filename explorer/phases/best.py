"""Cells that cannot be told from the most accurate one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column
from explorer.phases.noise import moderated_errors
from explorer.phases.resampling import blocks, draws_for
from explorer.phases.words import ACCURACY
from explorer.settings import seed_for

LEVEL = 0.05


def among_best(cells: pd.DataFrame) -> pd.Series:
    """Return for each cell whether it may be the most accurate one (boolean; NA if this is unknown).

    Multiple comparison with the best (Hsu, 1984), stepwise and resampled. A cell is excluded if the most
    accurate cell is better by more than chance explains. Chance is the largest such difference between the
    cells that are left, each a standard error of its difference, if all were equal: the same comparison on
    resampled errors. Cells are excluded until no more fall. The probability that any of equally good best
    cells is excluded is about 5 %.
    """
    accuracy, errors = column(cells, ACCURACY).to_numpy(), moderated_errors(cells, ACCURACY)
    out = pd.Series(pd.NA, index=cells.index, dtype="boolean")
    known = np.flatnonzero(np.isfinite(accuracy) & np.isfinite(errors.stderr))
    if len(known) < 2:
        return out
    mean, stderr, df = accuracy[known], errors.stderr[known], errors.df[known]
    random = np.random.default_rng(seed_for("best"))
    n, df = len(known), np.minimum(df, 1e6)
    shapes = [(some.stop - some.start, n) for some in blocks(draws_for(n), n)]
    chance = [random.normal(size=shape) * stderr for shape in shapes]
    # The standard errors are estimates: each draw has its own, as a sample of this size would.
    apparent = [np.sqrt(random.chisquare(df, size=shape) / df) * stderr for shape in shapes]
    left = np.arange(n)
    while len(left) > 1:
        furthest = [_behind(*some).max(axis=1) for some in zip(chance, apparent, strict=True)]
        limit = float(np.quantile(np.concatenate(furthest), 1 - LEVEL))
        kept = _behind(mean[None, left], stderr[None, left])[0] <= limit
        if kept.all():
            break
        left = left[kept]
        chance, apparent = ([some[:, kept] for some in drawn] for drawn in (chance, apparent))
    out.iloc[known] = False
    out.iloc[known[left]] = True
    return out


def _behind(mean: np.ndarray, stderr: np.ndarray) -> np.ndarray:
    """Return how far cells are behind the best, in standard errors of the difference: (draws, cells)."""
    best = np.arange(len(mean)), mean.argmax(axis=1)
    gap = mean[best][:, None] - mean
    error = np.hypot(stderr[best][:, None], stderr)
    return np.divide(gap, error, out=np.where(gap > 0, np.inf, 0.0), where=error > 0)
