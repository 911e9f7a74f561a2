"""Targets as people store them: class numbers, words, truth values, one-hot rows, or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer.settings import InputError, cut

IGNORED = -100  # label of inputs, and of positions of a text, that torch's losses leave out
NUMBERS = (bool, int, float, np.number)  # types of the numbers among Python objects
Parts = tuple[np.ndarray, np.ndarray]  # of training and test inputs


@dataclass(frozen=True)
class Targets:
    """Targets of training and test inputs, in each way in which they can be read.

    Args:
        labels: class numbers, int64 (inputs,), from 0 in the order of ``names``; None if they are not labels.
        names: what the source calls each class.
        numbers: targets of a regression, float32 (inputs, numbers); None if they are no numbers.
        literal: the class numbers are those that earlier versions read.
        problem: why the targets are no classes, and what to do; empty if they are.
    """

    labels: Parts | None
    names: tuple[str, ...]
    numbers: Parts | None
    literal: bool
    problem: str = ""


def read_targets(where: str, train: np.ndarray, test: np.ndarray) -> Targets:
    """Return targets of shape (inputs,), (inputs, 1) or (inputs, numbers).

    Labels may be words, truth values, or whole numbers, also if stored as floats. Classes are numbered in the
    order of the labels, without gaps: 0, 50 and 100 are three classes. Rows with a single 1 are one-hot.

    Raises:
        InputError: the targets are of different kinds, not finite, or neither labels nor numbers; or they
            can only be labels, and those of test inputs are unknown. The message begins with ``where``.
    """
    parts = []
    for part, y in (("train", train), ("test", test)):
        if y.dtype.kind == "O" and y.size:
            if all(isinstance(value, str) for value in y.flat):
                y = y.astype(str)
            elif all(isinstance(value, NUMBERS) for value in y.flat):
                y = np.array(y.tolist())
        if y.dtype.kind == "S":
            y = np.char.decode(y, "utf-8", "backslashreplace")
        if y.dtype.kind not in "biufUS" or y.ndim not in (1, 2) or not y.size:
            raise InputError(
                f"{where}: y_{part} holds {y.dtype} {y.shape}{_odd(part, y)}; give labels (words or whole "
                "numbers) or numbers, of shape (inputs,) or (inputs, numbers)"
            )
        parts.append(y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y)
    first, second = parts
    words = [y.dtype.kind in "US" for y in parts]
    if first.shape[1:] != second.shape[1:] or words[0] != words[1]:
        raise InputError(
            f"{where}: y_train is {first.dtype} {first.shape} and y_test {second.dtype} {second.shape}; both "
            "should be of one kind and width"
        )
    numbers = None if words[0] else (_numbers(where, "train", first), _numbers(where, "test", second))
    if problem := _problem("train", first) or _problem("test", second):
        return Targets(None, (), numbers, False, problem)
    if first.ndim == 2:
        names = tuple(map(str, range(first.shape[1])))
        return Targets((first.argmax(1), second.argmax(1)), names, numbers, False)
    if first.dtype.kind == "f" or second.dtype.kind == "f":
        first, second = first.astype(np.int64), second.astype(np.int64)
    unseen = np.setdiff1d(second, first)
    if len(unseen):
        problem = (
            f"{unseen.tolist()[0]!r} is a label of test inputs, and no training input has it; leave these "
            "test inputs out, or add training inputs of this class"
        )
        if numbers is None:
            raise InputError(f"{where}: {problem}")
        problem += ". Numbers to predict are for task: regression"
        return Targets(None, (), numbers, False, problem)
    values = np.unique(first)
    labels = np.searchsorted(values, first), np.searchsorted(values, second)
    literal = first.dtype.kind != "i" or bool((values == np.arange(len(values))).all())
    return Targets(labels, tuple(map(str, values.tolist())), numbers, literal)


def _problem(part: str, y: np.ndarray) -> str:
    """Return why targets (inputs,) or (inputs, numbers) are no classes, and what to do; empty if they are."""
    if y.ndim == 2:
        if (one_hot := np.isin(y, (0, 1)).all(1) & (y.sum(1) == 1)).all():
            return ""
        row = int((~one_hot).argmax())
        return (
            f"y_{part}[{row}] is {y[row].round(4).tolist()}, which is no row with a single 1. For classes, "
            "give their numbers, such as y.argmax(1); numbers to predict are for task: regression"
        )
    if y.dtype.kind in "US":
        return ""
    if not (whole := _whole(y)).all():
        row = int((~whole).argmax())
        return (
            f"y_{part}[{row}] is {as_python(y[row])}, which is no label. For classes, give whole numbers or "
            "words, and leave out inputs without a label; numbers to predict are for task: regression"
        )
    if (y == IGNORED).any() and (y[y != IGNORED] >= 0).all():
        return (
            f"y_{part}[{int((y == IGNORED).argmax())}] is {IGNORED}, which torch's losses leave out "
            "(ignore_index), and which would be a class here; leave these inputs out, or give words as "
            "labels if it is a class"
        )
    return ""


def _numbers(where: str, part: str, y: np.ndarray) -> np.ndarray:
    """Return float32 (inputs, numbers). A target may be NaN, which is not scored."""
    y = y.reshape(len(y), -1)
    with np.errstate(over="ignore"):  # overflow gives infinity, which is reported
        numbers = y.astype(np.float32)
    bad = np.isinf(numbers).any(1)
    if bad.any() or np.isnan(numbers).all(0).any():
        place = int(bad.argmax()) if bad.any() else 0
        raise InputError(
            f"{where}: y_{part} is {y[place].tolist()} for input {place}; targets must be finite in float32, "
            "and a number may be NaN (not known) for some inputs, not for all"
        )
    return numbers


def _odd(part: str, y: np.ndarray) -> str:
    """Return place and value of the first target that is no word and no number, or is not like the first."""
    if not y.size:
        return ""
    words = [isinstance(value, str) for value in y.flat]
    neither = [not (word or isinstance(v, NUMBERS)) for word, v in zip(words, y.flat, strict=True)]
    others = [word != words[0] for word in words]
    odd = next((wrong.index(True) for wrong in (neither, others) if True in wrong), 0)
    place = [int(i) for i in np.unravel_index(odd, y.shape)]
    return f", and y_{part}{place} is {cut(repr(as_python(y.flat[odd])), 60)}"


def _whole(y: np.ndarray) -> np.ndarray:
    """Return for each target (inputs,) whether it is a whole number."""
    # Larger floats are all whole.
    return (np.abs(y) <= 2**53) & (y == np.round(y)) if y.dtype.kind == "f" else np.ones(len(y), bool)


def as_python(value: Any) -> Any:
    """Return a number or word of an array as Python's own, which messages show without the array's type."""
    return value.item() if isinstance(value, np.generic) else value
