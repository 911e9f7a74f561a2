"""The next cells of a grid to run, and the phases of the cells that were not run.

A phase map consists mostly of even regions; what matters is where the borders run. A Gaussian process over
the grid predicts training loss, mode connectivity, CKA and training error in every cell. This gives the
probability of each phase. The next cells are those whose phase is least sure.

>>> import explorer.refine, pandas as pd
>>> domain = {"width": [2, 4, 8, 16, 32], "batch_size": [8, 16, 32, 64]}
>>> explorer.refine.propose(pd.DataFrame(), domain, 4)
[{'width': 2, 'batch_size': 8}, {'width': 2, 'batch_size': 64}, {'width': 32, 'batch_size': 8}, \
{'width': 32, 'batch_size': 64}]
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from explorer.phases import PHASES, Cut, column, find_cuts
from explorer.phases.cuts import Sides, sort_cells, sort_sides
from explorer.settings import InputError, seed_for, suggest

Domain = Mapping[str, Sequence[Any]]
Cuts = Mapping[str, Any]

QUANTILES = 1000  # of a predicted measure, for its mean and deviation in the units of the tables
AMPLITUDE, LENGTH = 1.5, 1.0  # medians of the kernel's priors; a length is in widths of the grid
FACTORS = (0.55, 1.0, 1.8)  # of the most probable length scales: those of the kernels that are averaged
KERNEL_CELLS = 150  # the kernel is fitted to at most so many cells, drawn from those of the map
BEYOND = 0.5  # predicted values end so far outside the measured ones, in ranges of these
LEAST_LOW = 4  # CKA is predicted from the cells of low loss if there are so many, else from all
POWERS = np.geomspace(0.5, 4, 31)  # of the phases' probabilities
POWER_DEVIATION = 0.5  # of its logarithm, before measured cells are predicted from each other
SOURCES = ("measured", "predicted")


class Measure(NamedTuple):
    """A measure that decides on the phase: to and from the scale on which it varies evenly.

    ``prior`` has the mean and deviation on this scale if fewer than two cells have the measure. ``noise`` is
    the median of the prior of its noise. ``diagonal`` measures may also vary along the diagonals of two axes.
    """

    to: Callable[[np.ndarray, Mapping[str, Cut]], np.ndarray]
    back: Callable[[np.ndarray, Mapping[str, Cut]], np.ndarray]
    prior: tuple[float, float]
    noise: float = 0.03
    diagonal: bool = False


# Mode connectivity decides on less above the tolerance: there its scale bends, and is so flat.
BEND, SLOPE = math.asinh(1.0), 0.5


def _bent(mc: np.ndarray, cuts: Mapping[str, Cut]) -> np.ndarray:
    value = np.arcsinh(mc / cuts["connected"].value)
    return np.where(value > BEND, BEND + SLOPE * (value - BEND), value)


def _straight(bent: np.ndarray, cuts: Mapping[str, Cut]) -> np.ndarray:
    value = np.where(bent > BEND, BEND + (bent - BEND) / SLOPE, bent)
    return np.sinh(np.clip(value, -20, np.arcsinh(100 / cuts["connected"].value))) * cuts["connected"].value


MEASURES = {
    "train_loss": Measure(
        lambda v, _: np.log10(np.maximum(v, 1e-6)),
        lambda v, _: 10.0 ** np.clip(v, -12, 12),
        (-1.0, 1.0),
        diagonal=True,
    ),
    "mode_connectivity": Measure(_bent, _straight, (0.0, 2.0), noise=0.1),
    "cka": Measure(lambda v, _: v, lambda v, _: v, (0.6, 0.3)),
    "train_error_percent": Measure(
        lambda v, _: np.log10(np.maximum(v, 0.1)),
        lambda v, _: 10.0 ** np.clip(v, -12, 2),
        (0.0, 1.0),
        diagonal=True,
    ),
}
OPTIONAL = "train_error_percent"


def propose(
    cells: pd.DataFrame, domain: Domain | pd.DataFrame, n: int, cuts: Cuts | None = None
) -> list[dict[str, Any]]:
    """Return the settings of the next ``n`` cells to run, the most informative first.

    Each is the cell whose most probable phase has the smallest probability, given the cells that are known
    and those proposed before it. A map without known cells gets one first. Without any known cell, the
    proposal covers the grid evenly, with its ends. The result depends on the arguments only.

    Args:
        cells: one row per known cell, with the axes, ``train_loss``, ``mode_connectivity``, ``cka`` and, if
            known, ``train_error_percent``. A cell without values (failed, diverged) is known too.
        domain: the values of each axis, or a table of the cells for a grid with gaps. Axes of words or truth
            values have no order: each of their values has a map of its own.
        n: number of cells; fewer are returned if fewer are left.
        cuts: borders between phases, as ``{"train_loss": 0.01, "connected": 1, "cka": 0.65}``; borders that
            are not given are found from the cells.

    Raises:
        InputError: a column is missing, two rows have the same settings, no row is a cell of the domain, or
            an argument has a wrong type or value.

    >>> import pandas as pd
    >>> places = [(width, size) for width in (2, 4, 8, 16) for size in (8, 32, 128)]
    >>> domain = pd.DataFrame(places, columns=["width", "batch_size"])
    >>> len(explorer.refine.propose(pd.DataFrame(), domain, 6))
    6
    """
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 0:
        raise InputError(f"n is {n!r}; give a whole number of cells, 0 or more")
    points = _points(domain)
    places = propose_places(cells, points, n, cuts)
    return [{str(name): points[name].tolist()[place] for name in points} for place in places]


def propose_places(
    cells: pd.DataFrame, domain: Domain | pd.DataFrame, n: int, cuts: Cuts | None = None
) -> list[int]:
    """Return what :func:`propose` returns, as positions in the domain: its axes' product in their order."""
    return PartialGrid(cells, domain, cuts).propose_places(n)


