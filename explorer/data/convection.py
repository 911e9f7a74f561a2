"""One-dimensional convection, u_t + β u_x = 0 on a circle, learned from values or from the equation.

With u(x, 0) = sin x and period 2π in x, the solution is u(x, t) = sin(x − β t), for t from 0 to 1. A higher β
makes the problem harder. At β = 30, networks that are trained on the equation fail (Krishnapriyan et al.,
2021, "Characterizing possible failure modes in physics-informed neural networks").

The targets are √2 u, which has variance 1 over the test grid. An error in percent is therefore the share of
unexplained variance. The equation is linear, so √2 u solves it as well.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from explorer.data.base import SubsetOptions
from explorer.data.dataset import Arrays
from explorer.settings import InputError, seed_for

TASKS = ("regression",)
GRID = (64, 33)  # test points along x and t
PERIOD = 2 * math.pi
RANGES = np.array([PERIOD, 1])  # of x and t
SCALE = math.sqrt(2)  # 1 over the standard deviation of a sine


class Options(SubsetOptions):
    """Points (x, t) with values of u; or, with ``physics``, points of the initial condition and the equation.

    ``physics: true`` is for the network ``pinn``. Its inputs are (x, t, β) and its outputs (u, u_t + β u_x).
    Points at t = 0 have a target for the first output. Collocation points have the target 0 for the second
    output. The boundary needs no points: the network takes x as (cos x, sin x) and is therefore periodic.
    """

    beta: float = Field(default=1.0, ge=0, le=1000, description="speed β of the convection")
    points: int = Field(
        default=1000,
        ge=2,
        le=10**6,
        description="training points with a value of u: anywhere, or at t = 0 with physics",
    )
    noise: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        description="standard deviation of the noise on these values, in units of u's; same for all models",
    )
    physics: bool = Field(default=False, description="learn from the initial condition and the equation")
    collocation: int = Field(
        default=1000, ge=1, le=10**6, description="training points for the equation, with physics"
    )

    @model_validator(mode="after")
    def _used(self) -> Options:
        if not self.physics and self.collocation != Options.model_fields["collocation"].default:
            raise ValueError(
                "collocation is the number of points of physics: true; physics is false. Remove it"
            )
        return self


def check(cell: Any) -> None:
    """Raise InputError if a cell with ``physics`` has an architecture without the derivative as output.

    A user's own network is accepted.
    """
    if cell.data.physics and cell.model_name != "pinn" and ":" not in cell.model_name:
        raise InputError(
            f"physics: true needs a derivative as output, which {cell.model_name} does not have; "
            f"use pinn, or physics: false"
        )


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test points."""
    return options.points + (options.collocation if options.physics else 0), math.prod(GRID)


def _draw_points(what: str, count: int) -> np.ndarray:
    """Return points (count, 2), uniform in x and t, the same for each β. Smaller sets are nested."""
    return np.random.default_rng(seed_for("convection", what)).random((count, 2)) * RANGES


def _solve(points: np.ndarray, beta: float) -> np.ndarray:
    return SCALE * np.sin(points[:, :1] - beta * points[:, 1:])  # (points, 1)


def load(options: Options) -> Arrays:
    """Return x (points, 2) of (x, t) and y (points, 1); with ``physics``, (points, 3) and (points, 2).

    Without physics, x and t are scaled to mean 0 and standard deviation 1 over their ranges. With physics
    they are not scaled, because the network differentiates by them. NaN marks an output without a target. The
    test points are a grid with targets for u only.
    """
    x_train = _draw_points("points", options.points)
    if options.physics:
        x_train[:, 1] = 0
    noise = np.random.default_rng(seed_for("convection", "noise")).standard_normal((options.points, 1))
    y_train = _solve(x_train, options.beta) + options.noise * noise
    x, t = np.arange(GRID[0]) * PERIOD / GRID[0], np.linspace(0, 1, GRID[1])
    x_test = np.stack(np.meshgrid(x, t, indexing="ij"), axis=-1).reshape(-1, 2)
    y_test = _solve(x_test, options.beta)
    if options.physics:
        inside = _draw_points("collocation", options.collocation)
        missing = np.full((len(inside), 1), np.nan)
        y_train = np.block([[y_train, np.full_like(y_train, np.nan)], [missing, np.zeros_like(missing)]])
        y_test = np.hstack([y_test, np.full_like(y_test, np.nan)])
        x_train, x_test = (
            np.hstack([points, np.full((len(points), 1), options.beta)])
            for points in (np.vstack([x_train, inside]), x_test)
        )
    else:  # a uniform variable on [0, 1] has variance 1/12
        x_train, x_test = ((points / RANGES - 0.5) * math.sqrt(12) for points in (x_train, x_test))
    arrays = (array.astype(np.float32) for array in (x_train, y_train, x_test, y_test))
    return Arrays(*arrays, classes=y_train.shape[1])
