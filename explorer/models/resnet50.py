"""ResNet50 (He et al., 2016): sixteen bottleneck blocks, 23,520,842 parameters at width 64 on CIFAR-10."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.models.resnet import ResNetOptions, build_resnet

if TYPE_CHECKING:
    from torch import nn


class Options(ResNetOptions):
    """Options for images (channels, height, width) of any size."""


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps (batch, *shape) to (batch, classes)."""
    return build_resnet(options, shape, classes, blocks=(3, 4, 6, 3), expansion=4, name="resnet50")
