"""Decoder-only Transformer, for one model and for a stack of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from explorer.models.attention import Block, causal_mask
from explorer.models.stacking import Embedding, LayerNorm, Linear, Positions
from explorer.models.symmetries import Spec, Symmetries


class Decoder(nn.Module):
    """Decoder-only network, in which no token attends to later tokens."""

    def __init__(
        self,
        embedding: Embedding,
        position: Positions,
        blocks: Sequence[Block],
        norm: LayerNorm,
        output: Linear,
    ) -> None:
        super().__init__()
        self.embedding, self.position = embedding, position
        self.blocks, self.norm, self.output = nn.ModuleList(blocks), norm, output

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (…, batch, length, vocabulary) of the token after each of (…, batch, length)."""
        h = self.embedding(x) + self.position(x.shape[-1])
        hidden = causal_mask(x.shape[-1], x.device)
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
