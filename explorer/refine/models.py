"""Models of the measures over a grid: one Gaussian process for each map."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from explorer.phases import Cut, column
from explorer.phases.cuts import sort_cells
from explorer.refine.grid import Grid
from explorer.refine.measures import MEASURES, OPTIONAL
from explorer.refine.process import Following, Process, fit_process

LEAST_LOW = 4  # CKA is predicted from the cells of low loss if there are so many, else from all


class Model(NamedTuple):
    """A Gaussian process for each map of one measure, on the scale of :class:`Measure`.

    Args:
        x: (cells, coordinates).
        maps: (cells,) as in :class:`Grid`.
        used: (cells,) whether the process of the cell's map is fitted to the cell.
    """

    x: np.ndarray
    maps: np.ndarray
    used: np.ndarray
    processes: dict[int, Process]

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of a measurement in every cell, (cells,) each."""
        mean, spread = np.zeros(len(self.x)), np.zeros(len(self.x))
        for number, process in self.processes.items():
            here = self.maps == number
            mean[here], spread[here] = process.at(self.x[here])
        return mean, spread

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Return :meth:`predictions`, in each cell without its own measurement."""
        mean, spread = self.predictions()
        for number, process in self.processes.items():
            if process.fitted:
                here = self.used & (self.maps == number)
                mean[here], spread[here] = process.left_out()
        return mean, spread

    def following(self, number: int) -> Following:
        """Return the predictions in the cells of a map, for measurements that are added to it."""
        return Following(self.processes[number], self.x[self.maps == number])


def fit_models(grid: Grid, cuts: Mapping[str, Cut]) -> dict[str, Model]:
    """Return a model of each measure that decides on phases, fitted to the known cells.

    CKA decides on phases of low loss only, and jumps where the loss does. So cells of high loss are left out.
    """
    models = {}
    for name in MEASURES:
        if name == OPTIONAL and (name not in grid.rows or cuts["train_loss"].fitted_error is None):
            continue
        among = grid.known
        if name == "cka":
            low = among & sort_cells(grid.rows, cuts).low & column(grid.rows, name).notna().to_numpy()
            among = low if low.sum() >= LEAST_LOW else among
        models[name] = fit_model(grid, name, cuts, among)
    return models


def fit_model(grid: Grid, name: str, cuts: Mapping[str, Cut], among: np.ndarray) -> Model:
    """Return a model of a measure, fitted to those cells ``among``, (cells,), that have it."""
    measure = MEASURES[name]
    values = measure.to(column(grid.rows, name).to_numpy(), cuts)
    usable = among & np.isfinite(values)
    every = values[usable]
    prior = (float(every.mean()), max(float(every.std()), 1e-3)) if len(every) > 1 else measure.prior
    x, processes = with_diagonals(grid.x) if measure.diagonal else grid.x, {}
    for number in np.unique(grid.maps):
        here = usable & (grid.maps == number)
        processes[int(number)] = fit_process(x[here], values[here], prior, measure.noise)
    return Model(x, grid.maps, usable, processes)


def with_diagonals(x: np.ndarray) -> np.ndarray:
    """Return coordinates, (cells, axes), and after them the diagonals of each two axes."""
    pairs = itertools.combinations(x.T, 2)
    return np.column_stack([x, *(side for a, b in pairs for side in ((a + b) / 2**0.5, (a - b) / 2**0.5))])
