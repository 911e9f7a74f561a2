"""SGD with momentum, as in PyTorch: v ← momentum·v + g + weight_decay·θ, θ ← θ − rate·v."""

from __future__ import annotations

import torch
from torch import Tensor

from explorer.models.arithmetic import constant
from explorer.train.optimisers import base


class Optimiser(base.Optimiser):
    """SGD; weight decay is an L2 penalty whose gradient is added."""

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        return {"velocity": torch.zeros_like(theta)}

    def update(self, theta: Tensor, g: Tensor, state: dict[str, Tensor], rate: float, step: int) -> None:
        if self.weight_decay:
            g = g.add(theta, alpha=self.weight_decay)
        velocity = state["velocity"]
        velocity.mul_(constant(self.momentum, velocity.dtype)).add_(g)
        theta.add_(velocity, alpha=-rate)
