"""Modules shared by larger architectures. Each works under ``vmap`` and can be differentiated twice."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from explorer.models.mlp import Norm
from explorer.settings import InputError


def normalisation(kind: Norm, channels: int, *, signals: bool = False) -> nn.Module:
    """Return BatchNorm, GroupNorm or no normalisation of images or signals with ``channels`` channels.

    GroupNorm (Wu and He, 2018) has at most 32 groups, and at least 16 channels per group if there are enough
    channels. With one channel per group, an image of one pixel would be normalised to 0.
    """
    if kind == "batch":
        return nn.BatchNorm1d(channels) if signals else nn.BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(
            math.gcd(channels, min(32, 2 ** int(math.log2(max(1, channels // 16))))), channels
        )
    return nn.Identity()


def convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1, norm: Norm) -> list[nn.Module]:
    """Return a convolution that keeps the size at stride 1, and its normalisation; without it, a bias."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=norm == "none")
    return [layer, normalisation(norm, outputs)]


class Residual(nn.Module):
    """Residual sum of two branches (He et al., 2016), with or without ReLU."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, *, activate: bool) -> None:
        super().__init__()
        self.body, self.shortcut, self.activate = body, shortcut, activate

    def forward(self, x: Tensor) -> Tensor:
        total = self.body(x) + self.shortcut(x)
        return torch.relu(total) if self.activate else total


class Dense(nn.Module):
    """Concatenation of the input and new channels (Huang et al., 2017)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], dim=1)


def head(channels: int, classes: int) -> list[nn.Module]:
    """Return average pooling over an image, and a linear map to classes."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def image_shape(shape: tuple[int, ...], name: str, least: int) -> tuple[int, int, int]:
    """Return the shape (channels, height, width) of one input.

    Raises:
        InputError: the inputs are not images, or a side has fewer than ``least`` pixels.
    """
    if len(shape) != 3 or min(shape[1:]) < least:
        raise InputError(
            f"{name} needs images (channels, height, width) with sides of at least {least} pixels; "
            f"the inputs are {shape}"
        )
    return shape[0], shape[1], shape[2]
