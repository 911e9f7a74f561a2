"""Mode connectivity of pairs of models, along a fitted path and along the straight line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured, Pair, averaged, pair_name, point_rows
from explorer.measures.cost import Call, CellSize, path
from explorer.options import Options as Settings

KIND: Kind = "pair"
VERSION = 3
EXTRA: tuple[str, ...] = ("curves",)
NO_PATH = "no_path"
COLUMNS = {
    NO_PATH: Column(
        "text",
        "",
        "why no path joins the two models: they differ in buffers or frozen parameters that training does "
        "not change, or averages that a forward pass updates do not settle; empty if a path was fitted",
    ),
    "mode_connectivity": averaged(
        "m − e(t*): mean training error of the two ends, minus the error at the point of the "
        "Bézier curve that differs most from that mean; negative = barrier, positive = better than "
        "the ends; 0 if it is not larger than the difference of the ends",
        unit="percentage points",
        title="Mode connectivity",
        caption="Percentage points of training error. Below 0 (orange): a barrier separates the "
        "replicates. Near 0: they are connected. Above 0 (blue): the curve found better points "
        "than its ends, so the ends had not converged.",
        map=30,
        diverging=True,
        digits=1,
    ),
    "barrier": averaged(
        "largest rise of the training error along the curve above m, at least 0",
        unit="percentage points",
        title="Curve barrier",
        caption="Largest rise of the training error along the curve.",
        digits=1,
    ),
    "dip": averaged(
        "largest fall of the training error along the curve below m, at least 0",
        unit="percentage points",
        title="Curve dip",
        caption="Largest fall of the training error along the curve. A large dip: the ends had not "
        "converged.",
        digits=1,
    ),
    "loss_barrier": averaged(
        "largest rise of the training loss along the curve above the mean of its ends",
        unit="nats",
        title="Curve loss barrier",
        caption="Still distinguishes cells if the training error is 0 everywhere and mode connectivity "
        "cannot.",
        map=60,
    ),
    "curve_peak_error_percent": averaged(
        "largest training error at the inner points of the curve",
        unit="percent",
        title="Peak error of the curve",
        caption="Largest training error on the curve between two replicates. Unlike mode connectivity, it "
        "also counts the error of the ends. It tends to rank test accuracy well.",
        map=59,
        digits=1,
    ),
    "linear_barrier": averaged(
        "`barrier` along the straight line instead of the curve",
        unit="percentage points",
        title="Linear barrier",
        caption="Barrier on the straight line. It is large nearly everywhere: networks are rarely linearly "
        "connected unless their hidden units are aligned.",
        map=65,
        digits=1,
    ),
    "linear_loss_barrier": averaged(
        "`loss_barrier` along the straight line",
        unit="nats",
        title="Linear loss barrier",
        caption="Largest rise of the training loss on the straight line.",
    ),
    "curve_steps": Column(
        "integer", "optimiser steps", "number of steps of the curve fit (mode connectivity depends on it)"
    ),
    "curve_converged": Column(
        "flag",
        "",
        "barrier, dip and loss barrier at half of the steps differ little from those at all steps: by a "
        "point, a point and .02 nats, or by a tenth; and if one of them is larger than that, the second half "
        "of the steps lowers the mean loss by at most a quarter of the whole fall from the straight line",
    ),
    "mode_connectivity_half": Column(
        "number", "percentage points", "`mode_connectivity` at half of the steps of the curve fit"
    ),
    "loss_barrier_half": Column("number", "nats", "`loss_barrier` at half of the steps of the curve fit"),
}


class PairsWithin(Settings):
    """Pairs of the models of one cell: all of them."""

    within: Literal["cell"]


class PairsAlong(Settings):
    """Pairs of the same seed at neighbouring values of an axis, all else equal."""

    along: str


class PairsDrawn(Settings):
    """A given number of pairs of one architecture from the whole grid, drawn by content."""

    count: int = Field(ge=1)


AUTO_STEPS, AUTO_AT_MOST = 500, 4000


class AutoSteps(Settings):
    """Steps of a path: 500, then doubled until the path has converged, at most so many."""

    at_most: int = Field(ge=AUTO_STEPS)


class Options(Settings):
    """Budget of the paths. Mode connectivity depends on it: keep it the same in all runs you compare."""

    pairs: Annotated[int, Field(ge=1)] | Literal["all"] | PairsWithin | PairsAlong | PairsDrawn = Field(
        "all",
        description="all pairs of a cell, or so many of them drawn by content; "
        "{along: batch_size} or {count: 50} for pairs beyond the cell",
    )
    path: Literal["bezier", "chain"] = Field("bezier", description="Bézier curve or polygonal chain")
    bends: int = Field(1, ge=1, le=50, description="trained points between the ends")
    start: Literal["midpoint", "random"] = Field("midpoint", description="where the trained points begin")
    steps: Annotated[int, Field(ge=1)] | Literal["auto"] | AutoSteps = Field(
        1000,
        description="optimiser steps of each path; auto: 500, doubled until it has converged, at most 4000; "
        "{at_most: 8000}: the same with another limit",
    )
    optimizer: Literal["sgd", "adam"] = Field("sgd", description="adam needs fewer steps for small networks")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(0.1, gt=0, description="flat to half, falling to 1 % at 90 % of the steps")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(
        0.0, ge=0, description="L2 penalty on the point of the path (the paper: 5e-4)"
    )
    points: int = Field(
        11, ge=3, le=1001, description="points of t at which the paths are evaluated, ends included"
    )

    @property
    def first_steps(self) -> int:
        """Steps of a path before it is compared with half of them."""
        return self.steps if isinstance(self.steps, int) else AUTO_STEPS

    @property
    def most_steps(self) -> int:
        """Steps of a path at most."""
        if isinstance(self.steps, AutoSteps):
            return self.steps.at_most
        return AUTO_AT_MOST if self.steps == "auto" else self.steps


def cost(options: Options, size: CellSize) -> list[Call]:
    return [(options.most_steps, size.subjects, options.batch_size), *path(size, 2 * options.points)]


def floats_held(options: Options, parameters: int) -> int:
    """Return how many floats a pair holds while its path is fitted.

    The ends, a point, its gradient and step, and six vectors for each bend.
    """
    return (7 + 6 * options.bends) * parameters


def measure(cell: CellModels, subjects: list[Pair], options: Options) -> Measured:
    """Fit and evaluate the paths of the pairs in ``subjects``, all together."""
    from explorer.landscape import connectivity
    from explorer.models.agreement import check_ends

    first, second = cell.ends(subjects)
    a, b, buffers = cell.theta[first], cell.theta[second], cell.buffers[first]
    names = [pair_name(pair) for pair in subjects]
    start = None
    if options.start == "random":
        seeds = cell.seeds(
            "curve start", [f"{name} {bend}" for name in names for bend in range(options.bends)]
        )
        start = cell.initial(seeds).view(len(subjects), options.bends, -1)
    fit = connectivity.fit_to_convergence(
        cell.network,
        a,
        b,
        buffers,
        cell.data,
        seeds=cell.seeds("curve", names),
        kind=options.path,
        bends=options.bends,
        start=start,
        steps=options.first_steps,
        at_most=options.most_steps,
        points=options.points,
        optimizer=options.optimizer,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    curve, line = fit.curve, fit.line
    if cell.verify:
        ends = [(a[0], buffers[0]), (b[0], cell.buffers[second[0]])]
        losses = curve.train_loss[0, [0, -1]].tolist()
        check_ends(cell.network, ends, cell.data.x_train, cell.data.y_train, losses)
    columns = {
        "mode_connectivity": connectivity.mode_connectivity(curve.train_error_percent),
        "barrier": connectivity.barrier(curve.train_error_percent),
        "dip": connectivity.dip(curve.train_error_percent),
        "loss_barrier": connectivity.barrier(curve.train_loss),
        "curve_peak_error_percent": curve.train_error_percent[:, 1:-1].amax(1),
        "linear_barrier": connectivity.barrier(line.train_error_percent),
        "linear_loss_barrier": connectivity.barrier(line.train_loss),
        "curve_steps": fit.steps,
        "curve_converged": fit.converged,
        "mode_connectivity_half": connectivity.mode_connectivity(fit.half_error_percent),
        "loss_barrier_half": connectivity.barrier(fit.half_loss),
    }
    points = [*point_rows(subjects, options.path, curve), *point_rows(subjects, "linear", line)]
    return Measured.of(subjects, columns, {"curves": points})
