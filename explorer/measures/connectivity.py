"""Mode connectivity of pairs of models, along a fitted Bézier curve and along the straight line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from explorer.measures.base import Cell, Kind, Measured, pair_name
from explorer.settings import Options as Settings
from explorer.tables import PAIRS

if TYPE_CHECKING:
    from explorer.landscape.connectivity import Profile

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
    )
}


class Options(Settings):
    """Budget of the curves. Mode connectivity depends on it: hold it fixed over what is compared."""

    pairs: int | Literal["all"] = Field(
        "all", description="pairs a cell that are measured: all, or so many drawn by content"
    )
    steps: int = Field(1000, ge=1, description="optimiser steps of each curve")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(0.1, gt=0, description="flat to half, falling to 1 % at 90 % of the steps")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(
        0.0, ge=0, description="L2 penalty on the point of the curve (the paper: 5e-4)"
    )
    points: int = Field(
        11, ge=3, le=1001, description="points of t at which the paths are evaluated, ends included"
    )


def measure(cell: Cell, subjects: list[tuple[str, str]], options: Options) -> Measured:
    """Fit and evaluate the curves of the pairs in ``subjects``, side by side."""
    from explorer.landscape import connectivity

    first, second = cell.ends(subjects)
    a, b, buffers = cell.theta[first], cell.theta[second], cell.buffers[first]
    control = connectivity.fit_curves(
        cell.network,
        a,
        b,
        buffers,
        cell.data.x_train,
        cell.data.y_train,
        seeds=cell.seeds("curve", [pair_name(pair) for pair in subjects]),
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    curve = connectivity.profile(cell.network, a, control, b, buffers, cell.data, points=options.points)
    line = connectivity.profile(cell.network, a, (a + b) / 2, b, buffers, cell.data, points=options.points)
    columns = [
        connectivity.mode_connectivity(curve.train_error_percent),
        connectivity.barrier(curve.train_error_percent),
        connectivity.dip(curve.train_error_percent),
        connectivity.barrier(curve.train_loss),
        connectivity.barrier(line.train_error_percent),
        connectivity.barrier(line.train_loss),
    ]
    rows = [
        {"model_a": pair[0], "model_b": pair[1], **dict(zip(COLUMNS, [*values, options.steps], strict=True))}
        for pair, *values in zip(subjects, *(c.tolist() for c in columns), strict=True)
    ]
    points = [*_points(subjects, "bezier", curve), *_points(subjects, "linear", line)]
    return Measured(rows, {"curves": points})


def _points(subjects: list[tuple[str, str]], path: str, profile: Profile) -> list[dict[str, Any]]:
    columns = {
        "train_loss": profile.train_loss,
        "train_error_percent": profile.train_error_percent,
        "test_loss": profile.test_loss,
        "test_error_percent": profile.test_error_percent,
    }
    values = {name: column.tolist() for name, column in columns.items()}
    return [
        {
            "model_a": a,
            "model_b": b,
            "path": path,
            "t": t,
            **{name: column[pair][point] for name, column in values.items()},
        }
        for pair, (a, b) in enumerate(subjects)
        for point, t in enumerate(profile.t.tolist())
    ]
