"""Optimisers of rows: each row of ``theta`` (rows, parameters) is a model of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.models.constants import constant
from explorer.settings import InputError, suggest

Gradient = Callable[[Tensor], Tensor]  # theta (rows, parameters) -> gradient of the mean loss, the same shape

NAMES = ["adamw", "sam", "sgd"]
BETA = 0.999  # AdamW's second one


@dataclass(frozen=True)
class Optimiser:
    """SGD with momentum and AdamW with PyTorch's update rules, or SAM.

    ``sgd``: v ← momentum·v + g + weight_decay·θ, θ ← θ − rate·v. ``adamw`` (Loshchilov & Hutter, 2019):
    betas (momentum, 0.999), epsilon 1e-8, weight decay apart from the gradient. ``sam`` (Foret et al.,
    2021): SGD with the gradient at θ + rho·g/‖g‖, the norm being that of the whole row.

    Raises:
        InputError: there is no optimiser of this name.
    """

    name: str
    momentum: float = 0.9
    weight_decay: float = 0.0
    rho: float = 0.05

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise InputError(f"there is no optimiser {self.name!r}; known: {suggest(self.name, NAMES)}")

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        """Return its state before the first step."""
        names = ("first", "second") if self.name == "adamw" else ("velocity",)
        return {name: torch.zeros_like(theta) for name in names}

    def step(
        self, theta: Tensor, gradient: Gradient, state: dict[str, Tensor], rate: float, step: int
    ) -> None:
        """Change ``theta`` and ``state`` in place; ``step`` counts from 0."""
        g = gradient(theta)
        if self.name == "sam":
            g = gradient(self.ascended(theta, g))
        self.update(theta, g, state, rate, step)

    def ascended(self, theta: Tensor, g: Tensor) -> Tensor:
        """Return the point where SAM takes its gradient: at distance ``rho`` along the gradient ``g``."""
        return theta + self.rho * g / g.norm(dim=1, keepdim=True).clamp_min(1e-12)

    def update(self, theta: Tensor, g: Tensor, state: dict[str, Tensor], rate: float, step: int) -> None:
        """Take the step with a gradient ``g`` that is known."""
        if self.name == "adamw":
            first, second = state["first"], state["second"]
            first.lerp_(g, 1 - self.momentum)
            second.mul_(constant(BETA, second.dtype)).addcmul_(g, g, value=1 - BETA)
            theta.mul_(1 - rate * self.weight_decay)
            denominator = second.sqrt().div_(math.sqrt(1 - BETA ** (step + 1))).add_(1e-8)
            theta.addcdiv_(first, denominator, value=-rate / (1 - self.momentum ** (step + 1)))
            return
        if self.weight_decay:
            g = g.add(theta, alpha=self.weight_decay)
        velocity = state["velocity"]
        velocity.mul_(constant(self.momentum, velocity.dtype)).add_(g)
        theta.add_(velocity, alpha=-rate)


class PerRowOptimiser:
    """Optimisers of one name with settings of their own, each for some of the rows.

    Each part takes the same arithmetic, to the same bits, as its optimiser alone on its rows.

    Args:
        parts: consecutive rows, all together, and their optimiser.
    """

    def __init__(self, parts: Sequence[tuple[slice, Optimiser]]):
        self.parts = parts
        self._cut: tuple[Tensor, Tensor, list[tuple[Tensor, Tensor, dict[str, Tensor]]]] | None = None

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        """Return their state before the first step."""
        return self.parts[0][1].start(theta)

    def step(
        self, theta: Tensor, gradient: Gradient, state: dict[str, Tensor], rates: Sequence[float], step: int
    ) -> None:
        """Change ``theta`` and ``state`` in place, with a rate for each part; ``step`` counts from 0."""
        g = gradient(theta)
        if self.parts[0][1].name == "sam":
            g = gradient(torch.cat([rule.ascended(theta[rows], g[rows]) for rows, rule in self.parts]))
        cut = self._of_parts(theta, g, state)
        for (_, rule), own, rate in zip(self.parts, cut, rates, strict=True):
            rule.update(*own, rate, step)

    def _of_parts(
        self, theta: Tensor, g: Tensor, state: dict[str, Tensor]
    ) -> list[tuple[Tensor, Tensor, dict[str, Tensor]]]:
        """Return parameters, gradients and state of each part; cut once, where they stay in their places."""
        if self._cut is None or self._cut[0] is not theta or self._cut[1] is not g:
            cut = [
                (theta[rows], g[rows], {name: tensor[rows] for name, tensor in state.items()})
                for rows, _ in self.parts
            ]
            self._cut = theta, g, cut
        return self._cut[2]
