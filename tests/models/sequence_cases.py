"""Small networks on sequences, and the literal formulas they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows, seeded


def made(
    package: ModuleType,
    shape: tuple[int, ...],
    classes: int,
    way: str = "stacked",
    count: int = 3,
    **options: Any,
) -> tuple[Rows, Tensor]:
    """Rows of an architecture and random models (count, parameters) in float64."""
    name = package.__name__.rsplit(".", 1)[-1]
    settings, task = package.Options(**options), package.TASKS[0]
    build, rows = network(name, settings, shape, classes, way, task)  # type: ignore[arg-type]
    rows.module.double()
    theta = initial_rows(build, rows, range(count))[0].double()
    with seeded(1):
        return rows, theta + 0.1 * torch.randn_like(theta)  # off zeros and ones that hide mistakes


def tokens(*shape: int, vocabulary: int, seed: int = 0) -> Tensor:
    """Tokens without padding."""
    return torch.randint(3, vocabulary, shape, generator=torch.Generator().manual_seed(seed))


def sentences(*batch: int, length: int, vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (*batch, 2, length) and targets (*batch, length) of random lengths, as translation has them."""
    generator = torch.Generator().manual_seed(seed)
    source, target = (tokens(*batch, length, vocabulary=vocabulary, seed=seed + i) for i in range(2))
    ends = [torch.randint(2, length + 1, (*batch, 1), generator=generator) for _ in range(2)]
    places = torch.arange(length)
    source = source.masked_fill(places >= ends[0], 0)
    y = target.masked_fill(places >= ends[1], -100)
    y = torch.where(places == ends[1] - 1, 2, y)
    shifted = torch.cat([torch.ones(*batch, 1, dtype=torch.long), y[..., :-1].clamp_min(0)], -1)
    shifted = shifted.masked_fill(places >= ends[1], 0)
    return torch.stack([source, shifted], -2), y


def loss(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy (rows,) over the labels of 0 or more, model by model."""
    y = y.expand(len(logits), *y.shape[1:])
    return torch.stack(
        [nn.functional.cross_entropy(a[b >= 0], b[b >= 0]) for a, b in zip(logits, y, strict=True)]
    )


def check_second_derivative(loss: Callable[[Tensor], Tensor], theta: Tensor) -> None:
    """The Hessian of a loss of ``theta``, times a vector, is the difference of two gradients."""

    def gradient(at: Tensor, *, graph: bool = False) -> tuple[Tensor, Tensor]:
        leaf = at.detach().requires_grad_()
        return leaf, torch.autograd.grad(loss(leaf), leaf, create_graph=graph)[0]

    vector = torch.randn(theta.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    leaf, first = gradient(theta, graph=True)
    (product,) = torch.autograd.grad(first, leaf, vector)
    step = 1e-7
    ends = [gradient(theta + sign * step * vector)[1] for sign in (1, -1)]
    torch.testing.assert_close(product, (ends[0] - ends[1]) / (2 * step), rtol=1e-4, atol=1e-5)
    assert product.abs().max() > 1e-3


def check_ways(package: ModuleType, shape: tuple[int, ...], classes: int, x: Tensor, **options: Any) -> None:
    """Stacked, by vmap and one by one are the plain modules, on inputs of their own and on shared ones."""
    for way in ("stacked", "vmap", "loop"):
        rows, theta = made(package, shape, classes, way, len(x), **options)
        modules = [rows.to_module(t, t.new_zeros(0)) for t in theta]
        for inputs in (x, x[:1]):
            expected = torch.stack([m(inputs[i % len(inputs)]) for i, m in enumerate(modules)])
            torch.testing.assert_close(rows(theta, inputs), expected)
            assert not torch.allclose(expected[0], expected[1])
