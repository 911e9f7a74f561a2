"""Encoder-decoder Transformer for translation (Vaswani et al., 2017); the embedding is the width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from explorer.models.sequences import SequenceOptions, attention_heads
from explorer.settings import InputError

if TYPE_CHECKING:
    from torch import nn

    from explorer.models.rows import Forward
    from explorer.models.seq2seq import Seq2Seq

TASKS = ("translation",)
HONOURED = ("width", "layers", "heads", "feed_forward", "norm", "tied")  # supported by stacked functions


class Options(SequenceOptions):
    """Encoder and decoder of ``layers`` blocks each, ReLU perceptrons, sinusoidal positions, no dropout.

    Embeddings are initialised from a normal distribution of variance 1 / width and multiplied by √width as
    inputs. Other weights are initialised uniformly (Glorot). The scores of the next token have no bias.
    """

    layers: int = Field(default=6, ge=1, le=64, description="blocks of the encoder, and of the decoder")
    norm: Literal["pre", "post"] = Field(
        default="pre",
        description="LayerNorm before each branch, or after its sum as in the paper, which needs warm-up",
    )
    tied: bool = Field(default=True, description="source, target and scores share one matrix of embeddings")


def check(cell: Any) -> None:
    """Check a :class:`explorer.space.model.Cell`; raise InputError if its settings are incompatible."""
    attention_heads("transformer", cell.model.width, cell.model.heads)


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module.

    It maps tokens (batch, 2, length) to scores (batch, length, classes).

    Raises:
        InputError: the inputs are not pairs of sequences, or heads does not divide the width.
    """
    if len(shape) != 2 or shape[0] != 2:
        raise InputError(
            f"transformer needs source and target tokens (2, length), as the task translation has; "
            f"the inputs are {shape}"
        )
    return _network(options, classes)


def stacked_forward(options: Options) -> Forward:
    """Return a forward pass with one batched product per layer for all models."""
    from explorer.models.stacking import stacked

    return stacked(lambda parameters: _network(options, parameters[0].shape[1]))


def _network(options: Options, vocabulary: int) -> Seq2Seq:
    from torch import nn

    from explorer.models.attention import Block, glorot
    from explorer.models.seq2seq import Seq2Seq
    from explorer.models.stacking import Embedding, Linear

    width, heads = options.width, attention_heads("transformer", options.width, options.heads)
    hidden, spread = options.feed_forward * width, options.width**-0.5
    source = Embedding(vocabulary, width, spread=spread)
    target = source if options.tied else Embedding(vocabulary, width, spread=spread)
    encoder, decoder = (
        [Block(width, heads, hidden, nn.ReLU(), options.norm, across=across) for _ in range(options.layers)]
        for across in (False, True)
    )
    network = Seq2Seq(source, target, encoder, decoder, Linear(width, vocabulary, bias=False))
    glorot(network)
    if options.tied:
        network.output.weight = target.weight
    else:
        nn.init.normal_(network.output.weight, std=spread)
    return network
