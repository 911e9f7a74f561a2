"""Residual networks (He et al., 2016) of four stages with k, 2k, 4k and 8k channels, k being the width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from explorer.models.base import ModelOptions
from explorer.models.mlp import Norm, he_initialise

if TYPE_CHECKING:
    from torch import nn

LARGE = 65  # images with sides of at least so many pixels are large


class ResNetOptions(ModelOptions):
    """Settings of a residual network."""

    width: int = Field(
        default=64, ge=1, le=4096, description="channels k of the first stage; then 2k, 4k, 8k"
    )
    norm: Norm = Field(default="batch", description="normalisation after each convolution")
    stem: Literal["auto", "small", "large"] = Field(
        default="auto",
        description="before the stages: a 3×3 convolution (small), or 7×7 with stride 2 and a max-pool, "
        "as for ImageNet (large); auto is small up to 64 pixels a side",
    )


def build_resnet(
    options: ResNetOptions,
    shape: tuple[int, ...],
    classes: int,
    *,
    blocks: tuple[int, ...],
    expansion: int,
    name: str,
) -> nn.Module:
    """Build a network with ``blocks`` per stage: basic blocks, or bottlenecks if ``expansion`` is above 1.

    Without normalisation, the last convolution of each block starts at 0, so the block is the identity. This
    keeps the signal from growing with depth (Zhang et al., 2019, Fixup).

    Raises:
        InputError: the inputs are not images.
    """
    from torch import nn

    from explorer.models.blocks import Residual, convolution, head, image_shape

    inputs, height, width = image_shape(shape, name, 1)
    large = options.stem == "large" or (options.stem == "auto" and min(height, width) >= LARGE)
    stem = convolution(inputs, options.width, 7 if large else 3, stride=2 if large else 1, norm=options.norm)
    layers: list[nn.Module] = [*stem, nn.ReLU()]
    if large:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    kernels = (1, 3, 1) if expansion > 1 else (3, 3)
    inputs, last = options.width, []
    for stage, count in enumerate(blocks):
        inner = options.width * 2**stage
        outputs = inner * expansion
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            branch = _branch(inputs, inner, outputs, kernels, stride, options.norm)
            same = stride == 1 and inputs == outputs
            shortcut = (
                [nn.Identity()] if same else convolution(inputs, outputs, 1, stride=stride, norm=options.norm)
            )
            last.append(branch[-2])
            layers.append(Residual(nn.Sequential(*branch), nn.Sequential(*shortcut), activate=True))
            inputs = outputs
    module = nn.Sequential(*layers, *head(inputs, classes))
    he_initialise(module)
    if options.norm == "none":
        for layer in last:
            nn.init.zeros_(layer.weight)
    return module


def _branch(
    inputs: int, inner: int, outputs: int, kernels: tuple[int, ...], stride: int, norm: Norm
) -> list[nn.Module]:
    from torch import nn

    from explorer.models.blocks import convolution

    layers: list[nn.Module] = []
    strided = kernels.index(3)  # the first 3×3 convolution has the stride, as in all current implementations
    for place, kernel in enumerate(kernels):
        out = outputs if place == len(kernels) - 1 else inner
        layers += convolution(inputs, out, kernel, stride=stride if place == strided else 1, norm=norm)
        layers.append(nn.ReLU())
        inputs = out
    return layers[:-1]
