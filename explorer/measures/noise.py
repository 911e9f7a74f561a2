"""Gradient noise scale of each model."""

from __future__ import annotations

from pydantic import Field

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured, averaged
from explorer.measures.cost import Call, CellSize
from explorer.options import Options as Settings

KIND: Kind = "model"
VERSION = 2
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "noise_scale": averaged(
        "gradient noise scale tr Σ / |G|²",
        unit="inputs",
        title="Gradient noise scale",
        caption="Batch size at which the gradient noise is as large as the gradient. Above it, larger "
        "batches gain little.",
        map=68,
        log=True,
    ),
    "noise_scale_stderr": Column("number", "inputs", "jackknife standard error of `noise_scale`"),
}


class Options(Settings):
    """Budget of the noise scale."""

    batch_size: int = Field(16, ge=1, description="inputs of a gradient; at most half of the training set")
    batches: int = Field(64, ge=3, le=10_000, description="gradients")


def cost(options: Options, size: CellSize) -> list[Call]:
    return [(options.batches, size.subjects, options.batch_size)]


def floats_held(options: Options, parameters: int) -> int:
    """Return how many floats the gradients of a model hold, separately and stacked."""
    return 2 * options.batches * parameters


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Measure the noise scale of the models named in ``subjects``, all together."""
    from explorer.landscape.noise import noise_scale

    rows = cell.rows(subjects)
    result = noise_scale(
        cell.network,
        cell.theta[rows],
        cell.data.x_train,
        cell.data.y_train,
        seeds=cell.seeds("noise", subjects),
        buffers=cell.buffers[rows],
        batch_size=min(options.batch_size, len(cell.data.x_train) // 2),
        batch_count=options.batches,
    )
    return Measured.of(subjects, {"noise_scale": result.scale, "noise_scale_stderr": result.scale_stderr})
