"""Resampling of replicates and cells: resampled means of cells, ranks and lines.

In every array of draws, row 0 is the run as measured and each further row is a resampled run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from explorer.measures.tables import AVERAGED_PAIRS
from explorer.phases.aggregate import column, ok_rows, standard_error, within_cells
from explorer.settings import seed_for

DRAWS = 2000
FEWEST_DRAWS = 400
MOST_NUMBERS = 4_000_000  # numbers drawn for a grid, unless this leaves too few draws
BLOCK = 250_000  # numbers held in memory at a time


def draws_for(cells: int) -> int:
    """Return the number of draws: DRAWS, or fewer if the grid is so large that they would take long."""
    return int(np.clip(MOST_NUMBERS // max(cells, 1), FEWEST_DRAWS, DRAWS))


def blocks(draws: int, n: int) -> Iterator[slice]:
    """Yield the draws in blocks: with ``n`` numbers each, a block fits into a processor's cache."""
    step = max(1, BLOCK // max(n, 1))
    return (slice(first, min(first + step, draws)) for first in range(0, draws, step))


class Draws:
    """Means of each cell under resampling of its replicates.

    Models are drawn with replacement within their cell. The weight of a pair is the product of the numbers of
    draws of its two models, so pairs that share a model vary together. Resampling n models underestimates the
    standard deviation of a mean by a factor √((n − 1)/n), and for pairs by √((n − 2)/n). The draws are spread
    around the measured mean to correct for this. Without rows of models or pairs, means are drawn from a
    normal distribution with their standard error. If that is unknown too, the means do not vary.
    """

    def __init__(
        self, cells: pd.DataFrame, models: pd.DataFrame, pairs: pd.DataFrame, names: Sequence[str]
    ) -> None:
        self.cells = cells
        self._names = [n for n in names if n in cells]
        self._models, self._pairs = (
            ok_rows(table).reset_index(drop=True) for table in (models, within_cells(pairs))
        )
        self.count = draws_for(len(cells))

    def of(self, name: str) -> np.ndarray:
        """Return the means of a measure, (1 + draws, cells); NaN if a cell has none."""
        return np.concatenate(list(self.some_of(name)))

    def some_of(self, name: str) -> Iterator[np.ndarray]:
        """Yield the rows of ``of`` in blocks, the first with the means as measured."""
        measured = column(self.cells, name).to_numpy()
        before = measured[None]
        for means in self._resampled(name, measured) or self._normal(name, measured):
            yield np.vstack([before, np.where(np.isnan(means), measured, means)])
            before = measured[:0].reshape(0, len(measured))

    def _normal(self, name: str, measured: np.ndarray) -> Iterator[np.ndarray]:
        """Yield means from a normal distribution, in blocks of draws."""
        spread = standard_error(self.cells, name).fillna(0.0).to_numpy()
        random = np.random.default_rng(seed_for("normal", name))
        for draws in blocks(self.count, len(measured)):
            yield measured + spread * random.normal(size=(draws.stop - draws.start, len(measured)))

    @cached_property
    def _counts(self) -> np.ndarray | None:
        """How often each draw contains each model, (draws, models); None if cells of models are unknown."""
        places = _places(self._models, self.cells, self._names)
        if places is None:
            return None
        random = np.random.default_rng(seed_for("replicates"))
        order = np.argsort(places, kind="stable")
        ordered = places[order]
        starts = np.searchsorted(ordered, ordered, side="left")
        sizes = np.searchsorted(ordered, ordered, side="right") - starts
        n = len(places)
        counts = np.zeros((self.count, n), dtype=np.uint8)
        for draws in blocks(self.count, n):
            some = draws.stop - draws.start
            taken = starts + (random.random((some, n)) * sizes).astype(int) + n * np.arange(some)[:, None]
            drawn = np.bincount(taken.ravel(), minlength=some * n).reshape(some, n)
            counts[draws, order] = np.minimum(drawn, 255)
        return counts

    @cached_property
    def _pair_ends(self) -> list[np.ndarray]:
        """Row numbers of the first and of the second model of each pair, −1 for none; empty if unknown."""
        if not {"model_a", "model_b"} <= set(self._pairs) or "model_id" not in self._models:
            return []
        number = pd.Series(range(len(self._models)), index=self._models["model_id"].to_numpy())
        number = number[~number.index.duplicated()]
        return [
            self._pairs[end].map(number).fillna(-1).astype(int).to_numpy() for end in ("model_a", "model_b")
        ]

    def _resampled(self, name: str, measured: np.ndarray) -> Iterator[np.ndarray] | None:
        """Return the means of a measure in blocks of draws; None without rows to draw from."""
        if name in AVERAGED_PAIRS:
            table, ends, lost = self._pairs, self._pair_ends, 2
        else:
            table, ends, lost = self._models, [np.arange(len(self._models))], 1
        places = _places(table, self.cells, self._names)
        if name not in table or not ends or places is None or self._counts is None:
            return None
        values = column(table, name).to_numpy()
        at = np.flatnonzero(np.isfinite(values) & (places >= 0) & (np.min(ends, axis=0) >= 0))
        at = at[np.argsort(places[at], kind="stable")]
        return self._means(measured, values[at], places[at], [end[at] for end in ends], lost)

    def _means(
        self, measured: np.ndarray, values: np.ndarray, places: np.ndarray, ends: list[np.ndarray], lost: int
    ) -> Iterator[np.ndarray]:
        """Yield the means of values that are sorted by cell, in blocks of draws."""
        cells, starts = np.unique(places, return_index=True)
        members = np.unique([np.tile(places, len(ends)), np.concatenate(ends)], axis=1)
        models = np.bincount(members[0], minlength=len(self.cells))
        widen = np.sqrt(models / np.maximum(models - lost, 1))
        counts = self._counts
        for draws in blocks(self.count, max(len(values), len(measured))):
            means = np.full((draws.stop - draws.start, len(measured)), np.nan)
            if counts is not None and len(values):
                weights = np.prod([counts[draws][:, end].astype(float) for end in ends], axis=0)
                total = np.add.reduceat(weights, starts, axis=1)
                sums = np.add.reduceat(weights * values, starts, axis=1)
                means[:, cells] = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
            yield measured + (means - measured) * widen


class Again(NamedTuple):
    """Some draws of cells: their positions, (draws, n)."""

    positions: np.ndarray

    def values(self, x: np.ndarray) -> np.ndarray:
        """Return the values of the cells drawn, (draws, n)."""
        return x[self.positions]

    def ranks(self, x: np.ndarray) -> np.ndarray:
        """Return the ranks from 1 of the cells drawn, (draws, n), as ``ranks`` does, but without sorting."""
        different, level = np.unique(x, return_inverse=True)
        drawn = level[self.positions] + np.arange(len(self.positions))[:, None] * len(different)
        counts = np.bincount(drawn.ravel(), minlength=len(drawn) * len(different))
        counts = counts.reshape(len(drawn), len(different))
        return (counts.cumsum(axis=1) - (counts - 1) / 2).ravel()[drawn]


def cells_again(n: int, *salt: str, draws: int) -> Iterator[Again]:
    """Yield ``n`` cells drawn with replacement, 1 + ``draws`` times; the first time, each cell once."""
    random = np.random.default_rng(seed_for("cells", *salt))
    yield Again(np.arange(n)[None])
    for some in blocks(draws, n):
        yield Again(random.integers(0, n, (some.stop - some.start, n)))


def ranks(x: np.ndarray) -> np.ndarray:
    """Return ranks from 1 along the last axis; tied values share their mean rank."""
    return pd.DataFrame(x.reshape(-1, x.shape[-1])).rank(axis=1).to_numpy().reshape(x.shape)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation along the last axis; 0 if one side is constant."""
    return rank_correlation(ranks(x), ranks(y))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the correlation of two arrays of ranks along the last axis; 0 if one side is constant."""
    return _correlation(np.stack([x, y]))[..., 0, 1]


def partial_rank_correlation(*ranked: np.ndarray) -> np.ndarray:
    """Return the correlation of the first two of several arrays of ranks, with the others regressed out.

    −P_xy / sqrt(P_xx P_yy), with P the inverse of the matrix of Spearman's correlations.
    """
    precision = np.linalg.pinv(_correlation(np.stack(ranked)), hermitian=True)
    scale = np.sqrt(np.abs(precision[..., 0, 0] * precision[..., 1, 1]))
    return np.divide(-precision[..., 0, 1], scale, out=np.zeros(scale.shape), where=scale > 1e-12)


def _correlation(stacked: np.ndarray) -> np.ndarray:
    """Return correlation matrices: (variables, ..., n) -> (..., variables, variables)."""
    centred = stacked - stacked.mean(axis=-1, keepdims=True)
    product = np.einsum("i...n,j...n->...ij", centred, centred)
    size = np.sqrt(np.einsum("...ii->...i", product))
    scale = size[..., :, None] * size[..., None, :]
    return np.divide(product, scale, out=np.zeros(product.shape), where=scale > 1e-12)


def lines(cells: pd.DataFrame, along: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the grid as lines along one axis: cell positions (lines, values), −1 for none; axis values."""
    others = [n for n in names if n != along and n in cells]
    steps = np.sort(cells[along].dropna().unique())
    key = cells.groupby(others, dropna=False).ngroup() if others else pd.Series(0, index=cells.index)
    grid = np.full((int(key.max()) + 1 if len(key) else 0, len(steps)), -1)
    known = cells[along].notna().to_numpy()
    grid[key.to_numpy()[known], np.searchsorted(steps, cells[along].to_numpy()[known])] = np.flatnonzero(
        known
    )
    return grid, steps


def _places(table: pd.DataFrame, cells: pd.DataFrame, names: Sequence[str]) -> np.ndarray | None:
    """Return the row number in ``cells`` of each row's cell, −1 for none; None if keys are missing."""
    keys = list(names) if names and set(names) <= set(table) else ["cell_id"]
    if table.empty or not set(keys) <= set(table) or not set(keys) <= set(cells):
        return None
    numbered = cells[keys].assign(place=range(len(cells)))
    return table[keys].merge(numbered, on=keys, how="left")["place"].fillna(-1).astype(int).to_numpy()
