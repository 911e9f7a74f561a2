"""A small Transformer on sentences with padding, and the literal formulas it is compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from explorer.measures.base import CellModels
from explorer.models import transformer
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows, seeded
from explorer.train.loop import Split

WORDS, LENGTH = 7, 5


def data(sentences: int, seed: int) -> tuple[Tensor, Tensor]:
    """Source and shifted target (sentences, 2, length), targets (sentences, length), of random lengths."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(3, WORDS, (sentences, 2, LENGTH), generator=generator)
    ends = torch.randint(1, LENGTH + 1, (sentences, 2, 1), generator=generator)
    after = torch.arange(LENGTH) >= ends
    y = torch.where(torch.arange(LENGTH) == ends[:, 1] - 1, 2, x[:, 1]).masked_fill(after[:, 1], -100)
    x[:, 1] = x[:, 1].roll(1, 1)
    x[:, 1, 0] = 1
    return x.masked_fill(after, 0), y


X, Y = data(12, 0)
TEST_X, TEST_Y = data(9, 1)


def models(count: int = 2) -> tuple[Rows, Tensor]:
    options = transformer.Options(width=4, layers=1, heads=2, feed_forward=1)
    build, rows = network("transformer", options, (2, LENGTH), WORDS, task="translation")
    rows.module.double()
    theta = initial_rows(build, rows, range(count))[0].double()
    with seeded(1):
        return rows, theta + 0.3 * torch.randn_like(theta)


def literal_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy over the tokens that are scored."""
    return cross_entropy(logits[y >= 0], y[y >= 0])


def gradient_of(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    pieces = torch.autograd.grad(literal_loss(module(x), y), list(module.parameters()))
    return torch.cat([g.flatten() for g in pieces])


def module_of(rows: Rows, theta: Tensor) -> nn.Module:
    return rows.to_module(theta, theta.new_zeros(0))


def dense_hessian(rows: Rows, theta: Tensor, x: Tensor = X, y: Tensor = Y) -> Tensor:
    """By automatic differentiation of the plain module; torch.func's is wrong for LayerNorm (PyTorch 2.13)."""
    module = module_of(rows, theta)
    names = [name for name, _ in module.named_parameters()]
    shapes = [p.shape for p in module.parameters()]

    def loss(vector: Tensor) -> Tensor:
        pieces = [p.view(s) for p, s in zip(vector.split([s.numel() for s in shapes]), shapes, strict=True)]
        return literal_loss(functional_call(module, dict(zip(names, pieces, strict=True)), (x,)), y)

    return torch.autograd.functional.hessian(loss, theta.detach())  # pyright: ignore[reportReturnType]


def cell(count: int = 3) -> CellModels:
    rows, theta = models(count)
    theta = theta[:1] + 0.3 * (theta - theta[:1])  # not so far apart that they agree on nothing
    split = Split(X, Y, TEST_X, TEST_Y, classes=WORDS)
    names = [f"m{i}" for i in range(count)]
    return CellModels("c", rows, theta, theta.new_zeros(count, 0), names, split, lambda: rows.module)


def literal_cka(one: Tensor, other: Tensor) -> float:
    """tr(KHLH) / √(tr(KHKH)·tr(LHLH)) with H = 1 − 11ᵀ/n (Kornblith et al., 2019)."""
    n = len(one)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    k, other = (centre @ (m @ m.T) @ centre for m in (one, other))
    return ((k * other).sum() / ((k * k).sum() * (other * other).sum()).sqrt()).item()
