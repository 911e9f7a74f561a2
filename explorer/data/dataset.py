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
    x, y = {}, {}
    for part in ("train", "test"):
        x[part], y[part] = content[f"x_{part}"], content[f"y_{part}"]
        numbers = y[part].dtype.kind == "f"
        if (
            y[part].ndim not in ((1, 2) if numbers else (1,))
            or x[part].ndim < 2
            or len(x[part]) != len(y[part])
            or not x[part].size
        ):
            raise InputError(
                f"{where}: x_{part} {x[part].shape} and y_{part} {y[part].shape} "
                f"should be (inputs, …) and (inputs,)"
            )
        if x[part].dtype.kind not in "buif":
            raise InputError(f"{where}: x_{part} holds {x[part].dtype}; numbers are needed")
        with np.errstate(over="ignore"):  # overflow gives infinity, which the next check reports
            x[part] = x[part].astype(np.float32)
        if not np.isfinite(x[part]).all():
            raise InputError(f"{where}: x_{part} holds values that are not finite")
        y[part] = _targets(where, part, y[part]) if numbers else _labels(where, part, y[part])
    if x["train"].shape[1:] != x["test"].shape[1:]:
        raise InputError(f"{where}: training and test inputs have different shapes")
    if y["train"].dtype != y["test"].dtype or y["train"].shape[1:] != y["test"].shape[1:]:
        raise InputError(
            f"{where}: y_train and y_test should both hold class numbers, or both floats of the same width"
        )
    if y["train"].ndim == 1 and (lowest := min(y["train"].min(), y["test"].min())) > 0:
        raise InputError(f"{where}: the smallest label is {lowest}; classes are numbered from 0")
    classes = y["train"].shape[1] if y["train"].ndim == 2 else int(max(y["train"].max(), y["test"].max())) + 1
    if y["train"].ndim == 1:
        check_classes(where, classes, len(y["train"]))
    return Arrays(x["train"], y["train"], x["test"], y["test"], classes=classes)


def check_classes(where: str, classes: int, inputs: int) -> None:
    """Raise InputError if ``classes`` is below 2 or above the number of training inputs."""
    if classes < 2:
        raise InputError(f"{where}: there is only one class; at least 2 are needed")
    if classes > inputs:
        raise InputError(
            f"{where}: the largest label is {classes - 1}, with {inputs} training inputs; "
            "number the classes from 0 on, without gaps"
        )


def _labels(where: str, part: str, y: np.ndarray) -> np.ndarray:
    if y.dtype.kind not in "bui" or y.min() < 0:
        raise InputError(
            f"{where}: y_{part} should hold class numbers from 0, whole and not negative "
            f"(or floats, for task: regression)"
        )
    return y.astype(np.int64)


def _targets(where: str, part: str, y: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        y = y.astype(np.float32).reshape(len(y), -1)  # (inputs, numbers)
    if np.isinf(y).any() or np.isnan(y).all(0).any():
        raise InputError(f"{where}: y_{part} holds infinite values, or a number that is NaN for every input")
    return y
