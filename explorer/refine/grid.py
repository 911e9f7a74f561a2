"""A grid of which some cells are known, and even selections of its cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases import column
from explorer.refine.domain import Domain, coordinates, is_ordered, keys_of, points_of
from explorer.refine.measures import MEASURES, OPTIONAL
from explorer.settings import InputError, listed, suggest


class Grid:
    """The cells of a domain with the known rows in their places.

    Args:
        points: the axes, one row per cell of the domain.
        rows: the known cells' rows on the same index, NaN elsewhere.
        known: (cells,) whether a row of the table describes the cell.
        x: (cells, ordered axes) coordinates from 0 to 1.
        maps: (cells,) number of the cell's map: its combination of values of the axes without order.
    """

    def __init__(self, cells: pd.DataFrame, domain: Domain | pd.DataFrame) -> None:
        self.points = points_of(domain)
        axes = [str(name) for name in self.points]
        self.rows, self.known = place_rows(cells, self.points, axes)
        ordered = [name for name in axes if is_ordered(self.points[name])]
        self.x = np.column_stack(
            [coordinates(self.points[name]) for name in ordered] or [np.zeros(len(self.points))]
        )
        rest = [name for name in axes if name not in ordered]
        self.maps = (
            self.points.groupby(rest, sort=False, dropna=False).ngroup().to_numpy()
            if rest
            else np.zeros(len(self.points), dtype=int)
        )

    def distance(self, known: np.ndarray) -> np.ndarray:
        """Return the distance of each cell from the nearest of some cells of its map, (cells,)."""
        result = np.full(len(self.x), np.inf)
        for number in np.unique(self.maps):
            here = np.flatnonzero(self.maps == number)
            if known[here].any():
                between = self.x[here][:, None] - self.x[here[known[here]]][None]
                result[here] = np.sqrt((between**2).sum(axis=-1)).min(axis=1)
        return result

    def spread(self, n: int) -> list[int]:
        """Return the places of ``n`` cells that cover the maps evenly: a coarse grid, then the farthest."""
        names = np.unique(self.maps)
        chosen: list[int] = []
        for number in names:
            chosen += [int(place) for place in coarse_grid(self.x, self.maps == number, n // len(names))]
        taken = np.zeros(len(self.x), dtype=bool)
        taken[chosen] = True
        while len(chosen) < n and not taken.all():
            away = np.where(taken, -1.0, np.round(self.distance(taken), 9))
            chosen.append(int(away.argmax()))
            taken[chosen[-1]] = True
        return chosen[:n]


def place_rows(cells: Any, points: pd.DataFrame, axes: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows of the known cells in their places, and which places are known."""
    try:
        cells = pd.DataFrame(cells).rename(columns=str)
    except ValueError:
        raise InputError(
            f"the cells are a {type(cells).__name__}; give a table with a row per cell"
        ) from None
    if cells.empty:
        return pd.DataFrame(index=points.index), np.zeros(len(points), dtype=bool)
    if twice := cells.columns[cells.columns.duplicated()].tolist():
        raise InputError(f"the table of cells has several columns {twice[0]}; give each once")
    needed = [*axes, *(name for name in MEASURES if name != OPTIONAL)]
    if lacking := [name for name in needed if name not in cells]:
        raise InputError(
            f"the table of cells has no column {listed(lacking)}; it has "
            f"{suggest(lacking[0], [str(name) for name in cells])}"
        )
    for name in (name for name in MEASURES if name in cells):
        lost = column(cells, name).isna() & cells[name].notna()
        if lost.any():
            raise InputError(
                f"the table of cells has {name} {cells.loc[lost, name].iloc[0]!r}; give numbers, or leave "
                "it empty"
            )
    with_loss = cells[np.isfinite(column(cells, "train_loss"))]
    with_error = int(column(with_loss, OPTIONAL).notna().sum())
    if 0 < with_error < len(with_loss):
        raise InputError(
            f"the table of cells has {OPTIONAL} in {with_error} of the {len(with_loss)} cells with a "
            "train_loss, which misleads predictions; give it for all of them, or leave the column out"
        )
    keys = keys_of(cells, axes)
    rows = dict(zip(keys, range(len(cells)), strict=True))
    if len(rows) < len(cells):
        twice = next(key for place, key in enumerate(keys) if rows[key] != place)
        where = listed(f"{name} {value}" for name, value in zip(axes, twice, strict=True))
        raise InputError(f"the table of cells has several rows for {where}; give one row per cell")
    order = [rows.get(key, -1) for key in keys_of(points, axes)]
    known = np.array(order) >= 0
    if not known.any():
        first = listed(f"{name} {value}" for name, value in zip(axes, keys[0], strict=True))
        raise InputError(
            f"the domain has no cell of the table: the first one has {first}; give a domain with the values "
            "of the cells"
        )
    placed = cells.reset_index(drop=True).reindex(order).set_axis(points.index)
    return placed, known


def start_size(domain: pd.DataFrame, values: int) -> int:
    """Return the number of cells of a coarse grid with so many values of each axis that has an order."""
    counts = [domain[name].nunique(dropna=False) for name in domain]
    ordered = [is_ordered(domain[name]) for name in domain]
    return math.prod(min(n, values) if has_order else n for n, has_order in zip(counts, ordered, strict=True))


def coarse_places(domain: pd.DataFrame, n: int) -> list[int]:
    """Return the positions of an evenly coarser grid of at most ``n`` cells; of ``n`` spread ones if none."""
    grid = Grid(pd.DataFrame(), domain)
    numbers = np.unique(grid.maps)
    coarse = [coarse_grid(grid.x, grid.maps == number, n // len(numbers)) for number in numbers]
    return [int(place) for places in coarse for place in places] or grid.spread(n)


def coarse_grid(x: np.ndarray, here: np.ndarray, n: int) -> np.ndarray:
    """Return the places of a coarse grid of at most ``n`` of the cells ``here``; none if ``n`` is too small.

    It has the ends of every axis.
    """
    values = [np.unique(x[here, axis]) for axis in range(x.shape[1])]
    counts = [min(2, len(v)) for v in values]
    if math.prod(counts) > n:
        return np.array([], dtype=int)
    while True:
        more = [
            k
            for k, v in enumerate(values)
            if counts[k] < len(v) and math.prod(counts) // counts[k] * (counts[k] + 1) <= n
        ]
        if not more:
            break
        counts[min(more, key=lambda k: counts[k])] += 1
    kept = [
        v[np.unique(np.round(np.linspace(0, len(v) - 1, count)).astype(int))]
        for v, count in zip(values, counts, strict=True)
    ]
    inside = [np.isin(x[:, axis], some) for axis, some in enumerate(kept)]
    return np.flatnonzero(np.logical_and.reduce([here, *inside]))
