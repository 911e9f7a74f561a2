"""Sharpness: the largest rise of the loss within a given distance of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.landscape.operator import graph_blocks
from explorer.models.rows import Rows
from explorer.train.loop import evaluate


@dataclass(frozen=True)
class Sharpness:
    """Rise of the mean loss (nats) of each model to the highest point found within the radius, at least 0."""

    rise: Tensor  # (models,)
    loss: Tensor  # (models,): mean loss of the model itself


def sharpness(
    network: Rows,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    buffers: Tensor | None = None,
    radius: float = 0.05,
    steps: int = 1,
    adaptive: bool = False,
) -> Sharpness:
    """Estimate max L(θ + ε) − L(θ) over ‖ε‖ ≤ ``radius``, by gradient ascent in evaluation mode.

    One step moves the whole radius along the gradient, as in sharpness-aware minimisation (Foret et al.,
    2021). With more steps, each step has length 2·radius/steps and is projected back onto the ball. The
    highest point along the way counts, so the result is a lower bound of the maximum. ``adaptive`` measures ε
    relative to each parameter, ‖ε/|θ|‖ ≤ ``radius``, which makes the result invariant to rescaling of the
    weights (Kwon et al., 2021). If the gradient of a model is 0, its rise is 0.

    Args:
        theta: (models, parameters); ``x``: inputs (inputs, *shape); ``y``: targets (inputs, …).

    Cost: one gradient and one evaluation per step.

    Raises:
        ValueError: ``radius`` is not positive or ``steps`` is below 1.
    """
    if radius <= 0 or steps < 1:
        raise ValueError(f"radius is {radius} and steps is {steps}; they must be above 0 and at least 1")
    theta = theta.detach()
    scale = theta.abs() if adaptive else torch.ones_like(theta)
    stride = radius if steps == 1 else 2 * radius / steps
    shift = torch.zeros_like(theta)  # ε / scale
    loss, _ = evaluate(network, theta, buffers, x, y)
    highest = loss
    for _ in range(steps):
        ascent = scale * _gradient(network, theta + scale * shift, buffers, x, y)
        shift = shift + stride * ascent / _length(ascent)
        shift = shift * (radius / _length(shift)).clamp_max(1)
        highest = highest.maximum(evaluate(network, theta + scale * shift, buffers, x, y)[0])
    return Sharpness(highest - loss, loss)


def _length(vectors: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(length == 0, 1.0, length)


def _gradient(network: Rows, theta: Tensor, buffers: Tensor | None, x: Tensor, y: Tensor) -> Tensor:
    """Return gradients (models, parameters) of the mean losses in evaluation mode, computed in chunks."""
    total, scored = torch.zeros_like(theta), network.task.count_items(y[None]).clamp_min(1)
    for rows, part in graph_blocks(network, len(theta), x):
        leaf = theta[rows].requires_grad_()
        outputs = network(leaf, x[None, part], None if buffers is None else buffers[rows])
        loss = network.task.loss(outputs, y[None, part]).sum()
        share = network.task.count_items(y[None, part]).double() / scored
        total[rows] += torch.autograd.grad(loss, leaf)[0] * share.to(theta)
    return total
