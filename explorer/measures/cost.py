"""What a measure costs, counted in gradients, for the estimate of ``check``."""

from __future__ import annotations

from typing import Any, NamedTuple

# Gradients that a forward and a Hessian-vector product cost; share of the products taken until convergence.
FORWARD, PRODUCT, TAKEN = 1 / 3, 2, 1 / 3
Call = tuple[float, int, int]  # gradients of the losses of so many models, each on so many inputs


class Size(NamedTuple):
    """What there is to measure: subjects (models, pairs or cells), models of the cell, inputs of its data."""

    subjects: int
    models: int
    train: int
    test: int
    norms: bool  # the network has BatchNorm, whose statistics are estimated again at each point of a path


def products(options: Any, size: Size, number: float) -> list[Call]:
    """Return the cost of so many Hessian-vector products a model, on the ``inputs`` of the options."""
    inputs = size.train if options.inputs == "all" else min(options.inputs, size.train)
    return [(PRODUCT * number, size.subjects, inputs)]


def path(size: Size, points: int) -> list[Call]:
    """Return the cost of evaluating so many points of a path for each pair."""
    return [(FORWARD * points, size.subjects, size.train * (2 if size.norms else 1) + size.test)]


def forward(size: Size, models: int, inputs: int = 0) -> list[Call]:
    """Return the cost of the outputs of so many models on the test inputs and so many others."""
    return [(FORWARD, models, inputs + size.test)]
