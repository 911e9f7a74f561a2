"""Gaussian processes of one measure on one map: fitted, predicted, and continued as if more were measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from explorer.settings import seed_for

AMPLITUDE, LENGTH = 1.5, 1.0  # medians of the kernel's priors; a length is in widths of the grid
FACTORS = (0.55, 1.0, 1.8)  # of the most probable length scales: those of the kernels that are averaged
KERNEL_CELLS = 150  # the kernel is fitted to at most so many cells, drawn from those of the map


class Process(NamedTuple):
    """Gaussian processes with several kernels, averaged with weights; without any, a normal distribution.

    They describe values of mean ``centre`` and deviation ``scale``.
    """

    centre: float
    scale: float
    fitted: list[Any]
    weights: np.ndarray

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.fitted:
            return np.full(len(x), self.centre), np.full(len(x), self.scale)
        means, spreads = map(
            np.array, zip(*(one.predict(x, return_std=True) for one in self.fitted), strict=True)
        )
        return self.mixed(means, spreads)

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of each value from the others, (values,) each."""
        from scipy.linalg import cho_solve

        pairs = []
        for one in self.fitted:
            variance = 1 / np.diag(cho_solve((one.L_, True), np.eye(len(one.L_))))
            pairs.append((one.y_train_ - one.alpha_ * variance, np.sqrt(variance)))
        return self.mixed(*map(np.array, zip(*pairs, strict=True)))

    def mixed(self, means: np.ndarray, spreads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation over the kernels, (cells,), from those of each, (kernels, cells)."""
        mean = self.weights @ means
        spread = np.sqrt(self.weights @ (spreads**2 + (means - mean) ** 2))
        return self.centre + self.scale * mean, self.scale * spread


def fit_process(x: np.ndarray, y: np.ndarray, prior: tuple[float, float], noise: float) -> Process:
    """Return Gaussian processes (Matérn 3/2, a length scale per axis, noise) around the most probable one.

    Few cells do not determine the length scales, so longer and shorter ones are averaged with it, each with
    its posterior density as weight.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    if len(y) < 2:
        return Process(*prior, [], np.ones(0))
    centre, scale = float(y.mean()), max(float(y.std()), 1e-6)
    y = (y - centre) / scale
    lengths: Any = np.full(x.shape[1], LENGTH)
    kernel = ConstantKernel(AMPLITUDE, (1e-3, 1e3)) * Matern(lengths, (1e-2, 1e2), nu=1.5)
    kernel += WhiteKernel(noise, (1e-5, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound
        some = np.random.default_rng(seed_for("refine", "kernel")).permutation(len(y))[:KERNEL_CELLS]
        best = regressor(kernel, _most_probable).fit(x[some], y[some]).kernel_
    fitted, density = [], []
    for factor in FACTORS:
        theta = best.theta.copy()
        theta[1:-1] += np.log(factor)
        theta = np.clip(theta, best.bounds[:, 0], best.bounds[:, 1])
        fitted.append(regressor(best.clone_with_theta(theta)).fit(x, y))
        away = theta - kernel.theta
        density.append(fitted[-1].log_marginal_likelihood_value_ - float(away @ away) / 2)
    weights = np.exp(np.array(density) - max(density))
    return Process(centre, scale, fitted, weights / weights.sum())


def regressor(kernel: Any, optimizer: Any = None) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor

    return GaussianProcessRegressor(kernel, optimizer=optimizer)


def _most_probable(
    objective: Callable[..., Any], start: np.ndarray, bounds: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the logarithms of the kernel's parameters with the largest posterior density.

    Their prior is a normal distribution around ``start`` with deviation 1. With few cells, the likelihood
    alone may have its maximum at a bound. Parameters are rounded, so machines that compute the last bit
    differently agree.
    """
    from scipy.optimize import minimize

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(theta)
        away = theta - start
        return value + float(away @ away) / 2, gradient + away

    best = np.round(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x, 2)
    best = np.clip(best, bounds[:, 0], bounds[:, 1])
    return best, loss(best)[0]


class Following:
    """Predictions in some cells, (cells,), as if some of them were measured and had the predicted values.

    Such a measurement does not move the means. It lowers the variance of each cell by the square of its
    covariance with the measured cell over that cell's variance.
    """

    def __init__(self, process: Process, x: np.ndarray) -> None:
        from scipy.linalg import solve_triangular

        self.process, self.x = process, x
        self.means, self.variances, self.factors = [], [], []
        for one in process.fitted:
            mean, spread = one.predict(x, return_std=True)
            self.means.append(mean)
            self.variances.append(spread**2)
            self.factors.append([solve_triangular(one.L_, one.kernel_(one.X_train_, x), lower=True)])

    def add(self, place: int) -> None:
        """Take the cell at ``place`` as measured."""
        for one, variance, factor in zip(self.process.fitted, self.variances, self.factors, strict=True):
            covariance = one.kernel_(self.x, self.x[place : place + 1])[:, 0]
            covariance -= sum(rows.T @ rows[:, place] for rows in factor)
            factor.append((covariance / np.sqrt(variance[place]))[None])
            variance -= factor[-1][0] ** 2

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of a measurement in each cell."""
        if not self.process.fitted:
            return self.process.at(self.x)
        return self.process.mixed(np.array(self.means), np.sqrt(np.maximum(self.variances, 0.0)))


def one_thread() -> Any:
    """Return a context in which linear algebra has one thread: small matrices are slower with more.

    The results then do not depend on the number of cores either.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)
