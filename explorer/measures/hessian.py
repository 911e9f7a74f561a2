"""Hessian of the training loss of each model."""

from __future__ import annotations

from pydantic import Field

from explorer.measures.base import Cell, Kind, Measured
from explorer.settings import Options as Settings
from explorer.tables import MODELS

KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {name: MODELS[name] for name in ("hessian_top_eigenvalue", "hessian_trace", "hessian_trace_stderr")}


class Options(Settings):
    """Budget of the Hessian."""

    inputs: int = Field(1000, ge=1, description="training inputs it is taken over: the first so many, or all")
    lanczos_steps: int = Field(
        30, ge=1, le=1000, description="at most; fewer when the eigenvalue has converged to 0.1 %"
    )
    probes: int = Field(
        40,
        ge=2,
        le=100_000,
        description="of the trace, at most; fewer when its standard error is at most 2 %",
    )


def measure(cell: Cell, subjects: list[str], options: Options) -> Measured:
    """Top eigenvalue and trace of the models named in ``subjects``, side by side."""
    from explorer.landscape.hessian import hessian

    rows, _ = cell.ends([(name, name) for name in subjects])
    result = hessian(
        cell.network,
        cell.theta[rows],
        cell.data.x_train[: options.inputs],
        cell.data.y_train[: options.inputs],
        buffers=cell.buffers[rows],
        seeds=cell.seeds("hessian", subjects),
        lanczos_steps=options.lanczos_steps,
        probes_max=options.probes,
    )
    columns = (result.top_eigenvalue.tolist(), result.trace.tolist(), result.trace_stderr.tolist())
    return Measured(
        [
            {"model_id": name, **dict(zip(COLUMNS, values, strict=True))}
            for name, *values in zip(subjects, *columns, strict=True)
        ]
    )
