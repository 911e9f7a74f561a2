"""Vision Transformer (Dosovitskiy et al., 2021); the embedding dimension is the width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from explorer.models.base import ModelOptions
from explorer.models.sequences import attention_heads
from explorer.settings import InputError

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    """Options for images (channels, height, width) whose sides are multiples of the patch.

    Each of ``depth`` blocks adds attention and a perceptron with one hidden layer of ``4 · width`` units
    (GELU), each after a LayerNorm. Weights are initialised as in the paper's code: uniform (Glorot), biases
    0.
    """

    width: int = Field(default=64, ge=1, le=65_536, description="embedding dimension")
    depth: int = Field(default=6, ge=1, le=64, description="blocks")
    heads: int | None = Field(
        default=None,
        ge=1,
        description="attention heads, a divisor of the width; one for each 32 of it if left out",
    )
    patch: int = Field(default=4, ge=1, description="side of a patch in pixels")


def head_count(options: Options) -> int:
    """Return the number of heads."""
    return attention_heads("vit", options.width, options.heads, size=32, most=options.width)


def check(cell: Any) -> None:
    """Check a :class:`explorer.space.model.Cell`; raise InputError if its settings are incompatible."""
    head_count(cell.model)


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps (batch, *shape) to (batch, classes).

    Raises:
        InputError: the inputs are not images, or the heads or the patch do not divide the width or the sides.
    """
    from explorer.models.blocks import image_shape
    from explorer.models.vision import VisionTransformer

    heads, image = head_count(options), image_shape(shape, "vit", options.patch)
    if image[1] % options.patch or image[2] % options.patch:
        raise InputError(f"vit: patch {options.patch} does not divide images of {image[1]}×{image[2]}")
    return VisionTransformer(
        image, classes, patch=options.patch, width=options.width, depth=options.depth, heads=heads
    )
