"""SAM (Foret et al., 2021): SGD with the gradient at θ + rho·g/‖g‖, with the norm of the whole model."""

from __future__ import annotations

from torch import Tensor

from explorer.train.optimisers import sgd


class Optimiser(sgd.Optimiser):
    """SAM; each step computes two gradients."""

    def ascend(self, theta: Tensor, g: Tensor) -> Tensor:
        return theta + self.rho * g / g.norm(dim=1, keepdim=True).clamp_min(1e-12)