def coarse_places(domain: pd.DataFrame, n: int) -> list[int]:
    """Return the positions of an evenly coarser grid of at most ``n`` cells; of ``n`` spread ones if none."""
    grid = _Grid(pd.DataFrame(), domain)
    numbers = np.unique(grid.maps)
    coarse = [_coarse(grid.x, grid.maps == number, n // len(numbers)) for number in numbers]
    return [int(place) for places in coarse for place in places] or grid.spread(n)


def start_size(domain: pd.DataFrame, values: int) -> int:
    """Return the number of cells of a coarse grid with so many values of each axis that has an order."""
    counts = [domain[name].nunique(dropna=False) for name in domain]
    ordered = [_is_ordered(domain[name]) for name in domain]
    return math.prod(min(n, values) if has_order else n for n, has_order in zip(counts, ordered, strict=True))


def predict(cells: pd.DataFrame, domain: Domain | pd.DataFrame, cuts: Cuts | None = None) -> pd.DataFrame:
    """Return one row per cell of the domain with its phase, measured or predicted.

    Args:
        cells, domain, cuts: as in :func:`propose`.

    Returns:
        The axes; ``source`` (``measured`` or ``predicted``); ``phase`` (for a measured cell that of its
        means, empty if it lacks a measure; for a predicted cell the most probable one); ``probability`` that
        the whole grid would show this phase (1 if measured; NaN without a phase); a probability for each
        phase, columns ``I`` to ``IV-B``; and mean and standard deviation of each measure, as ``train_loss``
        and ``train_loss_std``: of the replicates if measured, of the prediction if predicted.

    Raises:
        InputError: as in :func:`propose`, or no cell is known.

    >>> found = explorer.refine.predict(run.cells, run.cells[["width", "batch_size"]], run.cuts())
    >>> len(found)
    4
    """
    return PartialGrid(cells, domain, cuts).predict()


class PartialGrid:
    """A domain with its known cells, for both predictions and proposals: their models are fitted once.

    Args:
        cells, domain, cuts: as in :func:`propose`, with its errors.
    """

    def __init__(self, cells: pd.DataFrame, domain: Domain | pd.DataFrame, cuts: Cuts | None = None) -> None:
        self.grid = _Grid(cells, domain)
        self.cuts = _cuts(self.grid.rows, cuts) if self.grid.known.any() else {}

    @cached_property
    def models(self) -> dict[str, _Model]:
        """The model of each measure; some cells are known, and some are not."""
        return _fit(self.grid, self.cuts)

    def predict(self) -> pd.DataFrame:
        """Return what :func:`predict` returns."""
        grid, cuts, known = self.grid, self.cuts, self.grid.known
        if not known.any():
            raise InputError("no cell of the domain is known yet, so no phase can be predicted")
        measured = sort_cells(grid.rows, cuts).phase
        phase = measured.copy()
        shares = np.where(measured == "", np.nan, measured == np.array(PHASES)[:, None]).T
        predicted = {}
        if not known.all():
            with _one_thread():
                predicted = {name: model.predictions() for name, model in self.models.items()}
                power = self._power(measured)
            shares[~known] = _sharpened(_shares(predicted, cuts)[~known], power)
            phase[~known] = np.array(PHASES)[shares[~known].argmax(axis=1)]
            predicted["cka"] = self._cka(predicted["cka"], np.isin(phase, PHASES[:2]))
        out = grid.points.copy()
        out["source"] = np.where(known, *SOURCES)
        out["phase"] = phase
        out["probability"] = shares.max(axis=1)
        out[list(PHASES)] = shares
        for name in (name for name in MEASURES if name in grid.rows):
            own, spread = column(grid.rows, name).to_numpy(), column(grid.rows, f"{name}_std").to_numpy()
            mean, deviation = (
                _in_units(name, *predicted[name], cuts, own) if name in predicted else (np.nan, np.nan)
            )
            out[name] = np.where(known, own, mean)
            out[f"{name}_std"] = np.where(known, spread, deviation)
        return out

    def _cka(self, of_low: tuple[np.ndarray, np.ndarray], high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of CKA: from all measured cells where the loss is ``high``, (cells,)."""
        with _one_thread():
            of_all = _model(self.grid, "cka", self.cuts, self.grid.known).predictions()
        mean, spread = (np.where(high, every, low) for every, low in zip(of_all, of_low, strict=True))
        return mean, spread

    def _power(self, measured: np.ndarray) -> float:
        """Return the power of the phases' probabilities that suits the measured cells.

        Measures jump at borders, so their deviations far from borders are smaller than the models say. Each
        measured cell is predicted from the others. With the power, their phases are most likely.
        """
        has_phase = measured != ""
        left_out = {name: model.left_out() for name, model in self.models.items()}
        shares = _shares(left_out, self.cuts)[has_phase]
        own = measured[has_phase, None] == PHASES
        fit = [np.log(np.maximum(_sharpened(shares, power)[own], 1e-4)).sum() for power in POWERS]
        return float(POWERS[np.argmax(fit - (np.log(POWERS) / POWER_DEVIATION) ** 2 / 2)])

    def propose_places(self, n: int) -> list[int]:
        """Return what :func:`propose_places` returns."""
        if not self.grid.known.any():
            return self.grid.spread(n)
        with _one_thread():
            return self._least_known(n)

    def _least_known(self, n: int) -> list[int]:
        """Return the places of the ``n`` cells whose phase is least sure, each after those before it."""
        grid, known = self.grid, self.grid.known.copy()
        chosen: list[int] = []
        doubt, changed = np.full(len(known), -1.0), np.unique(grid.maps)
        following = {k: {name: model.following(k) for name, model in self.models.items()} for k in changed}
        while len(chosen) < n and not known.all():
            for number in changed:
                here = grid.maps == number
                predicted = {name: one.predictions() for name, one in following[number].items()}
                most = _shares(predicted, self.cuts).max(axis=1)
                unsure = np.round(1 - most, 6) if known[here].any() else 1.0
                doubt[here] = np.where(known[here], -1.0, unsure)
            best = np.flatnonzero(doubt == doubt.max())
            place = int(best[grid.distance(known)[best].argmax() if len(best) > 1 else 0])
            chosen.append(place)
            known[place] = True
            changed = [grid.maps[place]]
            for one in following[grid.maps[place]].values():
                one.add(int((grid.maps[:place] == grid.maps[place]).sum()))
        return chosen


def expected_share(predicted: pd.DataFrame) -> float:
    """Return the share of phases of a :func:`predict` table that is expected to be right."""
    return float(predicted["probability"].mean())


def share_in_words(run: int, cells: int, expected: float) -> str:
    """Return the sentence at the top of a page of a refined run."""
    share = f" {100 * expected:.0f} % of phases are expected to be right" if np.isfinite(expected) else ""
    return f"{run} of {cells} cells were run{';' if share else ''}{share}."


class _Grid:
    """The cells of a domain with the known rows in their places.

    Args:
        points: the axes, one row per cell of the domain.
        rows: the known cells' rows on the same index, NaN elsewhere.
        known: (cells,) whether a row of the table describes the cell.
        x: (cells, ordered axes) coordinates from 0 to 1.
        maps: (cells,) number of the cell's map: its combination of values of the axes without order.
    """

    def __init__(self, cells: pd.DataFrame, domain: Domain | pd.DataFrame) -> None:
        self.points = _points(domain)
        axes = [str(name) for name in self.points]
        self.rows, self.known = _placed(cells, self.points, axes)
        ordered = [name for name in axes if _is_ordered(self.points[name])]
        self.x = np.column_stack(
            [_coordinates(self.points[name]) for name in ordered] or [np.zeros(len(self.points))]
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
            chosen += [int(place) for place in _coarse(self.x, self.maps == number, n // len(names))]
        taken = np.zeros(len(self.x), dtype=bool)
        taken[chosen] = True
        while len(chosen) < n and not taken.all():
            away = np.where(taken, -1.0, np.round(self.distance(taken), 9))
            chosen.append(int(away.argmax()))
            taken[chosen[-1]] = True
        return chosen[:n]


def _points(domain: Domain | pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a domain, in the order of the axis values."""
    if isinstance(domain, pd.DataFrame):
        points = domain.reset_index(drop=True).rename(columns=str)
    elif isinstance(domain, Mapping):
        points = _product(domain).rename(columns=str)
    else:
        raise InputError(
            f"the domain is a {type(domain).__name__}; give {{axis: values}} or a table of the axes"
        )
    if points.empty:
        raise InputError("the domain has no cells; give {axis: values} or a table of the axes")
    taken = [*MEASURES, *(f"{name}_std" for name in MEASURES), *PHASES, "source", "phase", "probability"]
    if wrong := [str(name) for name in points if name in taken]:
        raise InputError(
            f"the domain has the column {wrong[0]}, which is a result and no axis; give the axes only, as "
            "cells[['width', 'batch_size']]"
        )
    for name in points:
        if _is_ordered(points[name]) and not np.isfinite(points[name].to_numpy(float)).all():
            raise InputError(f"the domain has an infinite value of {name}; give finite values")
    keys = pd.Series(keys_of(points, [str(name) for name in points]))
    if keys.duplicated().any():
        where = ", ".join(map(" ".join, zip(map(str, points), keys[keys.duplicated()].iloc[0], strict=True)))
        raise InputError(f"the domain has {where} several times; give each value once")
    return points


def _product(domain: Domain) -> pd.DataFrame:
    if not domain:
        raise InputError("the domain has no axis; give {axis: values}")
    lists = {}
    for name, values in domain.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"the domain axis {name!r} is {values!r}; give a list of values")
        lists[name] = [v.item() if isinstance(v, np.generic) else v for v in values]
        if not lists[name]:
            raise InputError(f"the domain axis {name!r} has no values; give {{axis: values}}")
        if wrong := [v for v in lists[name] if v is not None and not isinstance(v, str | int | float)]:
            raise InputError(f"the domain axis {name!r} has the value {wrong[0]!r}; give numbers or words")
    columns = zip(*itertools.product(*lists.values()), strict=True)
    return pd.DataFrame(dict(zip(lists, columns, strict=True)))


def _is_ordered(values: pd.Series) -> bool:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return numeric and bool(values.notna().all())


def _placed(cells: Any, points: pd.DataFrame, axes: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows of the known cells in their places, and which places are known."""
    try:
        cells = pd.DataFrame(cells).rename(columns=str)
    except ValueError:
        raise InputError(
            f"the cells are a {type(cells).__name__}; give a table with a row per cell"
        ) from None
    if cells.empty:
        return pd.DataFrame(index=points.index), np.zeros(len(points), dtype=bool)
    needed = [*axes, *(name for name in MEASURES if name != OPTIONAL)]
    if lacking := [name for name in needed if name not in cells]:
        raise InputError(
            f"the table of cells has no column {', '.join(lacking)}; it has "
            f"{suggest(lacking[0], [str(name) for name in cells])}"
        )
    for name in (name for name in MEASURES if name in cells):
        lost = column(cells, name).isna() & cells[name].notna()
        if lost.any():
            raise InputError(
                f"the table of cells has {name} {cells.loc[lost, name].iloc[0]!r}; give numbers, or leave "
                "it empty"
            )
    keys = keys_of(cells, axes)
    rows = dict(zip(keys, range(len(cells)), strict=True))
    if len(rows) < len(cells):
        twice = next(key for place, key in enumerate(keys) if rows[key] != place)
        where = ", ".join(f"{name} {value}" for name, value in zip(axes, twice, strict=True))
        raise InputError(f"the table of cells has several rows for {where}; give one row per cell")
    order = [rows.get(key, -1) for key in keys_of(points, axes)]
    known = np.array(order) >= 0
    if not known.any():
        first = ", ".join(f"{name} {value}" for name, value in zip(axes, keys[0], strict=True))
        raise InputError(
            f"the domain has no cell of the table: the first one has {first}; give a domain with the values "
            "of the cells"
        )
    placed = cells.reset_index(drop=True).reindex(order).set_axis(points.index)
    return placed, known


def keys_of(table: pd.DataFrame, axes: list[str]) -> list[tuple[str, ...]]:
    """Return the settings of each row as text that is the same for equal numbers of any type."""

    def key(value: Any) -> str:
        if isinstance(value, bool | np.bool_ | str):
            return str(value)
        return "" if pd.isna(value) else f"{float(value):.9g}"

    return list(zip(*([key(value) for value in table[name]] for name in axes), strict=True))


def _coordinates(values: pd.Series) -> np.ndarray:
    """Return the values of an axis from 0 to 1: on a log scale if they lie more evenly there.

    A zero on a log axis lies one step below the smallest positive value.
    """
    numbers = values.to_numpy(dtype=float)
    steps = np.unique(numbers)
    if len(steps) == 1:
        return np.zeros(len(numbers))
    positive = steps[steps > 0]
    place = steps
    if steps[0] >= 0 and len(positive) > 1 and _unevenness(np.log(positive)) < _unevenness(positive):
        logs = np.log(positive)
        place = np.concatenate([[logs[0] - np.diff(logs).mean()] if steps[0] == 0 else [], logs])
    place = (place - place[0]) / (place[-1] - place[0])
    return place[np.searchsorted(steps, numbers)]


def _unevenness(steps: np.ndarray) -> float:
    gaps = np.diff(steps)
    return float(gaps.std() / gaps.mean()) if len(gaps) > 1 else (0.0 if steps[-1] - steps[0] > 2 else 1.0)


def _coarse(x: np.ndarray, here: np.ndarray, n: int) -> np.ndarray:
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


def _cuts(rows: pd.DataFrame, cuts: Cuts | None) -> dict[str, Cut]:
    """Return the cuts: those given, as numbers or as ``Cut``, and the others found from the known cells."""
    if cuts is not None and not isinstance(cuts, Mapping):
        raise InputError(f"cuts is a {type(cuts).__name__}; give {{'train_loss': 0.01}}")
    if cuts and len(cuts) == 3 and all(isinstance(cut, Cut) for cut in cuts.values()):
        return dict(cuts)
    cuts = {name: cut.value if isinstance(cut, Cut) else cut for name, cut in (cuts or {}).items()}
    try:
        return find_cuts(rows, cuts)
    except ValueError as error:
        raise InputError(str(error)) from error


def _with_diagonals(x: np.ndarray) -> np.ndarray:
    """Return coordinates, (cells, axes), and after them the diagonals of each two axes."""
    pairs = itertools.combinations(x.T, 2)
    return np.column_stack([x, *(side for a, b in pairs for side in ((a + b) / 2**0.5, (a - b) / 2**0.5))])


class _Model(NamedTuple):
    """A Gaussian process for each map of one measure, on the scale of :class:`Measure`.

    Args:
        x: (cells, coordinates).
        maps: (cells,) as in :class:`_Grid`.
        used: (cells,) whether the process of the cell's map is fitted to the cell.
    """

    x: np.ndarray
    maps: np.ndarray
    used: np.ndarray
    processes: dict[int, _Process]

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

    def following(self, number: int) -> _Following:
        """Return the predictions in the cells of a map, for measurements that are added to it."""
        return _Following(self.processes[number], self.x[self.maps == number])


class _Process(NamedTuple):
    """Gaussian processes with several kernels, averaged with weights; without any, a normal distribution.

    They describe values of mean ``centre`` and deviation ``scale``.
    """

    centre: float
    scale: float
    fitted: list[Any]
    weights: np.ndarray

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.fitted:
            return np.full(len(x), self.centre), np.full(len(x), self.scale)
        means, spreads = map(
            np.array, zip(*(one.predict(x, return_std=True) for one in self.fitted), strict=True)
        )
        return self.mixed(means, spreads)

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of each value from the others, (values,) each."""
        from scipy.linalg import cho_solve

        pairs = []
        for one in self.fitted:
            variance = 1 / np.diag(cho_solve((one.L_, True), np.eye(len(one.L_))))
            pairs.append((one.y_train_ - one.alpha_ * variance, np.sqrt(variance)))
        return self.mixed(*map(np.array, zip(*pairs, strict=True)))

    def mixed(self, means: np.ndarray, spreads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation over the kernels, (cells,), from those of each, (kernels, cells)."""
        mean = self.weights @ means
        spread = np.sqrt(self.weights @ (spreads**2 + (means - mean) ** 2))
        return self.centre + self.scale * mean, self.scale * spread


class _Following:
    """Predictions in some cells, (cells,), as if some of them were measured and had the predicted values.

    Such a measurement does not move the means. It lowers the variance of each cell by the square of its
    covariance with the measured cell over that cell's variance.
    """

    def __init__(self, process: _Process, x: np.ndarray) -> None:
        from scipy.linalg import solve_triangular

        self.process, self.x = process, x
        self.means, self.variances, self.factors = [], [], []
        for one in process.fitted:
            mean, spread = one.predict(x, return_std=True)
            self.means.append(mean)
            self.variances.append(spread**2)
            self.factors.append([solve_triangular(one.L_, one.kernel_(one.X_train_, x), lower=True)])

    def add(self, place: int) -> None:
        """Take the cell at ``place`` as measured."""
        for one, variance, factor in zip(self.process.fitted, self.variances, self.factors, strict=True):
            covariance = one.kernel_(self.x, self.x[place : place + 1])[:, 0]
            covariance -= sum(rows.T @ rows[:, place] for rows in factor)
            factor.append((covariance / np.sqrt(variance[place]))[None])
            variance -= factor[-1][0] ** 2

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of a measurement in each cell."""
        if not self.process.fitted:
            return self.process.at(self.x)
        return self.process.mixed(np.array(self.means), np.sqrt(np.maximum(self.variances, 0.0)))


def _one_thread() -> Any:
    """Return a context in which linear algebra has one thread: small matrices are slower with more.

    The results then do not depend on the number of cores either.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _regressor(kernel: Any, optimizer: Any = None) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor

    return GaussianProcessRegressor(kernel, optimizer=optimizer)


def _fit(grid: _Grid, cuts: Mapping[str, Cut]) -> dict[str, _Model]:
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
        models[name] = _model(grid, name, cuts, among)
    return models


def _model(grid: _Grid, name: str, cuts: Mapping[str, Cut], among: np.ndarray) -> _Model:
    """Return a model of a measure, fitted to those cells ``among``, (cells,), that have it."""
    measure = MEASURES[name]
    values = measure.to(column(grid.rows, name).to_numpy(), cuts)
    usable = among & np.isfinite(values)
    every = values[usable]
    prior = (float(every.mean()), max(float(every.std()), 1e-3)) if len(every) > 1 else measure.prior
    x, processes = _with_diagonals(grid.x) if measure.diagonal else grid.x, {}
    for number in np.unique(grid.maps):
        here = usable & (grid.maps == number)
        processes[int(number)] = _process(x[here], values[here], prior, measure.noise)
    return _Model(x, grid.maps, usable, processes)


def _process(x: np.ndarray, y: np.ndarray, prior: tuple[float, float], noise: float) -> _Process:
    """Return Gaussian processes (Matérn 3/2, a length scale per axis, noise) around the most probable one.

    Few cells do not determine the length scales, so longer and shorter ones are averaged with it, each with
    its posterior density as weight.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    if len(y) < 2:
        return _Process(*prior, [], np.ones(0))
    centre, scale = float(y.mean()), max(float(y.std()), 1e-6)
    y = (y - centre) / scale
    lengths: Any = np.full(x.shape[1], LENGTH)
    kernel = ConstantKernel(AMPLITUDE, (1e-3, 1e3)) * Matern(lengths, (1e-2, 1e2), nu=1.5)
    kernel += WhiteKernel(noise, (1e-5, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound
        some = np.random.default_rng(seed_for("refine", "kernel")).permutation(len(y))[:KERNEL_CELLS]
        best = _regressor(kernel, _most_probable).fit(x[some], y[some]).kernel_
    fitted, density = [], []
    for factor in FACTORS:
        theta = best.theta.copy()
        theta[1:-1] += np.log(factor)
        theta = np.clip(theta, best.bounds[:, 0], best.bounds[:, 1])
        fitted.append(_regressor(best.clone_with_theta(theta)).fit(x, y))
        away = theta - kernel.theta
        density.append(fitted[-1].log_marginal_likelihood_value_ - float(away @ away) / 2)
    weights = np.exp(np.array(density) - max(density))
    return _Process(centre, scale, fitted, weights / weights.sum())


def _most_probable(
    objective: Callable[..., Any], start: np.ndarray, bounds: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the logarithms of the kernel's parameters with the largest posterior density.

    Their prior is a normal distribution around ``start`` with deviation 1. With few cells, the likelihood
    alone may have its maximum at a bound. Parameters are rounded, so machines that compute the last bit
    differently agree.
    """
    from scipy.optimize import minimize

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(theta)
        away = theta - start
        return value + float(away @ away) / 2, gradient + away

    best = np.round(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x, 2)
    best = np.clip(best, bounds[:, 0], bounds[:, 1])
    return best, loss(best)[0]


def _sharpened(shares: np.ndarray, power: float) -> np.ndarray:
    """Return probabilities, (cells, phases), that are raised to a power and sum to 1 again."""
    raised = shares**power
    return raised / raised.sum(axis=1, keepdims=True)


def _in_units(
    name: str, mean: np.ndarray, spread: np.ndarray, cuts: Mapping[str, Cut], known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of a predicted measure in the units of the tables, (cells,) each.

    A normal distribution on a log scale has long tails. They end half a range outside the ``known`` values.
    """
    from scipy.special import ndtri

    normal = ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)[:, None]
    values = MEASURES[name].back(mean + spread * normal, cuts)
    known = known[np.isfinite(known)]
    if len(known) > 1:
        beyond = BEYOND * np.ptp(known)
        values = np.clip(values, known.min() - beyond, known.max() + beyond)
    return values.mean(axis=0), values.std(axis=0)


def _shares(predicted: Mapping[str, tuple[np.ndarray, np.ndarray]], cuts: Mapping[str, Cut]) -> np.ndarray:
    """Return the probability of each phase, (cells, phases), by the rule of measured cells.

    Training loss and training error rise and fall together. The others vary independently of them.

    Args:
        predicted: mean and standard deviation of each measure on the scale of :class:`Measure`.
    """
    from scipy.special import ndtr

    def below(name: str, value: float) -> np.ndarray:
        mean, spread = predicted[name]
        return ndtr((MEASURES[name].to(np.array(value), cuts) - mean) / np.maximum(spread, 1e-12))

    loss_cut, connected, cka_cut = (cuts[name].value for name in ("train_loss", "connected", "cka"))
    low, limit = below("train_loss", loss_cut), cuts["train_loss"].fitted_error
    fits = below(OPTIONAL, limit) if OPTIONAL in predicted and limit is not None else np.zeros_like(low)
    both = np.minimum(low, fits)
    of_loss = np.stack([both, low - both, fits - both, 1 - low - fits + both])  # (sides, cells)
    behind, inside = below("mode_connectivity", -connected), below("mode_connectivity", connected)
    of_mc = np.stack([behind, inside - behind, 1 - inside])
    unlike = below("cka", cka_cut)
    of_cka = np.stack([1 - unlike, unlike])
    i, j, k = np.indices((4, 3, 2)).reshape(3, -1)
    sides = Sides(i < 2, i >= 2, j == 0, j == 1, j == 2, k == 0, k == 1)
    phase = sort_sides(sides, i % 2 == 0).phase
    share = of_loss[i] * of_mc[j] * of_cka[k]
    return np.stack([share[phase == number].sum(axis=0) for number in range(1, 1 + len(PHASES))], axis=1)
