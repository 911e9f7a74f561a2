"""Data set in memory, and validation of a user's arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explorer.settings import InputError

KEYS = ("x_train", "y_train", "x_test", "y_test")  # names of a user's arrays


@dataclass(frozen=True)
class Arrays:
    """A data set in memory.

    ``x_train`` and ``x_test`` are float32 (inputs, *shape). For classification, ``y_train`` and ``y_test``
    are int64 (inputs,) from 0 to ``classes`` - 1. For regression they are float32 (inputs, classes), with NaN
    for a missing target. For sequences, all arrays are token ids below ``classes`` (see
    :mod:`explorer.tasks`), and ``vocabulary`` maps them to text.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    vocabulary: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.x_train.shape[1:]

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of training and test inputs."""
        return len(self.x_train), len(self.x_test)


def checked_arrays(where: str, content: dict[str, np.ndarray]) -> Arrays:
    """Return a user's arrays, named as in ``KEYS``, with inputs as float32 and labels as class numbers.

    Labels that are floats are regression targets, (inputs,) or (inputs, numbers), returned as float32.

    Raises:
        InputError: shapes do not match, a label is not a class number, or a number is not finite. The message
            begins with ``where``, the source of the arrays.
    """
    x_train, y_train = _checked_part(where, "train", content["x_train"], content["y_train"])
    x_test, y_test = _checked_part(where, "test", content["x_test"], content["y_test"])
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(f"{where}: training and test inputs have different shapes")
    if y_train.dtype != y_test.dtype or y_train.shape[1:] != y_test.shape[1:]:
        raise InputError(
            f"{where}: y_train and y_test should both hold class numbers, or both floats of the same width"
        )
    if y_train.ndim == 2:
        return Arrays(x_train, y_train, x_test, y_test, classes=y_train.shape[1])
    labels = np.concatenate([y_train, y_test])
    if labels.min() > 0:
        raise InputError(f"{where}: the smallest label is {labels.min()}; classes are numbered from 0")
    classes = int(labels.max()) + 1
    check_classes(where, classes, len(y_train))
    return Arrays(x_train, y_train, x_test, y_test, classes=classes)


def check_classes(where: str, classes: int, inputs: int) -> None:
    """Raise InputError if ``classes`` is below 2 or above the number of training inputs."""
    if classes < 2:
        raise InputError(f"{where}: there is only one class; at least 2 are needed")
    if classes > inputs:
        raise InputError(
            f"{where}: the largest label is {classes - 1}, with {inputs} training inputs; "
            "number the classes from 0 on, without gaps"
        )


def _checked_part(where: str, part: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs (inputs, …) as float32, and labels (inputs,) or float32 targets (inputs, numbers)."""
    numbers = y.dtype.kind == "f"
    if y.ndim not in ((1, 2) if numbers else (1,)) or x.ndim < 2 or len(x) != len(y) or not x.size:
        raise InputError(
            f"{where}: x_{part} {x.shape} and y_{part} {y.shape} should be (inputs, …) and (inputs,)"
        )
    if x.dtype.kind not in "buif":
        raise InputError(f"{where}: x_{part} holds {x.dtype}; numbers are needed")
    with np.errstate(over="ignore"):  # overflow gives infinity, which the next checks report
        x = x.astype(np.float32)
        y = y.astype(np.float32).reshape(len(y), -1) if numbers else y
    if not np.isfinite(x).all():
        raise InputError(f"{where}: x_{part} holds values that are not finite")
    if numbers:
        if np.isinf(y).any() or np.isnan(y).all(0).any():
            raise InputError(
                f"{where}: y_{part} holds infinite values, or a number that is NaN for every input"
            )
        return x, y
    if y.dtype.kind not in "bui" or y.min() < 0:
        raise InputError(
            f"{where}: y_{part} should hold class numbers from 0, whole and not negative "
            f"(or floats, for task: regression)"
        )
    return x, y.astype(np.int64)
