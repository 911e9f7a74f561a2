"""Paths between models in parameter space: Bézier curves and polygonal chains with any number of bends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PathKind = Literal["bezier", "chain"]


@dataclass(frozen=True)
class Path:
    """Paths of ``pairs`` of models: the ends and, between them, the bends.

    ``points`` is (pairs, bends + 2, parameters). A Bézier curve of degree bends + 1 leaves each end towards
    the neighbouring bend. A chain is straight between points and spends equal time on each segment.
    """

    points: Tensor
    kind: PathKind = "bezier"

    def at(self, t: float) -> Tensor:
        """Return the models (pairs, parameters) at position ``t`` in [0, 1]."""
        weights = path_weights(self.kind, self.points.shape[1], torch.tensor(t, dtype=torch.float64))
        # Points of weight 0 are left out: a bend that is not finite must not affect the ends.
        terms = [w * self.points[:, i] for i, w in enumerate(weights.tolist()) if w]
        return torch.stack(terms).sum(0)


def straight(a: Tensor, b: Tensor) -> Path:
    """Return the straight lines from ``a`` to ``b``, each (pairs, parameters)."""
    return Path(torch.stack([a, b], 1))


def path_weights(kind: PathKind, points: int, t: Tensor) -> Tensor:
    """Return the weights (*shape, points) of a path's points at positions ``t`` (*shape); they sum to 1.

    Bézier: Bernstein polynomials, C(n, i)·tⁱ·(1 − t)ⁿ⁻ⁱ with n = points − 1. Chain: hat functions of width
    1/n.
    """
    n, i = points - 1, torch.arange(points, dtype=t.dtype, device=t.device)
    t = t.unsqueeze(-1)
    if kind == "chain":
        return (1 - (n * t - i).abs()).clamp_min(0)
    binomials = torch.tensor([math.comb(n, k) for k in range(points)], dtype=t.dtype, device=t.device)
    return binomials * t**i * (1 - t) ** (n - i)
