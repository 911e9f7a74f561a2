"""Decoder-only Transformer for language modelling (Radford et al., 2019); the embedding is the width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from explorer.models.base import ModelOptions
from explorer.models.heads import attention_heads
from explorer.settings import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from explorer.models.rows import Forward

TASKS = ("language",)
HONOURED = ("width", "layers", "heads", "feed_forward", "tied")  # supported by stacked functions


class Options(ModelOptions):
    """A network of ``layers`` blocks: LayerNorm before branches, GELU, learnt positions, no dropout.

    Weights are initialised as in GPT-2: normal with standard deviation 0.02, divided by √(2 · layers) in the
    last map of each branch; biases are 0. The scores of the next token have no bias.
    """

    width: int = Field(default=64, ge=2, le=65_536, description="embedding dimension")
    layers: int = Field(default=4, ge=1, le=64, description="blocks")
    heads: int | None = Field(
        default=None,
        ge=1,
        description="attention heads, a divisor of the width; one for each 16 of it, 8 at most, if left out",
    )
    feed_forward: int = Field(default=4, ge=1, le=64, description="hidden units of a perceptron, in widths")
    tied: bool = Field(default=True, description="embeddings and scores share one matrix")


def check(cell: Any) -> None:
    """Check a :class:`explorer.space.model.Cell`; raise InputError if its settings are incompatible."""
    attention_heads("gpt", cell.model.width, cell.model.heads)


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps tokens (batch, length) to scores (batch, length, classes).

    Raises:
        InputError: the inputs are not sequences, or heads does not divide the width.
    """
    from explorer.models.decoder import Decoder

    if len(shape) != 1:
        raise InputError(f"gpt needs tokens (length,), as the task language has; the inputs are {shape}")
    return Decoder(classes, shape[0], **options.model_dump())


def stacked_forward(options: Options) -> Forward:
    """Return a forward pass with one batched product per layer for all models."""
    from explorer.models.decoder import Decoder
    from explorer.models.stacking import stacked

    def make(parameters: Sequence[Tensor]) -> nn.Module:
        embedding, position = parameters[:2]
        return Decoder(embedding.shape[1], position.shape[1], **options.model_dump())

    return stacked(make)
