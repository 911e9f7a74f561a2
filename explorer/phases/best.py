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
    shape = (draws_for(len(known)), len(known))
    chance = random.normal(size=shape)
    chance *= stderr
    # The standard errors are estimates: each draw has its own, as a sample of this size would.
    apparent = random.chisquare(np.minimum(df, 1e6), size=shape)
    apparent /= np.minimum(df, 1e6)
    np.sqrt(apparent, out=apparent)
    apparent *= stderr
    left = np.arange(len(known))
    while len(left) > 1:
        furthest = [
            _behind(chance[some][:, left], apparent[some][:, left]).max(axis=1)
            for some in blocks(len(chance), len(left))
        ]
        limit = float(np.quantile(np.concatenate(furthest), 1 - LEVEL))
        kept = left[_behind(mean[None, left], stderr[None, left])[0] <= limit]
        if len(kept) == len(left):
            break
        left = kept
    out.iloc[known] = False
    out.iloc[known[left]] = True
    return out


def _behind(mean: np.ndarray, stderr: np.ndarray) -> np.ndarray:
    """Return how far cells are behind the best, in standard errors of the difference: (draws, cells)."""
    best = mean.argmax(axis=1)[:, None]
    gap = np.take_along_axis(mean, best, 1) - mean
    error = np.hypot(np.take_along_axis(stderr, best, 1), stderr)
    return np.divide(gap, error, out=np.where(gap > 0, np.inf, 0.0), where=error > 0)
