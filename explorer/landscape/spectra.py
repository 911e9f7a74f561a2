"""Heavy-tail exponents of the weight spectra of layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.models.rows import Rows

TAIL_MIN = 8  # minimum number of eigenvalues in a fitted tail


@dataclass(frozen=True)
class PowerLaw:
    """A tail p(λ) ∝ λ^−alpha for λ ≥ ``minimum``, at Kolmogorov–Smirnov ``distance`` from the data."""

    alpha: float
    minimum: float
    distance: float
    tail: int  # values in the tail


def fit_power_law(values: Tensor) -> PowerLaw:
    """Fit a power law to the upper tail of positive ``values`` (n,) by maximum likelihood.

    alpha = 1 + k / Σ ln(λ_i / minimum) over the k values that are at least ``minimum``. Candidates for
    ``minimum`` are the values that leave at least 8 in the tail. The chosen one has the smallest
    Kolmogorov–Smirnov distance between tail and power law (Clauset et al., 2009). The fit is NaN with fewer
    than 9 positive values, or if all values are equal.
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
    """Power-law fits of each weight matrix of each model, in the order of ``layers``."""

    layers: list[str]
    fits: list[list[PowerLaw]]  # [model][layer]
    largest: Tensor  # (models, layers): largest eigenvalue, the squared spectral norm

    @property
    def alpha(self) -> Tensor:
        """Exponents (models, layers); NaN for layers too small to have a tail."""
        return torch.tensor([[fit.alpha for fit in row] for row in self.fits], dtype=torch.float64)

    @property
    def mean_alpha(self) -> Tensor:
        """Mean exponent (models,) over the layers that have one."""
        return self.alpha.nanmean(1)

    @property
    def weighted_alpha(self) -> Tensor:
        """Mean of alpha·log₁₀ of the largest eigenvalue (models,) over the layers that have an exponent."""
        return (self.alpha * self.largest.log10()).nanmean(1)


def weight_spectra(network: Rows, theta: Tensor) -> Spectra:
    """Fit heavy-tail exponents of the weight matrices of ``theta`` (models, parameters).

    Fits use the eigenvalues of WᵀW of each parameter with two or more dimensions (Martin & Mahoney, 2021).
    The kernel of a convolution is one matrix (channels out, channels in · kernel). Well-trained large layers
    typically have exponents of 2 to 6. Small layers have too few eigenvalues for a reliable fit (see
    ``PowerLaw.tail``).
    """
    layers, fits, largest, start = [], [[] for _ in theta], [], 0
    for name, shape in network.layers:
        piece = theta[:, start : start + shape.numel()].detach()
        start += shape.numel()
        if len(shape) < 2:
            continue
        values = torch.linalg.svdvals(piece.view(len(theta), shape[0], -1).double()).square()  # (models, k)
        layers.append(name)
        largest.append(values[:, 0].cpu())
        for row, eigenvalues in zip(fits, values, strict=True):
            row.append(fit_power_law(eigenvalues))
    return Spectra(layers, fits, torch.stack(largest, 1))
