"""Spectral density of the Hessian by stochastic Lanczos quadrature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.landscape.lanczos import lanczos, tridiagonal
from explorer.landscape.operator import HessianOperator, Vectors
from explorer.models.rows import Rows


@dataclass(frozen=True)
class Density:
    """Each row's spectrum as point masses: share ``weights`` of the eigenvalues lies at ``nodes``.

    Both are (rows, probes · steps); the weights of a row sum to 1. The mean of a function f of the
    eigenvalues is about Σ weights·f(nodes): exact, for each probe's own weighting of the eigenvectors,
    for polynomials of degree below 2·steps.
    """

    nodes: Tensor
    weights: Tensor

    def at(self, values: Tensor, *, width: float) -> Tensor:
        """Density (rows, values) at ``values`` (values,), each node a normal bump of deviation ``width``."""
        z = (values[None, :, None] - self.nodes[:, None, :]) / width
        bumps = torch.exp(-z.square() / 2) / (width * math.sqrt(2 * math.pi))
        return (bumps * self.weights[:, None, :]).sum(2)


def spectral_density(
    network: Rows,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    seeds: Sequence[int],
    buffers: Tensor | None = None,
    steps: int = 40,
    probes: int = 4,
) -> Density:
    """Density of the eigenvalues of the Hessian of the mean cross-entropy at each row.

    Stochastic Lanczos quadrature (Ghorbani et al., 2019): from each of ``probes`` random normal vectors,
    ``steps`` of Lanczos; the Ritz values are the nodes, the squared first entries of the tridiagonal's
    eigenvectors the weights. Cost: about 2 · steps · probes gradient-equivalents a row.

    Args:
        theta: (rows, parameters); ``x``: inputs (inputs, *shape); ``y``: labels (inputs,).
        seeds: of the random vectors, one a row.
    """
    operator, vectors = HessianOperator(network, theta, x, y, buffers), Vectors(seeds, theta)
    nodes, weights = [], []
    for _ in range(probes):
        space = lanczos(operator, vectors.normal(), steps=steps, tolerance=-1.0)
        broken = space.alpha.isnan()
        alpha = torch.where(broken, 0.0, space.alpha)
        values, frame = torch.linalg.eigh(tridiagonal(alpha, space.beta))
        nodes.append(torch.where(broken, torch.nan, values))
        weights.append(frame[:, 0].square() / probes)  # 0 for what a row that ended early is filled up with
    return Density(torch.cat(nodes, 1), torch.cat(weights, 1))
