"""Vision Transformer and its modules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from explorer.models.blocks import Residual
from explorer.models.symmetries import Spec, Symmetries


class ImageAttention(nn.Module):
    """Multi-head self-attention over tokens (batch, tokens, width) (Vaswani et al., 2017).

    Attention is written out, because PyTorch's fused attention has no second derivative on CPU.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        split = self.queries_keys_values(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)  # each (batch, heads, tokens, width / heads)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.project((weights @ v).transpose(1, 2).reshape(batch, tokens, width))


class ImageTokens(nn.Module):
    """Tokens (batch, 1 + patches, width) of images: a class token, then a linear map of each patch.

    A learnt position is added to each token (Dosovitskiy et al., 2021).
    """

    def __init__(self, shape: tuple[int, ...], patch: int, width: int) -> None:
        super().__init__()
        channels, height, breadth = shape
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + (height // patch) * (breadth // patch), width))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)  # (batch, patches, width)
        return torch.cat([self.first.expand(len(x), -1, -1), patches], dim=1) + self.position


class FirstToken(nn.Module):
    """The first token (batch, width) of tokens (batch, tokens, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class VisionTransformer(nn.Sequential):
    """Tokens, ``depth`` blocks of attention and a perceptron, and a linear map of the first token."""

    def __init__(
        self, image: tuple[int, int, int], classes: int, *, patch: int, width: int, depth: int, heads: int
    ) -> None:
        layers: list[nn.Module] = [ImageTokens(image, patch, width)]
        for _ in range(depth):
            attention = nn.Sequential(nn.LayerNorm(width), ImageAttention(width, heads))
            perceptron = nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )
            layers += [Residual(branch, nn.Identity(), activate=False) for branch in (attention, perceptron)]
        super().__init__(*layers, FirstToken(), nn.LayerNorm(width), nn.Linear(width, classes))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def symmetries(self) -> Spec:
        """Return symmetries: channels of the residual stream, heads and their channels, hidden units."""
        found, blocks = Symmetries(), list(self.children())[1:-3]
        tokens: Any = self[0]
        width = tokens.embed.out_channels
        stream = found.group(width)
        found.axes |= {
            "0.embed.weight": (stream, None, None, None),
            "0.embed.bias": (stream,),
            "0.first": (None, None, stream),
            "0.position": (None, None, stream),
        }
        for place, block in enumerate(blocks, 1):
            branch: Any = block.body
            found.norm(f"{place}.body.0", stream)
            if isinstance(branch[1], ImageAttention):
                found.self_attention(f"{place}.body.1", stream, width=width, heads=branch[1].heads)
            else:
                hidden = branch[1].out_features
                found.perceptron(f"{place}.body.1", f"{place}.body.3", stream, hidden=hidden)
        last = len(self) - 1
        found.norm(f"{last - 1}", stream)
        found.linear(f"{last}", stream, None)
        return found.spec()
