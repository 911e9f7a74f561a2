"""Hessian of the training loss of each model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from explorer.columns import MODELS
from explorer.measures.base import Cell, Kind, Measured, in_parts
from explorer.options import Options as Settings

KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    name: MODELS[name]
    for name in (
        "hessian_top_eigenvalue",
        "hessian_trace",
        "hessian_trace_stderr",
        "hessian_bottom_eigenvalue",
        "hessian_eigenvalues",
        "hessian_converged",
    )
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


def measure(cell: Cell, subjects: list[str], options: Options) -> Measured:
    """Ends of the spectrum and trace of the models named in ``subjects``, as many at once as memory holds."""
    parts = in_parts(subjects, numbers(options, cell.network.parameters), cell.theta)
    return Measured.joined([_side_by_side(cell, part, options) for part in parts])


def numbers(options: Options, parameters: int) -> int:
    """That a model's Krylov space takes."""
    return min(options.lanczos_steps, parameters) * parameters


def _side_by_side(cell: Cell, subjects: list[str], options: Options) -> Measured:
    from explorer.landscape.hessian import hessian

    rows, _ = cell.ends([(name, name) for name in subjects])
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
    columns = (
        result.top_eigenvalue,
        result.trace,
        result.trace_stderr,
        result.bottom_eigenvalue,
        result.eigenvalues,
        result.eigenvalues_converged & result.trace_converged,
    )
    return cell.by_model(subjects, list(COLUMNS), [c.tolist() for c in columns])
