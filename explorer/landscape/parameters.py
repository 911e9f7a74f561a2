"""Distances between models in parameter space."""

from __future__ import annotations

import torch
from torch import Tensor


def l2_distance(theta_a: Tensor, theta_b: Tensor) -> Tensor:
    """Return Euclidean distances (pairs,) between parameter vectors (pairs, parameters)."""
    return torch.linalg.vector_norm(theta_a.double() - theta_b.double(), dim=1)
