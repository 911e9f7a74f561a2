"""Mode connectivity of pairs of models, along a fitted path and along the straight line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from explorer.columns import PAIRS
from explorer.measures.base import Cell, Kind, Measured, Pair, in_parts, pair_name
from explorer.measures.points import point_rows
from explorer.options import Options as Settings

KIND: Kind = "pair"
EXTRA: tuple[str, ...] = ("curves",)
COLUMNS = {
    name: PAIRS[name]
    for name in (
        "mode_connectivity",
        "barrier",
        "dip",
        "loss_barrier",
        "linear_barrier",
        "linear_loss_barrier",
        "curve_steps",
        "curve_converged",
        "curve_loss_fall",
    )
}


class Within(Settings):
    """Pairs of the models of one cell: all of them."""

    within: Literal["cell"]


class Along(Settings):
    """Pairs of the same seed at neighbouring values of an axis, all else equal."""

    along: str


class Count(Settings):
    """So many pairs of one architecture from the whole grid, drawn by content."""

    count: int = Field(ge=1)


class Options(Settings):
    """Budget of the paths. Mode connectivity depends on it: hold it fixed over what is compared."""

    pairs: Annotated[int, Field(ge=1)] | Literal["all"] | Within | Along | Count = Field(
        "all",
        description="all pairs of a cell, or so many of them drawn by content; "
        "{along: batch_size} or {count: 50} for pairs beyond the cell",
    )
    path: Literal["bezier", "chain"] = Field("bezier", description="Bézier curve or polygonal chain")
    bends: int = Field(1, ge=1, le=50, description="trained points between the ends")
    start: Literal["midpoint", "random"] = Field("midpoint", description="where the trained points begin")
    steps: int = Field(1000, ge=1, description="optimiser steps of each path")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(0.1, gt=0, description="flat to half, falling to 1 % at 90 % of the steps")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(
        0.0, ge=0, description="L2 penalty on the point of the path (the paper: 5e-4)"
    )
    points: int = Field(
        11, ge=3, le=1001, description="points of t at which the paths are evaluated, ends included"
    )


def measure(cell: Cell, subjects: list[Pair], options: Options) -> Measured:
    """Fit and evaluate the paths of the pairs in ``subjects``, as many at once as memory holds."""
    parts = in_parts(subjects, numbers(options, cell.network.parameters), cell.theta)
    return Measured.joined([_side_by_side(cell, part, options) for part in parts])


def numbers(options: Options, parameters: int) -> int:
    """That a pair's path takes while it is fitted: ends, a point, its gradient and step; and three a bend."""
    return (7 + 3 * options.bends) * parameters


def _side_by_side(cell: Cell, subjects: list[Pair], options: Options) -> Measured:
    from explorer.landscape import connectivity
    from explorer.landscape.paths import straight

    first, second = cell.ends(subjects)
    a, b, buffers = cell.theta[first], cell.theta[second], cell.buffers[first]
    names = [pair_name(pair) for pair in subjects]
    start = None
    if options.start == "random":
        seeds = cell.seeds(
            "curve start", [f"{name} {bend}" for name in names for bend in range(options.bends)]
        )
        start = cell.initial(seeds).view(len(subjects), options.bends, -1)
    fit = connectivity.fit_paths(
        cell.network,
        a,
        b,
        buffers,
        cell.data.x_train,
        cell.data.y_train,
        seeds=cell.seeds("curve", names),
        kind=options.path,
        bends=options.bends,
        start=start,
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    curve = connectivity.profile_path(cell.network, fit.path, buffers, cell.data, points=options.points)
    line = connectivity.profile_path(cell.network, straight(a, b), buffers, cell.data, points=options.points)
    columns = (
        connectivity.mode_connectivity(curve.train_error_percent),
        connectivity.barrier(curve.train_error_percent),
        connectivity.dip(curve.train_error_percent),
        connectivity.barrier(curve.train_loss),
        connectivity.barrier(line.train_error_percent),
        connectivity.barrier(line.train_loss),
    )
    measured = cell.by_pair(
        subjects,
        list(COLUMNS),
        [
            *(c.tolist() for c in columns),
            [options.steps] * len(subjects),
            fit.converged.tolist(),
            fit.fall.tolist(),
        ],
    )
    points = [*point_rows(subjects, options.path, curve), *point_rows(subjects, "linear", line)]
    return Measured(measured.rows, {"curves": points})
