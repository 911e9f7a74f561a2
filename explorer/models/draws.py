"""Networks that draw random numbers while they train (dropout): every row from a seed of its own.

Torch's global generator would tie what a row draws to its neighbours and to all that ran before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from explorer.models.rows import Rows, seeded

# Of theta (rows, parameters), inputs, targets and buffers: losses (rows,) and gradients (rows, parameters).
LossAndGradient = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def draws(network: Rows, theta: Tensor, buffers: Tensor, x: Tensor) -> bool:
    """Whether it draws random numbers in training mode: found by trying, on two of the inputs ``x``."""
    if network.execution == "stacked":
        return False  # an architecture's own forward
    device = theta.device
    with torch.no_grad(), seeded(0, device):
        before = _state(device)
        network(theta[:1], x[None, :2], buffers[:1].clone(), training=True)
        return not torch.equal(before, _state(device))


def _state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def seeded_one_by_one(gradient: LossAndGradient, seeds: Sequence[int], step: int) -> LossAndGradient:
    """The same, row by row; what a row draws is decided by its seed and the step alone."""

    def row_by_row(theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor) -> tuple[Tensor, Tensor]:
        found = []
        for row, seed in enumerate(seeds):
            own = slice(row, row + 1)
            with seeded((seed ^ (step * 0x9E3779B97F4A7C15)) % 2**63, theta.device):
                own_x, own_y = (values[own] if len(values) > 1 else values for values in (x, y))
                found.append(gradient(theta[own], own_x, own_y, buffers[own]))
        losses, gradients = zip(*found, strict=True)
        return torch.cat(losses), torch.cat(gradients)

    return row_by_row
