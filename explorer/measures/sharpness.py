"""Sharpness of the training loss around each model."""

from __future__ import annotations

from pydantic import Field

from explorer.measures.base import CellModels, Kind, Measured, averaged
from explorer.measures.cost import Call, CellSize, products
from explorer.options import Options as Settings

KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "sharpness": averaged(
        "rise of the training loss to the highest point within the radius",
        unit="nats",
        title="Sharpness",
        caption="Rise of the training loss to the highest point within a fixed radius.",
        map=67,
        log=True,
    ),
    "adaptive_sharpness": averaged(
        "the same, with distances relative to each parameter",
        unit="nats",
        title="Adaptive sharpness",
        caption="As sharpness, but with distances relative to each parameter, so rescaling the weights "
        "does not change it.",
        log=True,
    ),
}


class Options(Settings):
    """Budget of the sharpness."""

    inputs: int = Field(1000, ge=1, description="training inputs it is taken over: the first so many")
    radius: float = Field(0.05, gt=0, description="of the ball around the parameters")
    adaptive_radius: float = Field(0.5, gt=0, description="of the ball relative to each parameter")
    steps: int = Field(1, ge=1, le=10_000, description="of gradient ascent; 1 is that of SAM")


def cost(options: Options, size: CellSize) -> list[Call]:
    return products(options, size, options.steps)  # plain and adaptive: two gradients a step


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Measure plain and adaptive sharpness of the models named in ``subjects``, all together."""
    from explorer.landscape.sharpness import sharpness

    rows = cell.rows(subjects)
    columns = {
        name: sharpness(
            cell.network,
            cell.theta[rows],
            cell.data.x_train[: options.inputs],
            cell.data.y_train[: options.inputs],
            buffers=cell.buffers[rows],
            radius=radius,
            steps=options.steps,
            adaptive=adaptive,
        ).rise
        for name, radius, adaptive in (
            ("sharpness", options.radius, False),
            ("adaptive_sharpness", options.adaptive_radius, True),
        )
    }
    return Measured.of(subjects, columns)
