"""Decoder-only Transformer for language modelling (Radford et al., 2019); the embedding is the width."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import Field

from explorer.models.sequences import SequenceOptions, attention_heads
from explorer.settings import InputError

if TYPE_CHECKING:
    from torch import nn

    from explorer.models.decoder import Decoder
    from explorer.models.rows import Forward

TASKS = ("language",)
HONOURED = ("width", "layers", "heads", "feed_forward", "tied")  # supported by stacked functions
SPREAD = 0.02  # standard deviation of the initial weights (Radford et al., 2019)


class Options(SequenceOptions):
    """A network of ``layers`` blocks: LayerNorm before branches, GELU, learnt positions, no dropout.

    Weights are initialised as in GPT-2: normal with standard deviation 0.02, divided by √(2 · layers) in the
    last map of each branch; biases are 0. The scores of the next token have no bias.
    """

    tied: bool = Field(default=True, description="embeddings and scores share one matrix")


def check(cell: Any) -> None:
    """Check a :class:`explorer.space.model.Cell`; raise InputError if its settings are incompatible."""
    attention_heads("gpt", cell.model.width, cell.model.heads)


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps tokens (batch, length) to scores (batch, length, classes).

    Raises:
        InputError: the inputs are not sequences, or heads does not divide the width.
    """
    if len(shape) != 1:
        raise InputError(f"gpt needs tokens (length,), as the task language has; the inputs are {shape}")
    return _network(options, classes, shape[0])


def stacked_forward(options: Options) -> Forward:
    """Return a forward pass with one batched product per layer for all models."""
    from explorer.models.stacking import stacked

    return stacked(lambda parameters: _network(options, parameters[0].shape[1], parameters[1].shape[1]))


def _network(options: Options, vocabulary: int, length: int) -> Decoder:
    from torch import nn

    from explorer.models.attention import Block
    from explorer.models.decoder import Decoder
    from explorer.models.stacking import Embedding, LayerNorm, Linear, Positions

    width, heads = options.width, attention_heads("gpt", options.width, options.heads)
    embedding = Embedding(vocabulary, width, spread=SPREAD)
    position = Positions(length, width, spread=SPREAD)
    hidden = options.feed_forward * width
    blocks = [Block(width, heads, hidden, nn.GELU(), "pre") for _ in range(options.layers)]
    output = Linear(width, vocabulary, bias=False)
    network = Decoder(embedding, position, blocks, LayerNorm(width), output)
    ends = {end for block in blocks for end in (block.attention.project, block.perceptron[-1])}
    for layer in network.modules():
        if isinstance(layer, Linear):
            nn.init.normal_(layer.weight, std=SPREAD / math.sqrt(len(ends)) if layer in ends else SPREAD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if options.tied:
        output.weight = embedding.weight
    return network
