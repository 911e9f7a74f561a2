"""The multi-layer perceptron and the small convolutional network: sizes, shapes, initial scale."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from explorer.models import cnn, mlp
from explorer.models.rows import seeded
from explorer.settings import InputError


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("width", [1, 16])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("shape", [(64,), (3, 5, 7), (2, 9)])
def test_parameters_of_the_perceptron(width: int, depth: int, shape: tuple[int, ...]) -> None:
    inputs, classes = math.prod(shape), 10
    module = mlp.build(mlp.Options(width=width, depth=depth), shape, classes)
    assert count(module) == (inputs + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * classes
    assert module(torch.randn(4, *shape)).shape == (4, classes)


@pytest.mark.parametrize("width", [1, 8])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 4), (2, 40), (40,)])
def test_parameters_of_the_convolutional_network(width: int, norm: Any, shape: tuple[int, ...]) -> None:
    classes, k = 10, width
    kernel = 9 if len(shape) == 3 else 3
    channels = shape[0] if len(shape) > 1 else 1
    extra = 7 * k if norm == "none" else 14 * k  # scale and shift, or biases, of k + 2k + 4k channels
    module = cnn.build(cnn.Options(width=width, norm=norm), shape, classes)
    assert count(module) == kernel * (channels * k + 2 * k * k + 8 * k * k) + extra + (4 * k + 1) * classes
    assert module(torch.randn(4, *shape)).shape == (4, classes)
    used = {type(m) for m in module.modules()} & {nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm}
    batch = nn.BatchNorm2d if kernel == 9 else nn.BatchNorm1d
    assert used == {"batch": {batch}, "group": {nn.GroupNorm}, "none": set()}[norm]


@pytest.mark.parametrize("shape", [(1, 3, 8), (2, 3), (3,), (1, 8, 8, 8)])
def test_inputs_that_cannot_be_halved_twice_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="at least 4 pixels a side"):
        cnn.build(cnn.Options(), shape, 3)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "tanh"])
def test_the_activation_asked_for_is_used(activation: str) -> None:
    expected = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "tanh": nn.Tanh}[activation]
    for package, shape in ((mlp, (8,)), (cnn, (1, 8, 8))):
        module = package.build(package.Options(activation=activation), shape, 3)
        used = [
            type(m) for m in module.modules() if isinstance(m, nn.ReLU | nn.LeakyReLU | nn.GELU | nn.Tanh)
        ]
        assert set(used) == {expected}


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "tanh"])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_stacked_forward_of_the_perceptron_is_its_module(activation: str, depth: int) -> None:
    options = mlp.Options(width=4, depth=depth, activation=activation)  # type: ignore[arg-type]
    module = mlp.build(options, (2, 3), 5).double()
    x = torch.randn(1, 7, 2, 3, dtype=torch.float64)
    stacked = mlp.stacked_forward(options)([p.detach()[None] for p in module.parameters()], x)
    torch.testing.assert_close(stacked[0], module(x[0]))


def test_initial_weights_have_the_variance_of_he() -> None:
    with seeded(0):
        module = mlp.build(mlp.Options(width=400), (300,), 10)
    weight, bias = list(module.parameters())[:2]
    assert weight.var().item() == pytest.approx(2 / 300, rel=0.03)  # 120,000 draws: 7 standard errors
    assert bias.abs().max().item() == 0
