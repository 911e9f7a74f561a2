"""MNIST-1D: signals of 40 numbers that imitate the ten digits (Greydanus and Kobak, 2020).

The authors' package ``mnist1d`` generates them with its own settings and seed, without a download.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from pydantic import Field

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import Arrays
from explorer.settings import InputError


class Options(DataOptions):
    """By default at most 4,000 training inputs and 1,000 test inputs of shape (40,), 10 classes."""

    signals: int = Field(
        default=5000, ge=20, multiple_of=10, description="number of signals; four fifths are for training"
    )


def available(options: Options) -> tuple[int, int]:
    train = int(options.signals * 0.8)
    return counts(options, train, options.signals - train, load)


def load(options: Options) -> Arrays:
    """Return the signals that the package generates. The default of 5,000 gives those of the paper.

    Raises:
        InputError: the package is not installed.
    """
    try:
        from mnist1d.data import get_dataset_args, make_dataset  # pyright: ignore[reportMissingImports] (an extra)
    except ImportError as error:
        raise InputError(f"MNIST-1D needs the package mnist1d: pip install mnist1d ({error})") from error
    arguments: Any = get_dataset_args()
    arguments.num_samples = options.signals
    # The package seeds and uses the global generators.
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        signals = make_dataset(arguments)
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
    return Arrays(
        signals["x"].astype(np.float32), signals["y"].astype(np.int64),
        signals["x_test"].astype(np.float32), signals["y_test"].astype(np.int64), classes=10,
    )  # fmt: skip
