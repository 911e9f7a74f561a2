"""The encoder-decoder network, for one model and for a stack alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from explorer.models.attention import Block, Keys, glorot, later, sinusoids
from explorer.models.heads import attention_heads
from explorer.models.stacking import Embedding, LayerNorm, Linear
from explorer.models.symmetries import Spec, Symmetries

PAD = 0


@dataclass
class Translating:
    """What a translation under way has seen: the source, and the target so far, as each block needs it."""

    source: list[Keys]
    target: list[Keys]
    seen: int = 0

    def pick(self, index: Tensor) -> None:
        """Go on from the entries ``index`` (rows, kept) of the batch, of the same sources."""
        for past in self.target:
            past.pick(index)


class Seq2Seq(nn.Module):
    """Encoder and decoder. Tokens are whole numbers below ``vocabulary``; 0 is padding.

    Padding of the source is hidden from all attention, and a target token from those before it. So what
    comes after a target position changes nothing there.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int,
        layers: int,
        heads: int | None,
        feed_forward: int,
        norm: Literal["pre", "post"],
        tied: bool,
    ) -> None:
        super().__init__()
        heads = attention_heads("transformer", width, heads)
        self.width, self.pre = width, norm == "pre"
        spread = width**-0.5
        self.source = Embedding(vocabulary, width, spread=spread)
        self.target = self.source if tied else Embedding(vocabulary, width, spread=spread)

        def blocks(across: bool) -> nn.ModuleList:
            hidden = feed_forward * width
            return nn.ModuleList(
                Block(width, heads, hidden, nn.ReLU(), norm, across=across) for _ in range(layers)
            )

        self.encoder, self.decoder = blocks(False), blocks(True)
        if self.pre:
            self.encoder_norm, self.decoder_norm = LayerNorm(width), LayerNorm(width)
        self.output = Linear(width, vocabulary, bias=False)
        glorot(self)
        if tied:
            self.output.weight = self.target.weight
        else:
            nn.init.normal_(self.output.weight, std=spread)

    def _embed(self, embedding: nn.Module, tokens: Tensor, first: int = 0) -> Tensor:
        vectors = embedding(tokens) * math.sqrt(self.width)
        return vectors + sinusoids(tokens.shape[-1], self.width, vectors, first=first)

    def encode(self, source: Tensor) -> list[Keys]:
        """What each block of the decoder sees of source tokens (…, batch, length)."""
        hidden = (source == PAD)[..., None, None, :]  # (…, batch, heads, queries, tokens)
        x = self._embed(self.source, source)
        for block in self.encoder:
            x = block(x, hidden)
        if self.pre:
            x = self.encoder_norm(x)
        return [b.across.keys_of(x, hidden) for b in cast("list[Block]", self.decoder)]

    def _decode(self, tokens: Tensor, source: list[Keys], past: list[Keys] | None, first: int = 0) -> Tensor:
        x = self._embed(self.target, tokens, first)
        hidden = later(tokens.shape[-1], tokens.device)
        for place, block in enumerate(self.decoder):
            x = block(x, hidden, source[place], past[place] if past else None)
        return self.decoder_norm(x) if self.pre else x

    def forward(self, x: Tensor) -> Tensor:
        """Scores (…, batch, length, vocabulary) of tokens (…, batch, 2, length)."""
        return self.output(self._decode(x[..., 1, :], self.encode(x[..., 0, :]), None))

    def symmetries(self) -> Spec:
        """Heads and their channels, hidden units. The residual stream has an order: that of the sinusoids."""
        found = Symmetries()
        for name in ("encoder", "decoder"):
            for place, block in enumerate(cast("list[Block]", getattr(self, name))):
                block.symmetries(found, f"{name}.{place}", None)
        return found.spec()

    def positions(self, layer: str, x: Tensor) -> Tensor:
        """Where (batch, length) a layer, by its name, sees a token and no padding; x (batch, 2, length)."""
        of_source = layer.startswith(("source", "encoder")) or layer.endswith(".keys_values")
        return x[:, 0 if of_source else 1] != PAD

    def start(self, source: Tensor, copies: int) -> Translating:
        """Begin to translate source tokens (…, batch, length), each ``copies`` times side by side."""
        keys = self.encode(source)
        for of_block in keys:
            of_block.keys, of_block.values = (
                t.repeat_interleave(copies, -4) for t in (of_block.keys, of_block.values)
            )
            if of_block.hidden is not None:
                of_block.hidden = of_block.hidden.repeat_interleave(copies, -4)
        none = [Keys(k.keys[..., :0, :], k.values[..., :0, :]) for k in keys]
        return Translating(keys, none)

    def step(self, tokens: Tensor, state: Translating) -> Tensor:
        """Scores (…, batch, vocabulary) of what follows ``tokens`` (…, batch), which the state takes in."""
        x = self._decode(tokens.unsqueeze(-1), state.source, state.target, state.seen)
        state.seen += 1
        return self.output(x).squeeze(-2)
