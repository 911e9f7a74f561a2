"""A small convolutional network: three 3×3 convolutions of k, 2k and 4k channels, k being the width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from explorer.models.base import ModelOptions
from explorer.models.mlp import Activation, Norm, activation_module, he_initialise
from explorer.settings import InputError

if TYPE_CHECKING:
    from torch import nn

    from explorer.models.rows import BindGradient, Derived, Forward

HONOURED = ("width", "norm", "activation")  # supported by stacked functions


class Options(ModelOptions):
    """Options for images (channels, height, width) or signals (channels, length) or (length,).

    Sides need at least 4 pixels.
    """

    norm: Norm = Field(default="batch", description="normalisation after each convolution")
    activation: Activation = Field(default="relu", description="leaky_relu has slope 0.1")


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps (batch, *shape) to (batch, classes).

    Raises:
        InputError: the inputs are not images or signals, or are too small to be halved twice.
    """
    from torch import nn

    from explorer.models.blocks import normalisation

    flat = len(shape) <= 2
    sides = shape[1:] or shape
    if len(shape) > 3 or min(sides) < 4:
        raise InputError(f"cnn needs images or signals of at least 4 pixels a side; the inputs are {shape}")
    convolution = nn.Conv1d if flat else nn.Conv2d
    half, mean = (nn.MaxPool1d, nn.AdaptiveAvgPool1d) if flat else (nn.MaxPool2d, nn.AdaptiveAvgPool2d)
    channels = shape[0] if len(shape) > 1 else 1
    layers: list[nn.Module] = [] if len(shape) > 1 else [nn.Unflatten(1, (1, -1))]
    for block in range(3):
        out = options.width * 2**block
        layers.append(convolution(channels, out, 3, padding=1, bias=options.norm == "none"))
        if options.norm != "none":
            layers.append(normalisation(options.norm, out, signals=flat))
        layers.append(activation_module(options.activation))
        if block < 2:
            layers.append(half(2))
        channels = out
    module = nn.Sequential(*layers, mean(1), nn.Flatten(), nn.Linear(channels, classes))
    he_initialise(module)
    return module


def stacks(options: Options) -> bool:
    """Return whether there is a stacked forward and gradient for these options."""
    return options.norm == "none" and options.activation != "gelu"


def stack_is_fastest(options: Options, *, gpus: bool) -> bool:
    """Return whether stacked functions are known to be fastest: on a CPU, for narrow networks."""
    return stacks(options) and options.width <= 16 and not gpus


def stacked_forward(options: Options) -> Forward | None:
    """Return the forward pass of all models as matrix products, without derivatives, if :func:`stacks`."""
    from explorer.models.stacked_cnn import StackedCnn

    return StackedCnn(options.activation).forward if stacks(options) else None


def stacked_gradient(options: Options) -> BindGradient | None:
    """Return hand-written loss and gradient of all models (``benchmarks/cnn_step.py``), if :func:`stacks`."""
    from explorer.models.stacked_cnn import StackedCnn

    return StackedCnn(options.activation).bind_gradient if stacks(options) else None


def derived_execution(options: Options) -> Derived:
    """Return the execution for Hessians: PyTorch's convolutions, by vmap for small batches and widths."""
    return lambda batch: "vmap" if batch * options.width <= 4096 else "loop"
