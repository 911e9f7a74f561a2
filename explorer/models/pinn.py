"""Physics-informed network for 1-D convection, u_t + β·u_x = 0 (Raissi et al., 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from explorer.models.base import ModelOptions
from explorer.settings import InputError

if TYPE_CHECKING:
    from torch import nn

    from explorer.models.rows import Forward

TASKS = ("regression",)
HONOURED = ("width", "depth", "periodic")  # supported by stacked functions


class Options(ModelOptions):
    """A perceptron u(x, t) of ``depth`` hidden layers of ``width`` tanh units, and its derivative.

    Inputs are (x, t, β), outputs are (u, u_t + β·u_x) of the same u. β belongs to the equation, not to the
    network. Parameters: (i + 1)·width + (depth - 1)·(width + 1)·width + width + 1, where i is 3, or 2 if not
    ``periodic``.
    """

    width: int = Field(50, ge=1, le=65_536, description="units of a hidden layer")
    depth: int = Field(default=4, ge=1, le=64, description="hidden layers")
    periodic: bool = Field(
        default=True,
        description="x enters as sin x and cos x, so that u has the period 2π exactly; else as it is",
    )


def check(cell: Any) -> None:
    """Check a :class:`explorer.space.model.Cell`; raise InputError if the data need no derivative."""
    if getattr(cell.data, "physics", True) is False:
        raise InputError("pinn needs the equation, but data.physics is false; set it to true, or use mlp")


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps (batch, 3) to (batch, 2).

    Raises:
        InputError: the inputs are not (x, t, β), or the outputs not (u, residual).
    """
    from explorer.models.convection import Convection

    if shape != (3,) or classes != 2:
        raise InputError(
            f"pinn needs inputs (x, t, beta) and targets (u, residual), as the data set convection has with "
            f"physics: true; the inputs are {shape} and the targets {classes}"
        )
    return Convection(**options.model_dump())


def parameters(options: Options, shape: tuple[int, ...], classes: int) -> int:
    """Return the number of parameters without building a model."""
    inputs, width = 3 if options.periodic else 2, options.width
    return (inputs + 1) * width + (options.depth - 1) * (width + 1) * width + width + 1


def stacked_forward(options: Options) -> Forward:
    """Return a forward pass with one batched product per layer for all models."""
    from explorer.models.convection import Convection
    from explorer.models.stacking import stacked

    return stacked(lambda _: Convection(**options.model_dump()))
