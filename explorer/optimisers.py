"""Optimisers of rows: each row of ``theta`` (rows, parameters) is a model of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explorer.constants import constant

Gradient = Callable[[Tensor], Tensor]  # theta (rows, parameters) -> gradient of the mean loss, the same shape
Numbers = Sequence[float] | Sequence[Tensor] | Tensor  # floats, or tensors () where the parameters are

BETA = 0.999  # AdamW's second one


@dataclass(frozen=True)
class Optimiser:
    """SGD with momentum, AdamW, or SAM, with PyTorch's update rules.

    ``sgd``: v ← momentum·v + g + weight_decay·θ, θ ← θ − rate·v. ``adamw`` (Loshchilov & Hutter, 2019):
    betas (momentum, 0.999), epsilon 1e-8, weight decay apart from the gradient. ``sam`` (Foret et al.,
    2021): SGD with the gradient at θ + rho·g/‖g‖, the norm being that of the whole row.
    """

    name: str
    momentum: float = 0.9
    weight_decay: float = 0.0
    rho: float = 0.05

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        """Its state before the first step."""
        names = ("first", "second") if self.name == "adamw" else ("velocity",)
        return {name: torch.zeros_like(theta) for name in names}

    def step(
        self, theta: Tensor, gradient: Gradient, state: dict[str, Tensor], rate: float, step: int
    ) -> None:
        """Change ``theta`` and ``state`` in place; ``step`` counts from 0."""
        self.advance(theta, gradient, state, self.numbers(rate, step))

    def numbers(self, rate: float, step: int) -> tuple[float, ...]:
        """All that changes from step to step."""
        if self.name == "adamw":
            scale = math.sqrt(1 - BETA ** (step + 1))
            return 1 - rate * self.weight_decay, scale, -rate / (1 - self.momentum ** (step + 1))
        return (-rate,)

    def advance(self, theta: Tensor, gradient: Gradient, state: dict[str, Tensor], numbers: Numbers) -> None:
        """The step with its numbers, which may be tensors (): nothing else of it changes between steps."""
        g = gradient(theta)
        if self.name == "sam":
            g = gradient(self.ascended(theta, g))
        self.update(theta, g, state, numbers)

    def ascended(self, theta: Tensor, g: Tensor) -> Tensor:
        """Where SAM takes its gradient: at distance ``rho`` along the gradient ``g``."""
        return theta + self.rho * g / g.norm(dim=1, keepdim=True).clamp_min(1e-12)

    def update(self, theta: Tensor, g: Tensor, state: dict[str, Tensor], numbers: Numbers) -> None:
        """The step with a gradient ``g`` that is known."""
        if self.name == "adamw":
            kept, scale, by = numbers
            first, second = state["first"], state["second"]
            first.lerp_(g, 1 - self.momentum)
            second.mul_(constant(BETA, second.dtype)).addcmul_(g, g, value=1 - BETA)
            theta.mul_(kept)
            denominator = second.sqrt().div_(scale).add_(1e-8)
            if isinstance(by, Tensor):
                theta.addcdiv_(first * by, denominator)
            else:
                theta.addcdiv_(first, denominator, value=by)
            return
        if self.weight_decay:
            g = g.add(theta, alpha=self.weight_decay)
        velocity = state["velocity"]
        velocity.mul_(constant(self.momentum, velocity.dtype)).add_(g)
        (by,) = numbers
        if isinstance(by, Tensor):
            theta.addcmul_(velocity, by)
        else:
            theta.add_(velocity, alpha=by)


class Several:
    """Optimisers of one name with settings of their own, each for some of the rows.

    Row by row the same arithmetic, and the same bits, as each of them alone on its rows.

    Args:
        parts: consecutive rows, all together, and their optimiser.
    """

    def __init__(self, parts: Sequence[tuple[slice, Optimiser]]):
        self.parts = parts
        self._cut: tuple[Tensor, Tensor, list[tuple[Tensor, Tensor, dict[str, Tensor]]]] | None = None

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        """Their state before the first step."""
        return self.parts[0][1].start(theta)

    def numbers(self, rates: Sequence[float], step: int) -> list[tuple[float, ...]]:
        """All that changes from step to step: of each part, with a rate for each."""
        return [rule.numbers(rate, step) for (_, rule), rate in zip(self.parts, rates, strict=True)]

    def advance(
        self, theta: Tensor, gradient: Gradient, state: dict[str, Tensor], numbers: Sequence[Numbers]
    ) -> None:
        """Change ``theta`` and ``state`` in place."""
        g = gradient(theta)
        if self.parts[0][1].name == "sam":
            g = gradient(torch.cat([rule.ascended(theta[rows], g[rows]) for rows, rule in self.parts]))
        cut = self._of_parts(theta, g, state)
        for (_, rule), own, of_part in zip(self.parts, cut, numbers, strict=True):
            rule.update(*own, of_part)

    def _of_parts(
        self, theta: Tensor, g: Tensor, state: dict[str, Tensor]
    ) -> list[tuple[Tensor, Tensor, dict[str, Tensor]]]:
        """Parameters, gradients and state of each part; cut once, where they stay in their places."""
        if self._cut is None or self._cut[0] is not theta or self._cut[1] is not g:
            cut = [
                (theta[rows], g[rows], {name: tensor[rows] for name, tensor in state.items()})
                for rows, _ in self.parts
            ]
            self._cut = theta, g, cut
        return self._cut[2]


class Theirs:
    """A user's optimiser, an object with the methods ``start`` and ``step`` of :class:`Optimiser`."""

    def __init__(self, rule: Any):
        self.rule = rule

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        """Its state before the first step."""
        return self.rule.start(theta)

    def numbers(self, rate: float, step: int) -> tuple[float, int]:
        """All that changes from step to step."""
        return rate, step

    def advance(
        self, theta: Tensor, gradient: Gradient, state: dict[str, Tensor], numbers: tuple[float, int]
    ) -> None:
        """Change ``theta`` and ``state`` in place."""
        self.rule.step(theta, gradient, state, *numbers)
