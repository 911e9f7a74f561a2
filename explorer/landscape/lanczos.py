"""Lanczos iteration for many symmetric operators at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

REAL = torch.float64  # type of all tensors of the size of the Krylov space

# The smallest eigenvalue lies near 0, where the spectrum is densest. An error that is small relative to the
# largest eigenvalue does not even determine its sign. So its residual must also be small relative to its own
# size: at most size · tolerance · NEAR_ZERO. At a tolerance of 0.001 this is a tenth of the size, which
# leaves an error below 1 %.
NEAR_ZERO = 100

DENSE = 4  # gaps between Ritz values are larger than gaps between eigenvalues where the spectrum is dense


class LanczosObserver(Protocol):
    """What looks at the vectors of a growing Krylov space, and may want more of them."""

    def add(self, vector: Tensor, outside: Tensor) -> Tensor:
        """Take a new basis vector q and the part of H·q outside the basis, both (models, parameters).

        Returns numbers (models, k) in double precision, which stay on the device.
        """
        ...

    def wants_more(self, measured: Tensor, inside: Tensor, active: Tensor) -> Tensor:
        """Return the models (models,) that must continue although they have converged.

        Args:
            measured: what :meth:`add` has returned, on the CPU.
            inside: traces inside the basis (models,).
            active: models at work (models,).
        """
        ...


@dataclass(frozen=True)
class Krylov:
    """Krylov spaces of the models, and their estimates of the ends of the spectrum.

    A model that ended before the others continues with zero vectors, zero ``alpha`` and zero ``beta``, so its
    results do not depend on the other models. Small tensors are on the CPU, in double precision.
    """

    basis: Tensor  # (models, k, parameters), orthonormal
    alpha: Tensor  # (models, k): diagonal of the tridiagonal matrix; NaN for a model that is not finite
    beta: Tensor  # (models, k - 1): its off-diagonal
    largest: Tensor  # (models, wanted): largest Ritz values, descending; NaN if the space has fewer
    largest_residual: Tensor  # (models, wanted): some eigenvalue is at most this far from the Ritz value
    smallest: Tensor  # (models,): smallest Ritz value, signed
    smallest_residual: Tensor  # (models,)
    converged: Tensor  # (models,)
    steps: Tensor  # (models,): products that the model used


def lanczos(
    operator: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    steps: int,
    tolerance: float,
    wanted: int = 1,
    smallest: bool = False,
    watch: LanczosObserver | None = None,
) -> Krylov:
    """Grow Krylov spaces from ``start`` (models, parameters), with full reorthogonalisation.

    A model stops when the estimated errors (:func:`ritz_errors`) of its ``wanted`` largest Ritz values are at
    most ``tolerance`` times its largest absolute Ritz value. If ``smallest``, the error of the smallest Ritz
    value must meet this bound too, and its residual must be at most 100 ``tolerance`` times its own size (or
    ``tolerance`` / 100 times the largest). With a negative ``tolerance``, no model stops. If the products of
    a model are not finite, its results are NaN.

    Args:
        steps: maximum number of steps. The basis takes memory for ``steps`` vectors per model.
        watch: may want more vectors. It is asked in every step.

    The host waits for a GPU once a step.
    """
    rows, parameters = start.shape
    steps = min(steps, parameters)
    active, broken = torch.ones(rows, dtype=torch.bool), torch.zeros(rows, dtype=torch.bool)
    basis = start.new_empty(rows, steps, parameters)
    alpha, beta = torch.zeros(2, rows, steps, dtype=REAL).unbind(0)
    ends = _Ends(rows, wanted, tolerance=tolerance, smallest=smallest)
    vector, step = start / start.norm(dim=1, keepdim=True), 0
    for step in range(steps):
        basis[:, step] = vector
        product = operator(vector)
        height = (product * vector).sum(1, dtype=REAL)
        for _ in range(2):  # twice is enough (Kahan)
            product = product - project(basis[:, : step + 1], product)
        numbers = [height[:, None], torch.linalg.vector_norm(product, dim=1, dtype=REAL)[:, None]]
        numbers += [] if watch is None else [watch.add(vector, product)]
        height, length, *measured = (
            torch.cat(numbers, 1).cpu().split([1, 1, *[n.shape[1] for n in numbers[2:]]], 1)
        )
        height, length = height.squeeze(1), length.squeeze(1)
        broken |= ~torch.isfinite(height)
        active = active & ~broken
        alpha[:, step] = torch.where(active, height, 0.0)
        size = alpha.abs().amax(1).maximum(beta.amax(1)).maximum(length)
        # Below the rounding of the product, the next vector would be noise, so the space is exhausted.
        exhausted = length <= 100 * torch.finfo(start.dtype).eps * size
        beta[:, step] = torch.where(active & ~exhausted, length, 0.0)
        values, residuals = ritz(alpha[:, : step + 1], beta[:, : step + 1])
        settled = ends.update(values, residuals, active)
        if watch is not None:
            settled = settled & ~watch.wants_more(measured[0], alpha.sum(1), active)
        active = active & ~settled & ~exhausted
        beta[:, step] = torch.where(active, beta[:, step], 0.0)
        if not bool(active.any()):
            break
        inverse = torch.where(active, 1 / length, 0.0).to(product, non_blocking=True)
        vector = torch.where(inverse[:, None] > 0, product * inverse[:, None], 0.0)
    alpha[broken] = torch.nan
    return Krylov(basis[:, : step + 1], alpha[:, : step + 1], beta[:, :step], *ends.result())


def project(basis: Tensor, vectors: Tensor) -> Tensor:
    """Project ``vectors`` (models, parameters) onto the spans of ``basis`` (models, k, parameters)."""
    return torch.bmm(torch.bmm(vectors.unsqueeze(1), basis.transpose(1, 2)), basis).squeeze(1)


def tridiagonal(alpha: Tensor, beta: Tensor) -> Tensor:
    """Return matrices (models, k, k) from diagonals (models, k) and off-diagonals (models, k - 1)."""
    return torch.diag_embed(alpha) + torch.diag_embed(beta, 1) + torch.diag_embed(beta, -1)


def ritz(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Return ascending Ritz values and residual norms, both (models, k); ``alpha``, ``beta`` (models, k)."""
    values, vectors = torch.linalg.eigh(tridiagonal(alpha, beta[:, :-1]))
    return values, beta[:, -1:] * vectors[:, -1].abs()


