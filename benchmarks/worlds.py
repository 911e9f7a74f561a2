"""Simulated runs whose truth is known, of 8 widths x 5 batch sizes x 5 seeds, and promises about them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

WIDTHS, BATCHES, SEEDS = (2, 4, 8, 16, 32, 64, 128, 256), (8, 16, 32, 64, 128), 5
SHAPE = (len(WIDTHS), len(BATCHES))
AXES = {"load": ["width"], "temperature": ["batch_size"]}
MEANS = {
    "test_accuracy_percent": 85.0, "train_loss": 0.001, "train_error_percent": 0.1, "hessian_trace": 10.0,
    "hessian_top_eigenvalue": 3.0, "mode_connectivity": 0.0, "cka": 0.8, "l2_distance": 20.0,
}  # fmt: skip
# Standard deviation between models (of a pair: of each of its two models), as a share for positive measures.
NOISE = {
    "test_accuracy_percent": 1.0, "train_loss": 0.05, "train_error_percent": 0.0, "hessian_trace": 0.05,
    "hessian_top_eigenvalue": 0.05, "mode_connectivity": 0.1, "cka": 0.005, "l2_distance": 0.2,
}  # fmt: skip
RELATIVE = ("train_loss", "hessian_trace", "hessian_top_eigenvalue")
OF_PAIRS = ("mode_connectivity", "cka", "l2_distance")


class Promise(NamedTuple):
    """A rate that Explorer promises in worlds whose truth is known.

    Args:
        says: what is promised, in words.
        rate: returns the rate over a number of worlds.
        low: lowest rate that keeps the promise; ``high``: the highest.
        worlds: number of worlds of the full simulation; ``few``: of its test.
    """

    says: str
    rate: Callable[[int], float]
    low: float = 0.0
    high: float = 1.0
    worlds: int = 60
    few: int = 3


def world(
    random: np.random.Generator, *, seeds: int = SEEDS, noise: dict[str, Any] | None = None, **means: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return models and pairs of a world; ``means`` are true means by measure, a number or (8, 5) of them.

    A text or number that is no measure becomes a column, such as ``label_noise=0.2``.
    """
    sizes = {**NOISE, **(noise or {})}
    width, batch = (np.repeat(a.ravel(), seeds) for a in np.meshgrid(WIDTHS, BATCHES, indexing="ij"))
    cells, seed = (
        np.repeat(np.arange(width.size // seeds), seeds),
        np.tile(np.arange(seeds), SHAPE[0] * SHAPE[1]),
    )
    ids = np.array([f"{c}-{s}" for c, s in zip(cells, seed, strict=True)])
    place = {"width": width, "batch_size": batch, "cell_id": np.char.add("c", cells.astype(str))}
    models: dict[str, Any] = {"model_id": ids, **place, "seed": seed, "status": "ok"}
    models |= {k: v for k, v in means.items() if k not in MEANS}
    first, second = np.array(list(itertools.combinations(range(seeds), 2))).reshape(-1, 2).T
    start = np.arange(width.size // seeds)[:, None] * seeds
    a, b = (start + first).ravel(), (start + second).ravel()
    pairs: dict[str, Any] = {"model_a": ids[a], "model_b": ids[b], "status": "ok"}
    pairs |= {k: v[a] for k, v in place.items()}
    for name, default in MEANS.items():
        mean = np.broadcast_to(np.asarray(means.get(name, default), dtype=float), SHAPE).ravel()
        size = np.broadcast_to(np.asarray(sizes[name], dtype=float), SHAPE).ravel()
        own = np.repeat(size, seeds) * random.normal(size=width.size)
        if name in OF_PAIRS:
            pairs[name] = np.repeat(mean, len(first)) + own[a] + own[b]
        else:
            models[name] = (
                np.repeat(mean, seeds) * np.exp(own) if name in RELATIVE else np.repeat(mean, seeds) + own
            )
    return pd.DataFrame(models), pd.DataFrame(pairs)


def worlds(n: int, seed: int = 0, **options: Any) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Return ``n`` worlds; an option that is a function of a random generator is drawn for each world."""
    for k in range(n):
        random = np.random.default_rng([seed, k])
        drawn: dict[str, Any] = {name: v(random) if callable(v) else v for name, v in options.items()}
        yield world(random, **drawn)


def one_better(points: float = 3.0, at: tuple[int, int] = (5, 3), mean: float = 85.0) -> np.ndarray:
    """Return accuracies of which one is better by ``points``."""
    accuracy = np.full(SHAPE, mean)
    accuracy[at] += points
    return accuracy
