"""Noise of cell means: standard errors with degrees of freedom, and Student's t."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column

LEAST_VARIANCE = 1e-5  # share of the median variance; a smaller one is rounding
MANY = 1e6  # degrees of freedom at which Student's t is normal


class Errors(NamedTuple):
    """Standard errors of means and their degrees of freedom, (cells,) each; NaN and 0 if unknown."""

    stderr: np.ndarray
    df: np.ndarray


def moderated_errors(cells: pd.DataFrame, name: str) -> Errors:
    """Return the standard error of each cell's mean of a measure of models, moderated over cells.

    The variance between five models has a standard deviation of 70 %. So each cell's variance is averaged
    with that of all cells, with weights that depend on how much the variances differ beyond chance (empirical
    Bayes; Smyth, "Linear models and empirical Bayes methods", 2004). If they do not, all cells share one
    variance. If the number of models is unknown, one is assumed.
    """
    from scipy.special import polygamma, psi

    spread = column(cells, f"{name}_std").to_numpy()
    n = column(cells, "n_models").fillna(0.0).to_numpy()
    known = np.isfinite(spread) & ((n >= 2) | (n == 0))
    n = np.where(n == 0, 1.0, n)
    stderr, df = np.full(len(cells), np.nan), np.zeros(len(cells))
    if not known.any():
        return Errors(stderr, df)
    own, variance = np.maximum(n[known] - 1, 1.0), spread[known] ** 2
    positive = variance[variance > 0]
    if not len(positive):
        stderr[known], df[known] = 0.0, own
        return Errors(stderr, df)
    variance = np.maximum(variance, LEAST_VARIANCE * np.median(positive))
    e = np.log(variance) - psi(own / 2) + np.log(own / 2)
    excess = float(np.mean((e - e.mean()) ** 2 * len(e) / max(len(e) - 1, 1) - polygamma(1, own / 2)))
    prior = 2 * _inverse_trigamma(excess) if excess > 0 else MANY
    shared = float(np.exp(e.mean() + psi(prior / 2) - np.log(prior / 2)))
    if prior >= MANY:
        shared = float((own * variance).sum() / own.sum())
    every, posterior = np.zeros(len(cells)), np.full(len(cells), shared)
    every[known] = own
    posterior[known] = (prior * shared + own * variance) / (prior + own)
    measured = np.isfinite(column(cells, name).to_numpy())
    stderr[measured] = np.sqrt(posterior[measured] / n[measured])
    df[measured] = np.minimum(prior + every[measured], float(own.sum()))
    return Errors(stderr, df)


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = ``value`` > 0, by Newton's method on 1/trigamma, which is nearly linear."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(20):
        trigamma = float(polygamma(1, x))
        x += trigamma * (1 - trigamma / value) / float(polygamma(2, x))
    return x


def t_quantile(level: float | np.ndarray, df: float | np.ndarray) -> np.ndarray:
    """Return the quantile of Student's t at ``level``; infinite for ``df`` 0."""
    from scipy.special import stdtrit

    df = np.asarray(df, dtype=float)
    return np.where(
        df > 0, stdtrit(np.clip(df, 1e-3, MANY), level), np.inf * np.sign(np.subtract(level, 0.5))
    )


def t_above(t: float | np.ndarray, df: float | np.ndarray) -> np.ndarray:
    """Return the probability that Student's t is above ``t``."""
    from scipy.special import stdtr

    return stdtr(np.minimum(df, MANY), -np.asarray(t, dtype=float))
