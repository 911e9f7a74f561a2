"""Spectral density of the Hessian by stochastic Lanczos quadrature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.landscape.lanczos import lanczos, tridiagonal
from explorer.landscape.operator import HessianOperator, Vectors, joined, measure_groups
from explorer.models.rows import Rows


@dataclass(frozen=True)
class Density:
    """Spectrum of each model as point masses: a share ``weights`` of the eigenvalues lies at ``nodes``.

    Both are (models, probes · steps); the weights of a model sum to 1. The mean of a function f of the
    eigenvalues is about Σ weights·f(nodes). For each probe's own weighting of the eigenvectors, this is exact
    for polynomials of degree below 2·steps.
    """

    nodes: Tensor
    weights: Tensor


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
    """Estimate the density of the eigenvalues of the Hessian of the mean loss at each model.

    Stochastic Lanczos quadrature (Ghorbani et al., 2019) takes ``steps`` Lanczos steps from each of
    ``probes`` random normal vectors. The Ritz values are the nodes. The squared first entries of the
    eigenvectors of the tridiagonal matrix are the weights. Cost: about 2 · steps · probes
    gradient-equivalents per model.

    Args:
        theta: (models, parameters); ``x``: inputs (inputs, *shape); ``y``: labels (inputs,).
        seeds: of the random vectors, one per model.
    """
    found = measure_groups(
        lambda operator, vectors: _of_group(operator, vectors, steps, probes),
        *(network, theta, x, y, buffers, seeds),
    )
    nodes, weights = zip(*found, strict=True)
    return Density(joined(nodes, 0.0), joined(weights, 0.0))


def _of_group(operator: HessianOperator, vectors: Vectors, steps: int, probes: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of models whose graphs are in memory together."""
    nodes, weights = [], []
    for _ in range(probes):
        space = lanczos(operator, vectors.normal(), steps=steps, tolerance=-1.0)
        broken = space.alpha.isnan()
        alpha = torch.where(broken, 0.0, space.alpha)
        values, frame = torch.linalg.eigh(tridiagonal(alpha, space.beta))
        nodes.append(torch.where(broken, torch.nan, values))
        weights.append(frame[:, 0].square() / probes)  # 0 for the padding of a model that ended early
    return torch.cat(nodes, 1), torch.cat(weights, 1)
