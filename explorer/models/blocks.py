"""Pieces that the larger architectures share. Each works under ``vmap`` and can be differentiated twice."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from explorer.models.mlp import Norm
from explorer.settings import InputError


def normalisation(kind: Norm, channels: int, *, signals: bool = False) -> nn.Module:
    """BatchNorm, GroupNorm or nothing, over images or signals of so many channels.

    GroupNorm (Wu and He, 2018) has 32 groups at most, and at least 16 channels a group where there are
    so many: with one channel a group, an image of one pixel would be normalised to 0.
    """
    if kind == "batch":
        return nn.BatchNorm1d(channels) if signals else nn.BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(
            math.gcd(channels, min(32, 2 ** int(math.log2(max(1, channels // 16))))), channels
        )
    return nn.Identity()


def convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1, norm: Norm) -> list[nn.Module]:
    """A convolution that keeps the size at stride 1, and its normalisation; without one it has a bias."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=norm == "none")
    return [layer, normalisation(norm, outputs)]


class Residual(nn.Module):
    """ReLU of the sum of two branches (He et al., 2016), or the sum alone."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, *, activate: bool) -> None:
        super().__init__()
        self.body, self.shortcut, self.activate = body, shortcut, activate

    def forward(self, x: Tensor) -> Tensor:
        total = self.body(x) + self.shortcut(x)
        return torch.relu(total) if self.activate else total


class Dense(nn.Module):
    """The input with new channels behind it (Huang et al., 2017)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], dim=1)


class Attention(nn.Module):
    """Multi-head self-attention over tokens (batch, tokens, width) (Vaswani et al., 2017).

    Written out: PyTorch's fused attention has no second derivative on CPU, which a Hessian needs.
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


class Tokens(nn.Module):
    """Images as tokens (batch, 1 + patches, width): a class token, then a linear map of each patch.

    To each its learnt position is added (Dosovitskiy et al., 2021).
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


class First(nn.Module):
    """The first token (batch, width) of tokens (batch, tokens, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def head(channels: int, classes: int) -> list[nn.Module]:
    """The mean over an image, and a linear map to classes."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def image_shape(shape: tuple[int, ...], name: str, least: int) -> tuple[int, int, int]:
    """The shape (channels, height, width) of one input.

    Raises:
        InputError: the inputs are no images, or smaller than ``least`` pixels a side.
    """
    if len(shape) != 3 or min(shape[1:]) < least:
        raise InputError(
            f"{name} needs images (channels, height, width) of {least} pixels a side at least; "
            f"the inputs are {shape}"
        )
    return shape[0], shape[1], shape[2]
