"""Options of Transformers. Does not import torch, so a space can be checked without it."""

from __future__ import annotations

from pydantic import Field

from explorer.models.base import ModelOptions
from explorer.settings import InputError


class SequenceOptions(ModelOptions):
    """Options of Transformers for sequences of tokens."""

    width: int = Field(default=64, ge=2, le=65_536, description="embedding dimension")
    layers: int = Field(default=4, ge=1, le=64, description="blocks")
    heads: int | None = Field(
        default=None,
        ge=1,
        description="attention heads, a divisor of the width; one for each 16 of it, 8 at most, if left out",
    )
    feed_forward: int = Field(default=4, ge=1, le=64, description="hidden units of a perceptron, in widths")


def attention_heads(name: str, width: int, heads: int | None, *, size: int = 16, most: int = 8) -> int:
    """Return ``heads``, or by default one for each ``size`` of the width, at most ``most``.

    Raises:
        InputError: the number does not divide the width.
    """
    if heads is None:
        return next(h for h in range(min(most, max(1, width // size)), 0, -1) if width % h == 0)
    if width % heads:
        raise InputError(
            f"{name}: heads {heads} does not divide the width {width}; give a divisor, or leave heads out"
        )
    return heads
