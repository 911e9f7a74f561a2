"""Heavy-tail exponents of the weight spectra of layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.models.rows import Rows

# As in WeightWatcher 0.7.7: layers with fewer eigenvalues are left out, and smaller eigenvalues count as 0.
EIGENVALUES_MIN = 8
ZERO = 1e-5
FEW = 20  # fewer values have a fit of their own
FEWEST_IN_TAIL = 8


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
    ``minimum`` are all values except the largest. The chosen one has the smallest distance
    max |F(λ_i) − i/k|, i = 0, …, k − 1, between the power law F and the tail: the Kolmogorov–Smirnov distance
    (Clauset et al., 2009) from one side, as in WeightWatcher. Of fewer than 20 values, a tail has at least 8
    (all, if there are fewer), and k − 1 in the place of k removes the bias of alpha. The fit is NaN with
    fewer than 2 positive values, or if all values are equal.
    """
    ordered = values[values > 0].double().cpu().sort().values
    best = PowerLaw(torch.nan, torch.nan, torch.inf, 0)
    few = len(ordered) < FEW
    fewest = min(FEWEST_IN_TAIL, len(ordered)) if few else 2
    for start in range(len(ordered) - fewest + 1):
        tail = ordered[start:]
        logs = (tail / tail[0]).log()
        if logs[-1] == 0:
            continue
        k = len(tail)
        alpha = 1 + ((k - few) / logs.sum()).item()
        model = 1 - torch.exp(-(alpha - 1) * logs)  # cumulative distribution
        distance = (model - torch.arange(k, dtype=torch.float64) / k).abs().max().item()
        if distance < best.distance:
            best = PowerLaw(alpha, tail[0].item(), distance, k)
    return best if best.tail else PowerLaw(torch.nan, torch.nan, torch.nan, 0)


@dataclass(frozen=True)
class Spectra:
    """Power-law fits of each layer of each model, in the order of ``layers``."""

    layers: list[str]  # those with at least 8 eigenvalues
    fits: list[list[PowerLaw]]  # [model][layer]
    largest: Tensor  # (models, layers): largest eigenvalue

    @property
    def alpha(self) -> Tensor:
        """Exponents (models, layers)."""
        alphas = [[fit.alpha for fit in row] for row in self.fits]
        return torch.tensor(alphas, dtype=torch.float64).view(len(alphas), len(self.layers))

    @property
    def mean_alpha(self) -> Tensor:
        """Mean exponent (models,) over the layers; NaN without layers."""
        return self.alpha.nanmean(1)

    @property
    def weighted_alpha(self) -> Tensor:
        """Mean of alpha·log₁₀ of the largest eigenvalue (models,) over the layers."""
        return (self.alpha * self.largest.log10()).nanmean(1)


def weight_spectra(network: Rows, theta: Tensor) -> Spectra:
    """Fit heavy-tail exponents of the layers of ``theta`` (models, parameters).

    The exponents are those of Martin & Mahoney (2021), as WeightWatcher computes them by default. A matrix W
    has the eigenvalues of WᵀW. A convolution has the eigenvalues of all its slices (channels out, channels
    in), one for each place of the kernel, pooled and halved. Well-trained large layers typically have
    exponents of 2 to 6. Small layers have too few eigenvalues for a reliable fit (see ``PowerLaw.tail``).
    """
    layers, fits, largest, start = [], [[] for _ in theta], [], 0
    for name, shape in network.layers:
        piece = theta[:, start : start + shape.numel()].detach()
        start += shape.numel()
        places = math.prod(shape[2:])
        if len(shape) < 2 or min(shape[:2]) * places < EIGENVALUES_MIN:
            continue
        slices = piece.view(len(theta), shape[0], shape[1], places).permute(0, 3, 1, 2).double()
        if theta.device.type == "cpu":
            values = torch.linalg.svdvals(slices).square().flatten(1)  # (models, k)
        else:  # a GPU finds the eigenvalues of the smaller product much faster, and to nearly the same digits
            gram = slices.mT @ slices if shape[0] > shape[1] else slices @ slices.mT
            values = torch.linalg.eigvalsh(gram).clamp_min(0).flatten(1).cpu()
        if len(shape) > 2:
            values = values / 2
        layers.append(name)
        largest.append(values.amax(1))
        for row, eigenvalues in zip(fits, values, strict=True):
            row.append(fit_power_law(eigenvalues[eigenvalues > ZERO]))
    return Spectra(layers, fits, torch.stack(largest, 1) if largest else torch.empty(len(theta), 0))
