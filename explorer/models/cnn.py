"""A small convolutional network: three 3×3 convolutions of k, 2k and 4k channels, k being the width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from explorer.models.base import ModelOptions
from explorer.models.mlp import Activation, activation_module, he_initialise

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    """Works on images (channels, height, width) of at least 4×4, signals (channels, length) and (length,)."""

    batch_norm: bool = Field(default=True, description="BatchNorm after each convolution")
    activation: Activation = Field(default="relu", description="leaky_relu has slope 0.1")


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """A freshly initialised module that maps (batch, *shape) to (batch, classes)."""
    from torch import nn

    flat = len(shape) <= 2
    convolution, norm = (nn.Conv1d, nn.BatchNorm1d) if flat else (nn.Conv2d, nn.BatchNorm2d)
    half, mean = (nn.MaxPool1d, nn.AdaptiveAvgPool1d) if flat else (nn.MaxPool2d, nn.AdaptiveAvgPool2d)
    channels = 1 if len(shape) == 1 else shape[0]
    layers: list[nn.Module] = [nn.Unflatten(1, (1, -1))] if len(shape) == 1 else []
    for block in range(3):
        out = options.width * 2**block
        layers.append(convolution(channels, out, 3, padding=1, bias=not options.batch_norm))
        if options.batch_norm:
            layers.append(norm(out))
        layers.append(activation_module(options.activation))
        if block < 2:
            layers.append(half(2))
        channels = out
    module = nn.Sequential(*layers, mean(1), nn.Flatten(), nn.Linear(channels, classes))
    he_initialise(module)
    return module
