"""Hessian of the training loss of each model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured, averaged
from explorer.measures.cost import TAKEN, Call, CellSize, products
from explorer.options import Options as Settings

KIND: Kind = "model"
VERSION = 2
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "hessian_top_eigenvalue": averaged(
        "largest eigenvalue of the Hessian of the mean training loss",
        title="Hessian top eigenvalue",
        caption="Large: the loss curves sharply in one direction. It tends to follow temperature.",
        map=50,
        log=True,
    ),
    "hessian_trace": averaged(
        "trace of the Hessian of the mean training loss (Hutchinson estimate)",
        title="Hessian trace",
        caption="Sum of the curvatures. Large: the loss curves sharply in many directions.",
        map=51,
        log=True,
    ),
    "hessian_trace_stderr": Column("number", "", "standard error of the trace over probes"),
    "hessian_bottom_eigenvalue": averaged(
        "smallest eigenvalue of the Hessian, signed; without `smallest: true` only an upper bound",
        title="Hessian bottom eigenvalue",
        caption="Below 0: the loss curves downwards in some direction, so training did not end in a minimum.",
        diverging=True,
    ),
    "hessian_eigenvalues": Column(
        "numbers", "", "largest eigenvalues of the Hessian in descending order (`top` of them)"
    ),
    "hessian_converged": Column(
        "flag", "", "whether eigenvalues and trace reached their tolerance within the budget"
    ),
}


class Options(Settings):
    """Budget of the Hessian."""

    inputs: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        1000, description="training inputs it is taken over: the first so many"
    )
    lanczos_steps: int = Field(
        30, ge=1, le=1000, description="at most; fewer when the eigenvalues have converged"
    )
    probes: int = Field(
        40, ge=4, le=100_000, description="of the trace, at most; fewer at 2 % standard error"
    )
    top: int = Field(1, ge=1, le=100, description="largest eigenvalues that are kept")
    smallest: bool = Field(
        False, description="go on until the smallest eigenvalue has converged too; takes 30 to 60 steps"
    )


def cost(options: Options, size: CellSize) -> list[Call]:
    return products(options, size, TAKEN * (options.lanczos_steps + options.probes))


def floats_held(options: Options, parameters: int) -> int:
    """Return how many floats the Krylov space of a model holds."""
    return min(options.lanczos_steps, parameters) * parameters


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Measure the models named in ``subjects``, all together."""
    from explorer.landscape.hessian import hessian

    rows = cell.rows(subjects)
    inputs = None if options.inputs == "all" else options.inputs
    result = hessian(
        cell.network,
        cell.theta[rows],
        cell.data.x_train[:inputs],
        cell.data.y_train[:inputs],
        buffers=cell.buffers[rows],
        seeds=cell.seeds("hessian", subjects),
        lanczos_steps=options.lanczos_steps,
        probes_max=options.probes,
        top_k=options.top,
        smallest=options.smallest,
    )
    columns = {
        "hessian_top_eigenvalue": result.top_eigenvalue,
        "hessian_trace": result.trace,
        "hessian_trace_stderr": result.trace_stderr,
        "hessian_bottom_eigenvalue": result.bottom_eigenvalue,
        "hessian_eigenvalues": result.eigenvalues,
        "hessian_converged": result.eigenvalues_converged & result.trace_converged,
    }
    return Measured.of(subjects, columns)
