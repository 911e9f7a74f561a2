"""Decoder-only Transformer, for one model and for a stack of models."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from explorer.models.attention import Block, later
from explorer.models.heads import attention_heads
from explorer.models.stacking import Embedding, LayerNorm, Linear
from explorer.models.symmetries import Spec, Symmetries

SPREAD = 0.02  # standard deviation of the initial weights (Radford et al., 2019)


class Decoder(nn.Module):
    """Decoder-only network. Tokens are integers below ``vocabulary``; no token attends to later tokens."""

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        width: int,
        layers: int,
        heads: int | None,
        feed_forward: int,
        tied: bool,
    ) -> None:
        super().__init__()
        heads = attention_heads("gpt", width, heads)
        self.embedding = Embedding(vocabulary, width, spread=SPREAD)
        self.position = Embedding(length, width, spread=SPREAD)
        hidden = feed_forward * width
        blocks = [Block(width, heads, hidden, nn.GELU(), "pre") for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = LayerNorm(width)
        self.output = Linear(width, vocabulary, bias=False)
        ends = [end for b in blocks for end in (b.attention.project, b.perceptron[-1])]
        for layer in self.modules():
            if isinstance(layer, Linear):
                last = any(layer is end for end in ends)
                nn.init.normal_(layer.weight, std=SPREAD / math.sqrt(len(ends)) if last else SPREAD)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (…, batch, length, vocabulary) of the token after each of (…, batch, length)."""
        places = torch.arange(x.shape[-1], device=x.device).view(*[1] * (x.dim() - 1), -1)
        h = self.embedding(x) + self.position(places)
        hidden = later(x.shape[-1], x.device)
        for block in self.blocks:
            h = block(h, hidden)
        return self.output(self.norm(h))

    def symmetries(self) -> Spec:
        """Return symmetries: channels of the residual stream, heads and their channels, hidden units."""
        found = Symmetries()
        stream = found.group(self.norm.normalized_shape[0])
        found.axes |= {f"{name}.weight": (None, stream) for name in ("embedding", "position")}
        for place, block in enumerate(cast("list[Block]", self.blocks)):
            block.symmetries(found, f"blocks.{place}", stream)
        found.norm("norm", stream)
        found.linear("output", stream, None)
        return found.spec()
