"""AdamW (Loshchilov & Hutter, 2019), as in PyTorch: betas (momentum, 0.999), epsilon 1e-8."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from explorer.models.arithmetic import constant
from explorer.train.optimisers import base

BETA = 0.999  # the second beta


class Optimiser(base.Optimiser):
    """AdamW; weight decay is separate from the gradient: θ ← (1 − rate·weight_decay)·θ before the step."""

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        return {name: torch.zeros_like(theta) for name in ("first", "second")}

    def update(self, theta: Tensor, g: Tensor, state: dict[str, Tensor], rate: float, step: int) -> None:
        first, second = state["first"], state["second"]
        first.lerp_(g, 1 - self.momentum)
        second.mul_(constant(BETA, second.dtype)).addcmul_(g, g, value=1 - BETA)
        theta.mul_(1 - rate * self.weight_decay)
        denominator = second.sqrt().div_(math.sqrt(1 - BETA ** (step + 1))).add_(1e-8)
        theta.addcdiv_(first, denominator, value=-rate / (1 - self.momentum ** (step + 1)))
