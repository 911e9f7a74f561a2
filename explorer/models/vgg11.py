"""VGG11 (Simonyan and Zisserman, 2015, configuration A) with one linear layer as its classifier.

Eight 3×3 convolutions of k, 2k, 4k, 4k, 8k, 8k, 8k, 8k channels, k being the width (64 in the paper). As is
usual for small images, BatchNorm follows each convolution, and one linear layer replaces the three of the
paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from explorer.models.base import ModelOptions
from explorer.models.mlp import Norm, he_initialise

if TYPE_CHECKING:
    from torch import nn

PLAN = (1, "pool", 2, "pool", 4, 4, "pool", 8, 8, "pool", 8, 8, "pool")  # channels in units of the width


class Options(ModelOptions):
    """Options for images (channels, height, width) of any size; sides are halved at most five times."""

    width: int = Field(
        default=64, ge=1, le=4096, description="channels k of the first convolution; 8k at the end"
    )
    norm: Norm = Field(default="batch", description="normalisation after each convolution")


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps (batch, *shape) to (batch, classes).

    Raises:
        InputError: the inputs are not images.
    """
    from torch import nn

    from explorer.models.blocks import convolution, head, image_shape

    channels, height, width = image_shape(shape, "vgg11", 1)
    side = min(height, width)
    layers: list[nn.Module] = []
    for entry in PLAN:
        if isinstance(entry, int):
            layers += [*convolution(channels, entry * options.width, 3, norm=options.norm), nn.ReLU()]
            channels = entry * options.width
        elif side >= 2:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    module = nn.Sequential(*layers, *head(channels, classes))
    he_initialise(module)
    return module
