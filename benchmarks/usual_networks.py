"""The usual way, part 1: plain PyTorch networks, and the same networks with parameters on a curve.

Written as one would without Explorer, and without importing it. The networks have the layers, the
initialisation and the number of parameters of Explorer's ``mlp`` and ``cnn`` (without normalisation).
The curve modules follow Garipov et al. (2018): every layer holds its parameters at both ends and at the
bend, and each forward pass puts them together for one t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1  # of the leaky ReLU


def initialise(module: nn.Module) -> nn.Module:
    """He et al. (2015): normal weights of variance 2 / inputs; biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return module


def build_mlp(shape: Sequence[int], width: int, classes: int) -> nn.Module:
    """One hidden layer."""
    inputs = math.prod(shape)
    layers = [nn.Flatten(), nn.Linear(inputs, width), nn.LeakyReLU(SLOPE), nn.Linear(width, classes)]
    return initialise(nn.Sequential(*layers))


def build_cnn(shape: Sequence[int], width: int, classes: int) -> nn.Module:
    """Three 3×3 convolutions of k, 2k and 4k channels; maximum over 2×2 squares after the first two."""
    layers: list[nn.Module] = []
    channels = shape[0]
    for block in range(3):
        layers += [nn.Conv2d(channels, width * 2**block, 3, padding=1), nn.LeakyReLU(SLOPE)]
        if block < 2:
            layers.append(nn.MaxPool2d(2))
        channels = width * 2**block
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return initialise(nn.Sequential(*layers))


NETWORKS: dict[str, Callable[[Sequence[int], int, int], nn.Module]] = {"mlp": build_mlp, "cnn": build_cnn}


class CurveLayer(nn.Module):
    """A linear layer or convolution between its two ends; the bend starts midway."""

    def __init__(self, a: nn.Module, b: nn.Module):
        super().__init__()
        assert isinstance(a, nn.Linear | nn.Conv2d)
        self.padding: Any = a.padding if isinstance(a, nn.Conv2d) else None
        for name in ("weight", "bias"):
            first, last = getattr(a, name).detach(), getattr(b, name).detach()
            for place, value in enumerate((first, (first + last) / 2, last)):
                self.register_parameter(f"{name}_{place}", nn.Parameter(value.clone(), place == 1))

    def forward(self, x: Tensor, coefficients: Sequence[float]) -> Tensor:
        found: list[Any] = [
            sum(c * getattr(self, f"{name}_{place}") for place, c in enumerate(coefficients))
            for name in ("weight", "bias")
        ]
        weight, bias = found
        if self.padding is None:
            return functional.linear(x, weight, bias)
        return functional.conv2d(x, weight, bias, padding=self.padding)


class CurveNet(nn.Module):
    """A network whose parameters lie on a quadratic Bézier curve from ``a`` to ``b``."""

    def __init__(self, a: nn.Sequential, b: nn.Sequential):
        super().__init__()
        self.layers = nn.ModuleList(
            CurveLayer(own, other) if list(own.parameters()) else own for own, other in zip(a, b, strict=True)
        )

    def forward(self, x: Tensor, t: float) -> Tensor:
        coefficients = ((1 - t) ** 2, 2 * t * (1 - t), t**2)
        for layer in self.layers:
            x = layer(x, coefficients) if isinstance(layer, CurveLayer) else layer(x)
        return x


@torch.no_grad()
def loss_and_error(forward: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean cross-entropy and 0/1 error in percent; the whole set as a tensor, no data loader."""
    logits = forward(x)
    error = 100 * (logits.argmax(1) != y).float().mean().item()
    return functional.cross_entropy(logits, y).item(), error
