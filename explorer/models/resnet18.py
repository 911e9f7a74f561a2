"""ResNet18 (He et al., 2016): eight basic blocks, 11,173,962 parameters at width 64 on CIFAR-10."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.models.resnet import ResNetOptions, build_resnet

if TYPE_CHECKING:
    from torch import nn


class Options(ResNetOptions):
    """Options for images (channels, height, width) of any size."""


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps (batch, *shape) to (batch, classes)."""
    return build_resnet(options, shape, classes, blocks=(2, 2, 2, 2), expansion=1, name="resnet18")
