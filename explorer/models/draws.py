"""Networks that draw random numbers in training (dropout), with a separate seed for every model.

With torch's global generator, the draws of a model would depend on the other models and on earlier work.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from explorer.models.rows import FEW, LossAndGradient, Rows, one_by_one, seeded


def draws_random_numbers(network: Rows, theta: Tensor, buffers: Tensor, x: Tensor) -> bool:
    """Return whether the network draws random numbers in training mode, by a test on a few inputs."""
    if network.execution == "stacked":
        return False  # a stacked forward draws nothing
    device = theta.device
    with torch.no_grad(), seeded(0, device):
        before = _state(device)
        network(theta[:1].clone(), x[None, :FEW], buffers[:1].clone(), training=True)
        return not torch.equal(before, _state(device))


def _state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def seed_of_step(seed: int, step: int) -> int:
    """Return the seed of a model's random draws in a step."""
    return (seed ^ (step * 0x9E3779B97F4A7C15)) % 2**63


def seeded_one_by_one(gradient: LossAndGradient, seeds: Sequence[int], step: int) -> LossAndGradient:
    """Return the same function, run one model at a time, with draws from the model's seed and the step."""
    return functools.partial(one_by_one, gradient, seeds=[seed_of_step(seed, step) for seed in seeds])
