"""Digits: 1,797 real 8×8 images of handwritten digits, shipped with scikit-learn (UCI ML repository)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import Arrays
from explorer.settings import seed_for

TRAIN = 1000


class Options(DataOptions):
    """1,000 training inputs at most and 797 test inputs of shape (1, 8, 8), 10 classes."""


def available(options: Options) -> tuple[int, int]:
    return counts(options, TRAIN, 797, load)


def load(options: Options) -> Arrays:
    """Return the images scaled to 0 … 1. The split is a fixed shuffle: the file is sorted by writer."""
    images, labels = _images()
    order = np.random.default_rng(seed_for("digits", "split")).permutation(len(images))
    x = (images[order] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    y = labels[order].astype(np.int64)
    return Arrays(x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:], classes=10)


def _images() -> tuple[np.ndarray, np.ndarray]:
    """Return images (1797, 64) with values 0, 1, …, 16, and labels (1797,)."""
    # Read the file from the package folder (10 ms): importing scikit-learn takes a second.
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder) / "datasets/data/digits.csv.gz"
        if file.exists():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return bunch.data, bunch.target
