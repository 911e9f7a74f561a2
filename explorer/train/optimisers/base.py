"""Base of all optimisers. Each row of ``theta`` (models, parameters) is a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import explorer.train.optimisers
from explorer.settings import plugin

Gradient = Callable[[Tensor], Tensor]  # theta (models, parameters) -> gradient of the mean loss at theta
Views = tuple[Tensor, Tensor, dict[str, Tensor]]  # parameters, gradient and state of a group of models


@dataclass(frozen=True)
class Optimiser:
    """Base class: an optimiser defines its initial state, and the update for a gradient.

    Args:
        momentum: momentum, or the first of two betas.
        rho: radius of optimisers that take their gradient at another point (:meth:`ascend`).
    """

    momentum: float = 0.9
    weight_decay: float = 0.0
    rho: float = 0.05

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the state before the first step."""
        raise NotImplementedError

    def update(self, theta: Tensor, g: Tensor, state: dict[str, Tensor], rate: float, step: int) -> None:
        """Change ``theta`` and ``state`` in place, given the gradient ``g``; ``step`` counts from 0."""
        raise NotImplementedError

    def ascend(self, theta: Tensor, g: Tensor) -> Tensor | None:
        """Return the point for the gradient, given gradient ``g`` at ``theta``; None means ``theta``."""
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
    """Return the optimiser with this name.

    Raises:
        InputError: no optimiser has this name; the message lists the known names.
    """
    module = plugin(explorer.train.optimisers, name, "optimiser")
    return module.Optimiser(momentum, weight_decay, rho)


class PerRowOptimiser:
    """Optimisers of one kind with different settings, each for a group of models.

    Each group gives the same bits as its optimiser alone on its models.

    Args:
        groups: slices of consecutive models that cover all models, and their optimisers.
    """

    def __init__(self, groups: Sequence[tuple[slice, Optimiser]]):
        self.groups = groups
        self._views: tuple[Tensor, Tensor, list[Views]] | None = None

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the joint state before the first step."""
        return self.groups[0][1].start(theta)

    def step(
        self, theta: Tensor, gradient: Gradient, state: dict[str, Tensor], rates: Sequence[float], step: int
    ) -> None:
        """Change ``theta`` and ``state`` in place, with one rate per group; ``step`` counts from 0."""
        views = self._views_of(theta, gradient(theta), state)
        optimisers = [optimiser for _, optimiser in self.groups]
        points = [one.ascend(*view[:2]) for one, view in zip(optimisers, views, strict=True)]
        if moved := [point for point in points if point is not None]:
            views = self._views_of(theta, gradient(torch.cat(moved)), state)
        for one, view, rate in zip(optimisers, views, rates, strict=True):
            one.update(*view, rate, step)

    def _views_of(self, theta: Tensor, g: Tensor, state: dict[str, Tensor]) -> list[Views]:
        """Return parameters, gradients and state of each group; cached while the tensors are the same."""
        if self._views is None or self._views[0] is not theta or self._views[1] is not g:
            views = [
                (theta[rows], g[rows], {name: tensor[rows] for name, tensor in state.items()})
                for rows, _ in self.groups
            ]
            self._views = theta, g, views
        return self._views[2]
