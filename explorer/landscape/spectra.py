"""Heavy tails of the layers' weight spectra."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.models.rows import Rows

TAIL_MIN = 8  # eigenvalues a fitted tail must have


@dataclass(frozen=True)
class PowerLaw:
    """A tail p(λ) ∝ λ^−alpha from ``minimum`` on; ``distance`` is Kolmogorov and Smirnov's, from the data."""

    alpha: float
    minimum: float
    distance: float
    tail: int  # values in the tail


def fit_power_law(values: Tensor) -> PowerLaw:
    """Maximum-likelihood power law of the upper tail of positive ``values`` (n,).

    alpha = 1 + k / Σ ln(λ_i / minimum) over the k values from ``minimum`` on; of all values that leave at
    least 8, ``minimum`` is the one whose tail lies closest to its power law in the Kolmogorov–Smirnov
    sense (Clauset et al., 2009). NaN with fewer than 9 positive values, or when all are equal.
    """
    ordered = values[values > 0].double().cpu().sort().values
    n = len(ordered)
    best = PowerLaw(torch.nan, torch.nan, torch.inf, 0)
    for start in range(n - TAIL_MIN):
        tail = ordered[start:]
        logs = (tail / tail[0]).log()
        if logs[-1] == 0:
            continue
        k = len(tail)
        alpha = 1 + (k / logs.sum()).item()
        model = 1 - torch.exp(-(alpha - 1) * logs)  # cumulative distribution
        steps = torch.arange(k + 1, dtype=torch.float64) / k
        distance = (model - steps[:-1]).abs().maximum((model - steps[1:]).abs()).max().item()
        if distance < best.distance:
            best = PowerLaw(alpha, tail[0].item(), distance, k)
    return best if best.tail else PowerLaw(torch.nan, torch.nan, torch.nan, 0)


@dataclass(frozen=True)
class Spectra:
    """Power-law fits of each weight matrix of each row, in the order of ``layers``."""

    layers: list[str]
    fits: list[list[PowerLaw]]  # [row][layer]
    largest: Tensor  # (rows, layers): largest eigenvalue, the squared spectral norm

    @property
    def alpha(self) -> Tensor:
        """Exponents (rows, layers); NaN for layers too small to have a tail."""
        return torch.tensor([[fit.alpha for fit in row] for row in self.fits], dtype=torch.float64)

    @property
    def mean_alpha(self) -> Tensor:
        """Mean exponent (rows,) over the layers that have one."""
        return self.alpha.nanmean(1)

    @property
    def weighted_alpha(self) -> Tensor:
        """Mean of alpha·log₁₀ of the largest eigenvalue (rows,) over the layers that have an exponent."""
        return (self.alpha * self.largest.log10()).nanmean(1)


def weight_spectra(network: Rows, theta: Tensor) -> Spectra:
    """Heavy-tail exponents of the weight matrices of ``theta`` (rows, parameters) (Martin & Mahoney, 2021).

    The eigenvalues of WᵀW for each parameter of two or more dimensions, a convolution's kernel as one
    matrix (channels out, channels in · kernel). Typical of well-trained large layers is 2 to 6; small
    layers have too few eigenvalues for a trustworthy fit (see ``PowerLaw.tail``).
    """
    layers, fits, largest, start = [], [[] for _ in theta], [], 0
    for name, shape in network.layers:
        piece = theta[:, start : start + shape.numel()].detach()
        start += shape.numel()
        if len(shape) < 2:
            continue
        values = torch.linalg.svdvals(piece.view(len(theta), shape[0], -1).double()).square()  # (rows, k)
        layers.append(name)
        largest.append(values[:, 0].cpu())
        for row, own in zip(fits, values, strict=True):
            row.append(fit_power_law(own))
    return Spectra(layers, fits, torch.stack(largest, 1))
