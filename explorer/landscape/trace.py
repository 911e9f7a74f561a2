"""Traces of symmetric operators: Hutchinson's estimate, deflated by a growing Krylov space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.landscape.lanczos import REAL, Krylov, project

PROBES_MIN = 4  # with 3 and loose tolerances, three standard errors cover the truth in only 97 of 100 seeds
PATIENCE = 5  # number of Lanczos steps over which their gain is measured


@dataclass(frozen=True)
class Trace:
    """Traces, standard errors and convergence, each (models,), and samples (models, probes)."""

    value: Tensor
    stderr: Tensor
    samples: Tensor
    converged: Tensor


class DeflatedTrace:
    """Trace of H as the trace inside a basis plus Hutchinson's estimate outside of it.

    With random signs z and R = P·H·P (P projects the basis out), zᵀRz has mean tr R and variance at most
    2·‖R‖², and ‖Rz‖² has mean ‖R‖² (Frobenius). So each probe also measures the uncertainty. The sample
    spread of three probes would be too small half of the time, and a stopping rule based on it would stop by
    chance.

    The first probes are multiplied by H before Lanczos starts. Since HQ = QT + w·eᵀ for a Lanczos basis Q,
    R·z follows for every basis without another product. So while Lanczos runs, the number of probes still
    needed is known, and :meth:`wants_more` continues as long as a step saves more than one probe.
    """

    def __init__(
        self,
        operator: Callable[[Tensor], Tensor],
        draw: Callable[[], Tensor],
        *,
        probes_max: int,
        tolerance: float,
    ):
        self.operator, self.draw = operator, draw
        self.probes_max, self.tolerance = probes_max, tolerance
        first = [draw() for _ in range(min(PROBES_MIN, probes_max))]
        self.rest = torch.stack(first, 1)  # (models, probes, parameters): P·z
        self.image = torch.stack([operator(z) for z in first], 1)  # P·H·z
        self.samples, self.squares = (p.contiguous() for p in self._measure(self.image).cpu().chunk(2, 1))
        self.needed: list[Tensor] = []

    def _measure(self, image: Tensor) -> Tensor:
        """Return zᵀRz and then ‖Rz‖² of each probe: (models, 2 · probes)."""
        return torch.cat([(self.rest * image).sum(2, dtype=REAL), image.square().sum(2, dtype=REAL)], 1)

    def add(self, vector: Tensor, outside: Tensor) -> Tensor:
        """Add a basis vector; return what :meth:`wants_more` needs of it, on the device (see ``lanczos``)."""
        direction = vector.unsqueeze(1)  # vectors first: see ``product`` in ``explorer.models.arithmetic``
        along = torch.bmm(direction, self.rest.mT).mT  # (models, probes, 1)
        self.rest = self.rest - along * direction
        self.image = self.image - torch.bmm(direction, self.image.mT).mT * direction
        return self._measure(self.image - along * outside.unsqueeze(1))

    def wants_more(self, measured: Tensor, inside: Tensor, active: Tensor) -> Tensor:
        """Return the models for which more vectors are worthwhile."""
        samples, squares = measured.chunk(2, 1)
        self.samples = torch.where(active[:, None], samples, self.samples)
        self.squares = torch.where(active[:, None], squares, self.squares)
        goal = self.tolerance * (inside + self.samples.mean(1)).abs()
        self.needed.append(2 * self.squares.mean(1) / goal.square())
        short = ~(self.needed[-1] <= self.samples.shape[1])
        if len(self.needed) <= PATIENCE:
            return short
        # Not "saved >= PATIENCE": with a tolerance of 0, the difference is infinity minus infinity.
        return short & ~(self.needed[-1 - PATIENCE] - self.needed[-1] < PATIENCE)

    def finish(self, space: Krylov) -> Trace:
        """Add probes until the tolerance is met or ``probes_max`` are used.

        Args:
            space: the Krylov space whose vectors :meth:`add` has taken in.
        """
        # Use only the model's own vectors: products and sums of another length would round differently.
        steps = space.steps.tolist()
        inside = torch.stack([alpha[:k].sum() for alpha, k in zip(space.alpha, steps, strict=True)])
        bases = [basis[None, :k] for basis, k in zip(space.basis, steps, strict=True)]

        def outside(vectors: Tensor) -> Tensor:
            pieces = zip(bases, vectors.split(1), strict=True)
            return vectors - torch.cat([project(basis, vector) for basis, vector in pieces])

        exact = space.steps == self.rest.shape[2]  # the basis spans everything
        samples, squares = inside[:, None] + self.samples, self.squares
        value, stderr, active = self._estimate(samples, squares, torch.ones_like(exact))
        while samples.shape[1] < self.probes_max and bool((active & ~exact).any()):
            vector = self.draw()
            wanted = (active & ~exact).to(vector.device, non_blocking=True)
            rest = torch.where(wanted[:, None], outside(vector), 0.0)
            product = self.operator(rest)
            image = outside(product)
            measured = torch.stack([(rest * product).sum(1, dtype=REAL), image.square().sum(1, dtype=REAL)])
            sample, square = measured.cpu()
            samples = torch.cat([samples, torch.where(active, inside + sample, torch.nan)[:, None]], 1)
            squares = torch.cat([squares, torch.where(active, square, torch.nan)[:, None]], 1)
            new_value, new_stderr, short = self._estimate(samples, squares, active)
            value, stderr = torch.where(active, new_value, value), torch.where(active, new_stderr, stderr)
            active = short
        value, stderr = torch.where(exact, inside, value), torch.where(exact, 0.0, stderr)
        samples = torch.where(exact[:, None], inside[:, None], samples)
        return Trace(value, stderr, samples, stderr <= self.tolerance * value.abs())

    def _estimate(self, samples: Tensor, squares: Tensor, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return value and standard error (models,), and which active models without NaN need more."""
        value, stderr = samples.mean(1), (2 * squares.mean(1) / samples.shape[1]).sqrt()
        return value, stderr, active & value.isfinite() & ~(stderr <= self.tolerance * value.abs())
