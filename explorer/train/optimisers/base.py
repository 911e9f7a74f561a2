"""What every optimiser shares. Each row of ``theta`` (models, parameters) is a model of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import explorer.train.optimisers
from explorer.settings import plugin

Gradient = Callable[
    [Tensor], Tensor
]  # theta (models, parameters) -> gradient of the mean loss, the same shape


@dataclass(frozen=True)
class Optimiser:
    """An optimiser of this package says how its state starts, and what a step does with a gradient.

    Args:
        momentum: first beta, where there are two.
        rho: of optimisers that take their gradient at another point (:meth:`ascend`).
    """

    momentum: float = 0.9
    weight_decay: float = 0.0
    rho: float = 0.05

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        """Return its state before the first step."""
        raise NotImplementedError

    def update(self, theta: Tensor, g: Tensor, state: dict[str, Tensor], rate: float, step: int) -> None:
        """Change ``theta`` and ``state`` in place, given the gradient ``g``; ``step`` counts from 0."""
        raise NotImplementedError

    def ascend(self, theta: Tensor, g: Tensor) -> Tensor | None:
        """Return the point where the gradient is taken instead, given that at ``theta``; None for there."""
        return None

    def step(
        self, theta: Tensor, gradient: Gradient, state: dict[str, Tensor], rate: float, step: int
    ) -> None:
        """Take a step: change ``theta`` and ``state`` in place."""
        g = gradient(theta)
        if (point := self.ascend(theta, g)) is not None:
            g = gradient(point)
        self.update(theta, g, state, rate, step)


def optimiser(name: str, momentum: float = 0.9, weight_decay: float = 0.0, rho: float = 0.05) -> Optimiser:
    """Return the optimiser of a name.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    module = plugin(explorer.train.optimisers, name, "optimiser")
    return module.Optimiser(momentum, weight_decay, rho)


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
        points = [rule.ascend(theta[rows], g[rows]) for rows, rule in self.parts]
        if found := [point for point in points if point is not None]:
            g = gradient(torch.cat(found))
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
