"""Cost of a measure, counted in gradients, for the estimate of ``check``."""

from __future__ import annotations

from typing import Any, NamedTuple

# Cost of a forward pass and of a Hessian-vector product in gradients, and the share of the budgeted products
# that is typically used before convergence.
FORWARD, PRODUCT, TAKEN = 1 / 3, 2, 1 / 3
Call = tuple[float, int, int]  # number of gradients, number of models, inputs per gradient


class CellSize(NamedTuple):
    """Numbers of subjects (models, pairs or cells), models of the cell, and training and test inputs."""

    subjects: int
    models: int
    train: int
    test: int
    norms: bool  # the network has BatchNorm; its statistics are re-estimated at each point of a path


def products(options: Any, size: CellSize, number: float) -> list[Call]:
    """Return the cost of ``number`` Hessian-vector products per model, on the ``inputs`` of the options."""
    inputs = size.train if options.inputs == "all" else min(options.inputs, size.train)
    return [(PRODUCT * number, size.subjects, inputs)]


def path(size: CellSize, points: int) -> list[Call]:
    """Return the cost of evaluating ``points`` points of a path for each pair."""
    return [(FORWARD * points, size.subjects, size.train * (2 if size.norms else 1) + size.test)]


def forward(size: CellSize, models: int, inputs: int = 0) -> list[Call]:
    """Return the cost of the outputs of ``models`` models on the test inputs and ``inputs`` other inputs."""
    return [(FORWARD, models, inputs + size.test)]
