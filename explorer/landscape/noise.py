"""Gradient noise scale: the batch size up to which larger batches are worthwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.landscape.lanczos import REAL
from explorer.landscape.operator import graph_blocks
from explorer.models.rows import Rows
from explorer.train.loop import batches, select_inputs


@dataclass(frozen=True)
class NoiseScale:
    """Noise of each model's gradient over inputs.

    ``variance`` is tr Σ, the summed variance of the single-input gradient over the training set (divisor
    inputs − 1). ``squared_gradient`` is |G|² of the gradient of the training loss. It is exact if the batches
    cover as many inputs as there are; otherwise the estimate is unbiased and can be negative. ``scale`` is
    tr Σ / |G|² in inputs, infinite if |G|² is not positive. ``scale_stderr`` is its jackknife standard error.
    """

    scale: Tensor  # (models,)
    scale_stderr: Tensor  # (models,)
    variance: Tensor  # (models,)
    squared_gradient: Tensor  # (models,)


def noise_scale(
    network: Rows,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    seeds: Sequence[int],
    buffers: Tensor | None = None,
    batch_size: int = 16,
    batch_count: int = 64,
) -> NoiseScale:
    """Compute B_simple = tr Σ / |G|² (McCandlish et al., 2018) of the mean loss in evaluation mode.

    It uses the gradients g_i of k = ``batch_count`` batches of B = ``batch_size`` of the N inputs, drawn
    without replacement within a pass. So batches of one pass vary against each other by tr Σ/B, and batches
    of different passes by tr Σ·(1/B − 1/N). If k·B < N, |G|² = |ḡ|² − tr Σ·(1/(k·B) − 1/N). Otherwise, G is
    the gradient over all inputs. Cost: k gradients of a batch, all held in memory.

    Args:
        theta: (models, parameters); ``x``: inputs (inputs, *shape); ``y``: targets (inputs, …).
        seeds: of the batches, one per model.

    Raises:
        ValueError: fewer than 3 batches, or a batch of more than half of the inputs.
    """
    if batch_count < 3 or batch_size > len(x) // 2:
        raise ValueError(
            f"batch_count is {batch_count} and batch_size is {batch_size} for {len(x)} inputs; "
            "give at least 3 batches of at most half of the inputs"
        )
    theta = theta.detach().requires_grad_()
    order = batches(len(x), batch_size, seeds, x.device)
    gradients = []
    for _ in range(batch_count):
        index = next(order)
        inputs, targets = select_inputs(x, index), select_inputs(y, index)
        loss = network.task.loss(network(theta, inputs, buffers), targets).sum()
        gradients.append(torch.autograd.grad(loss, theta)[0])
    stack = torch.stack(gradients, 1)  # (models, batches, parameters)
    products = torch.zeros(len(theta), batch_count, batch_count, dtype=REAL, device=theta.device)
    for piece in stack.split(2**18, 2):  # in double precision, piece by piece
        double = piece.to(REAL)
        products.baddbmm_(double, double.transpose(1, 2))
    products = products.cpu()
    passes = torch.arange(batch_count) // (len(x) // batch_size)
    exact = None
    if batch_count * batch_size >= len(x):
        exact = _gradient(network, theta, x, y, buffers).to(REAL).square().sum(1).cpu()

    def moments(keep: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = _moments(products, keep)
        same = (passes[:, None] == passes) & (keep[:, None] * keep > 0)
        k = keep.sum()
        other = 1 - (same.sum() - k) / (k * (k - 1))  # share of the pairs of batches from different passes
        variance = spread / (1 / batch_size - other / len(x))
        return variance, mean - variance * (1 / (k * batch_size) - 1 / len(x)) if exact is None else exact

    keep = torch.ones(batch_count, dtype=REAL)
    variance, squared = moments(keep)
    scale = _ratio(variance, squared)
    left_out = torch.eye(batch_count, dtype=REAL)
    without = torch.stack([_ratio(*moments(keep - one)) for one in left_out], 1)
    spread = (without - without.mean(1, keepdim=True)).square().sum(1) * (batch_count - 1) / batch_count
    return NoiseScale(scale, spread.sqrt(), variance, squared)


def _gradient(network: Rows, theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor | None) -> Tensor:
    """Return the gradients (models, parameters) of the mean loss over all inputs, in parts."""
    total = torch.zeros_like(theta)
    scored = network.task.count_items(y[None])[0]
    for rows, part in graph_blocks(network, len(theta), x):
        own = None if buffers is None else buffers[rows]
        loss = network.task.loss(network(theta[rows], x[None, part], own), y[None, part]).sum()
        share = network.task.count_items(y[None, part])[0] / scored
        total[rows] += torch.autograd.grad(loss * share, theta)[0][rows]
    return total


def _moments(products: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Return |ḡ|² and the sample variance Σ|g_i − ḡ|²/(k − 1), each (models,), of the gradients in ``keep``.

    ``products`` holds inner products (models, batches, batches).
    """
    k = keep.sum()
    # Sums over each model's numbers; the rounding of matrix products would depend on the number of models.
    mean = (products * torch.outer(keep, keep)).sum((1, 2)) / k**2
    total = (products.diagonal(dim1=1, dim2=2) * keep).sum(1)  # Σ|g_i|²
    return mean, (total - k * mean) / (k - 1)


def _ratio(variance: Tensor, squared: Tensor) -> Tensor:
    return torch.where(squared > 0, variance / squared, torch.inf)
