"""A data set in memory, and the check of arrays that a user brings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explorer.settings import InputError

KEYS = ("x_train", "y_train", "x_test", "y_test")  # of the arrays that a user brings


@dataclass(frozen=True)
class Arrays:
    """A data set in memory.

    ``x_train`` and ``x_test`` are float32 of (inputs, *shape), ``y_train`` and ``y_test`` int64 of
    (inputs,), from 0 to ``classes`` - 1; for regression float32 of (inputs, classes), NaN where nothing
    is asked; for sequences all are token ids (see :mod:`explorer.tasks`), below ``classes``, and
    ``vocabulary`` says which text they stand for.
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
    """A user's own arrays, by the names in ``KEYS``: inputs as float32, labels as class numbers.

    Labels that are floats are the targets of a regression, (inputs,) or (inputs, numbers), as float32.

    Raises:
        InputError: shapes do not fit, a label is no class number, or a number is not finite; the message
            begins with ``where`` they come from.
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
        with np.errstate(over="ignore"):  # becomes infinite, which the next line reports
            x[part] = x[part].astype(np.float32)
        if not np.isfinite(x[part]).all():
            raise InputError(f"{where}: x_{part} holds values that are not finite")
        y[part] = _targets(where, part, y[part]) if numbers else _labels(where, part, y[part])
    if x["train"].shape[1:] != x["test"].shape[1:]:
        raise InputError(f"{where}: training and test inputs have different shapes")
    if y["train"].dtype != y["test"].dtype or y["train"].shape[1:] != y["test"].shape[1:]:
        raise InputError(
            f"{where}: y_train should hold class numbers, and y_test too; or both floats, of as many numbers"
        )
    if y["train"].ndim == 1 and (lowest := min(y["train"].min(), y["test"].min())) > 0:
        raise InputError(f"{where}: the smallest label is {lowest}; classes are numbered from 0")
    classes = y["train"].shape[1] if y["train"].ndim == 2 else int(max(y["train"].max(), y["test"].max())) + 1
    if y["train"].ndim == 1:
        check_classes(where, classes, len(y["train"]))
    return Arrays(x["train"], y["train"], x["test"], y["test"], classes=classes)


def check_classes(where: str, classes: int, inputs: int) -> None:
    """Raises InputError where labels from 0 to ``classes`` - 1 of so many training inputs are no classes."""
    if classes < 2:
        raise InputError(f"{where}: there is only one class")
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
