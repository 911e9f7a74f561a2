"""DenseNet of 40 layers (Huang et al., 2017), without bottlenecks; the growth rate is the width.

A 3×3 convolution to 16 channels is followed by three blocks of twelve 3×3 convolutions, each of which adds k
channels to its input. Between blocks are a 1×1 convolution and 2×2 average pooling. The paper's k = 12 has
1.0 million parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from explorer.models.base import ModelOptions
from explorer.models.mlp import Norm, he_initialise

if TYPE_CHECKING:
    from torch import nn

FIRST = 16
BLOCKS, LAYERS = 3, 12


class Options(ModelOptions):
    """Options for images (channels, height, width) of at least 4×4."""

    width: int = Field(default=12, ge=1, le=4096, description="growth rate: channels that each layer adds")
    norm: Norm = Field(default="batch", description="normalisation before each convolution")


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps (batch, *shape) to (batch, classes).

    Raises:
        InputError: the inputs are not images, or are too small.
    """
    from torch import nn

    from explorer.models.blocks import Dense, head, image_shape, normalisation

    bias = options.norm == "none"

    def step(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
        layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        return [normalisation(options.norm, inputs), nn.ReLU(), layer]

    channels = FIRST
    layers: list[nn.Module] = [
        nn.Conv2d(image_shape(shape, "densenet40", 4)[0], FIRST, 3, padding=1, bias=bias)
    ]
    for block in range(BLOCKS):
        if block:
            layers += [*step(channels, channels, 1), nn.AvgPool2d(2)]
        for _ in range(LAYERS):
            layers.append(Dense(nn.Sequential(*step(channels, options.width, 3))))
            channels += options.width
    module = nn.Sequential(
        *layers, normalisation(options.norm, channels), nn.ReLU(), *head(channels, classes)
    )
    he_initialise(module)
    return module
