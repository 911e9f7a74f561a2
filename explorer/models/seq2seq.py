"""Encoder-decoder Transformer, for one model and for a stack of models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from explorer.models.attention import Block, Keys, causal_mask, sinusoids
from explorer.models.stacking import Embedding, LayerNorm, Linear
from explorer.models.symmetries import Spec, Symmetries

PAD = 0


@dataclass
class TranslationState:
    """State of a translation: keys and values of the source and of the target so far, for each block."""

    source: list[Keys]
    target: list[Keys]
    length: int = 0

    def pick(self, index: Tensor) -> None:
        """Keep the entries ``index`` (models, entries) of the batch, which have the same sources."""
        for past in self.target:
            past.pick(index)


class Seq2Seq(nn.Module):
    """Encoder and decoder. Tokens are integers; 0 is padding.

    No token attends to padding of the source, and no target token attends to later target tokens. So later
    tokens do not change the output at a target position.
    """

    def __init__(
        self,
        source: Embedding,
        target: Embedding,
        encoder: Sequence[Block],
        decoder: Sequence[Block],
        output: Linear,
    ) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.width, self.pre = output.in_features, encoder[0].order == "pre"
        if self.pre:
            self.encoder_norm, self.decoder_norm = LayerNorm(self.width), LayerNorm(self.width)
        self.output = output

    def _embed(self, embedding: nn.Module, tokens: Tensor, first: int = 0) -> Tensor:
        vectors = embedding(tokens) * math.sqrt(self.width)
        return vectors + sinusoids(tokens.shape[-1], self.width, vectors, first=first)

    def encode(self, source: Tensor) -> list[Keys]:
        """Return the keys and values of source tokens (…, batch, length) for each block of the decoder."""
        hidden = (source == PAD)[..., None, None, :]  # (…, batch, heads, queries, tokens)
        x = self._embed(self.source, source)
        for block in self.encoder:
            x = block(x, hidden)
        if self.pre:
            x = self.encoder_norm(x)
        return [b.across.keys_of(x, hidden) for b in cast("list[Block]", self.decoder)]

    def _decode(self, tokens: Tensor, source: list[Keys], past: list[Keys] | None, first: int = 0) -> Tensor:
        x = self._embed(self.target, tokens, first)
        hidden = causal_mask(tokens.shape[-1], tokens.device)
        for place, block in enumerate(self.decoder):
            x = block(x, hidden, source[place], past[place] if past else None)
        return self.decoder_norm(x) if self.pre else x

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (…, batch, length, vocabulary) of tokens (…, batch, 2, length)."""
        return self.output(self._decode(x[..., 1, :], self.encode(x[..., 0, :]), None))

    def symmetries(self) -> Spec:
        """Return symmetries: heads and their channels, hidden units.

        The sinusoids fix the order of the residual stream.
        """
        found = Symmetries()
        for name in ("encoder", "decoder"):
            for place, block in enumerate(cast("list[Block]", getattr(self, name))):
                block.symmetries(found, f"{name}.{place}", None)
        return found.spec()

    def positions(self, layer: str, x: Tensor) -> Tensor:
        """Return where (batch, length) the layer sees a token, not padding; ``x`` is (batch, 2, length)."""
        of_source = layer.startswith(("source", "encoder")) or layer.endswith(".keys_values")
        return x[:, 0 if of_source else 1] != PAD

    def start(self, source: Tensor, copies: int) -> TranslationState:
        """Start translating source tokens (…, batch, length), with ``copies`` hypotheses of each."""
        keys = self.encode(source)
        for of_block in keys:
            of_block.keys, of_block.values = (
                t.repeat_interleave(copies, -4) for t in (of_block.keys, of_block.values)
            )
            if of_block.hidden is not None:
                of_block.hidden = of_block.hidden.repeat_interleave(copies, -4)
        none = [Keys(k.keys[..., :0, :], k.values[..., :0, :]) for k in keys]
        return TranslationState(keys, none)

    def step(self, tokens: Tensor, state: TranslationState) -> Tensor:
        """Append ``tokens`` (…, batch) to the state; return scores (…, batch, vocabulary) of the next."""
        x = self._decode(tokens.unsqueeze(-1), state.source, state.target, state.length)
        state.length += 1
        return self.output(x).squeeze(-2)