def ritz_errors(values: Tensor, residuals: Tensor) -> Tensor:
    """Estimate errors (models, k) of ascending Ritz values: the smaller of residual and 4 · residual² / gap.

    Without the factor, this is the bound of Kato and Temple, with the gap to the nearest other Ritz value in
    place of the gap to the nearest other eigenvalue. Where the spectrum is dense, that gap is smaller; the
    factor makes up for it. For isolated eigenvalues the estimate is far below the residual.
    """
    gaps = functional.pad(values.diff(dim=1), (1, 1), value=torch.inf)
    gap = gaps[:, 1:].minimum(gaps[:, :-1])
    return residuals.minimum(DENSE * residuals * (residuals / gap.clamp_min(1e-300)))


class _Ends:
    """Latest Ritz values at both ends, updated as long as a model is active."""

    def __init__(self, rows: int, wanted: int, *, tolerance: float, smallest: bool):
        self.wanted, self.tolerance, self.smallest = wanted, tolerance, smallest
        self.large, self.large_residual = torch.full((2, rows, wanted), torch.nan, dtype=REAL).unbind(0)
        self.small, self.small_residual = torch.full((2, rows), torch.nan, dtype=REAL).unbind(0)
        self.converged = torch.zeros(rows, dtype=torch.bool)
        self.steps = torch.zeros(rows, dtype=torch.long)

    def update(self, values: Tensor, residuals: Tensor, active: Tensor) -> Tensor:
        """Store the Ritz values (models, k) of the active models; return which have converged (models,)."""
        steps = values.shape[1]
        found = min(self.wanted, steps)
        self.large[active, :found] = values.flip(1)[active, :found]
        self.large_residual[active, :found] = residuals.flip(1)[active, :found]
        self.small[active], self.small_residual[active] = values[active, 0], residuals[active, 0]
        self.steps[active] = steps
        errors = ritz_errors(values, residuals)
        worst = errors.flip(1)[:, :found].amax(1)
        size, near = values.abs().amax(1), torch.ones(len(values), dtype=torch.bool)
        if self.smallest:
            worst = worst.maximum(errors[:, 0])
            scale = torch.maximum(NEAR_ZERO * values[:, 0].abs(), size / NEAR_ZERO)
            near = residuals[:, 0] <= self.tolerance * scale
        # A poor start can make the first two values look converged.
        enough = (residuals == 0).all(1) | (steps >= 3)
        done = enough & near & (found == self.wanted) & (worst <= self.tolerance * size)
        self.converged[active] = done[active]
        return self.converged

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.large, self.large_residual, self.small, self.small_residual, self.converged, self.steps
