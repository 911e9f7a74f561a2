"""Gradient noise scale: the batch size up to which larger batches are worthwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.landscape.lanczos import REAL
from explorer.models.rows import Rows
from explorer.train.loop import batches


@dataclass(frozen=True)
class NoiseScale:
    """Noise of each model's gradient over inputs.

    ``variance`` is tr Σ, the summed variance of the single-input gradient. ``squared_gradient`` is |G|² of
    the mean gradient; the estimate is unbiased and can be negative if there is only noise. ``scale`` is tr Σ
    / |G|² in inputs, infinite if |G|² is not positive. ``scale_stderr`` is its jackknife standard error.
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

    It uses the gradients g_i of k = ``batch_count`` batches of ``batch_size`` inputs, drawn without
    replacement within a pass: tr Σ = batch_size·Σ|g_i − ḡ|²/(k − 1), |G|² = |ḡ|² − tr Σ/(k·batch_size). Cost:
    k gradients of a batch, all held in memory.

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
        loss = network.task.loss(network(theta, x[index], buffers), y[index]).sum()
        gradients.append(torch.autograd.grad(loss, theta)[0])
    stack = torch.stack(gradients, 1)  # (models, batches, parameters)
    products = torch.zeros(len(theta), batch_count, batch_count, dtype=REAL, device=theta.device)
    for piece in stack.split(2**18, 2):  # in double precision, piece by piece
        double = piece.to(REAL)
        products.baddbmm_(double, double.transpose(1, 2))
    products = products.cpu()
    keep = torch.ones(batch_count, dtype=REAL)
    variance, squared = _moments(products, keep, batch_size)
    scale = _ratio(variance, squared)
    left_out = torch.eye(batch_count, dtype=REAL)
    without = torch.stack([_ratio(*_moments(products, keep - one, batch_size)) for one in left_out], 1)
    spread = (without - without.mean(1, keepdim=True)).square().sum(1) * (batch_count - 1) / batch_count
    return NoiseScale(scale, spread.sqrt(), variance, squared)


def _moments(products: Tensor, keep: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return tr Σ and |G|² (models,) of the gradients in ``keep``.

    ``products`` holds inner products (models, batches, batches).
    """
    k = keep.sum()
    # Sums over each model's numbers; the rounding of matrix products would depend on the number of models.
    mean = (products * torch.outer(keep, keep)).sum((1, 2)) / k**2  # |ḡ|²
    total = (products.diagonal(dim1=1, dim2=2) * keep).sum(1)  # Σ|g_i|²
    variance = batch_size * (total - k * mean) / (k - 1)
    return variance, mean - variance / (k * batch_size)


def _ratio(variance: Tensor, squared: Tensor) -> Tensor:
    return torch.where(squared > 0, variance / squared, torch.inf)
