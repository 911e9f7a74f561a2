"""Data corruption as functions of arrays and a seed: class subsets, balancing, label and pixel noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from explorer.data.dataset import Arrays
from explorer.settings import InputError

SHOWN = 20  # names of classes in an error


def class_numbers(clean: Arrays, classes: Sequence[int | str]) -> list[int]:
    """Return the numbers, from 0, of classes that are given by the labels of the data set.

    If labels are words, a whole number is the place of a word among all of them in order.

    Raises:
        InputError: a class does not exist or is given twice, or the targets are not classes.
    """
    if clean.y_train.dtype.kind == "f":
        raise InputError("classes: this data set has numbers as targets, not classes")
    counted = tuple(map(str, range(clean.classes)))
    names = clean.names or counted
    numeric = all(name.removeprefix("-").isdecimal() for name in names)
    number = {str(int(name)) if numeric else name: place for place, name in enumerate(names)}
    number = {**({} if numeric else dict(zip(counted, range(clean.classes), strict=True))), **number}
    unknown = [c for c in classes if str(c) not in number]
    if unknown:
        known = f"0 to {counted[-1]}" if names == counted else ", ".join(names[:SHOWN])
        raise InputError(f"classes {unknown} do not exist; the data set has classes {known}")
    numbers = [number[str(c)] for c in classes]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"classes {list(classes)}: a class is listed twice")
    return numbers


def of_classes(clean: Arrays, classes: Sequence[int | str]) -> Arrays:
    """Return the inputs of these classes (:func:`class_numbers`), renumbered from 0 in the given order.

    Raises:
        InputError: a class does not exist, or the targets are not classes.
    """
    chosen, number = class_numbers(clean, classes), np.full(clean.classes, -1)
    number[chosen] = np.arange(len(chosen))
    parts = {}
    for part in ("train", "test"):
        y = number[getattr(clean, f"y_{part}")]
        if not (y >= 0).any():
            raise InputError(f"there are no {part} inputs of classes {list(classes)}")
        parts |= {f"x_{part}": getattr(clean, f"x_{part}")[y >= 0], f"y_{part}": y[y >= 0]}
    names = tuple(clean.names[place] for place in chosen) if clean.names else ()
    return replace(clean, classes=len(classes), names=names, **parts)


def balanced(y: np.ndarray, count: int, classes: int) -> np.ndarray:
    """Return an order of the labels (inputs,) that alternates the classes; its first ``count`` are balanced.

    Raises:
        InputError: a class has too few inputs, or the targets are not classes.
    """
    if y.dtype.kind == "f":
        raise InputError("balanced: this data set has numbers as targets, not classes")
    rank = np.empty(len(y), int)  # rank of an input within its class
    for c in range(classes):
        members = np.flatnonzero(y == c)
        rank[members] = np.arange(len(members))
        if len(members) < count // classes:
            raise InputError(
                f"balanced: {count} inputs of {classes} classes need {count // classes} of each; "
                f"class {c} has {len(members)}"
            )
    order = np.argsort(rank, kind="stable")
    sizes = np.bincount(y[order[:count]], minlength=classes)
    if sizes.max() - sizes.min() > 1:
        raise InputError(
            f"balanced: {count} inputs do not divide over {classes} classes, "
            f"and too few classes have an extra input"
        )
    return order


def noisy_labels(
    y: np.ndarray, share: float, classes: int, *, kind: str, seed: int, available: int
) -> np.ndarray:
    """Return labels (inputs,) with exactly ``round(share * inputs)`` of them redrawn uniformly.

    Args:
        kind: ``other`` draws from the other classes, ``uniform`` from all classes.
        available: size of the whole data set. This many random numbers are always drawn, whatever the share
            and the subset, which makes the noise levels nested.
    """
    generator = np.random.default_rng(seed)
    ranks, shifts = generator.random(available), generator.integers(1, classes, available)
    if kind == "uniform":
        shifts = generator.integers(0, classes, available)
    wrong = np.argsort(ranks[: len(y)], kind="stable")[: round(share * len(y))]
    y = y.copy()
    y[wrong] = (y[wrong] + shifts[wrong]) % classes
    return y


def noisy_targets(y: np.ndarray, share: float, *, seed: int, available: int) -> np.ndarray:
    """Return targets with ``round(share * inputs)`` rows replaced by those of other inputs; levels nest."""
    generator = np.random.default_rng(seed)
    ranks, shifts = generator.random(available), generator.integers(1, 2**31, available)
    wrong = np.argsort(ranks[: len(y)], kind="stable")[: round(share * len(y))]
    noisy = y.copy()
    if len(y) > 1:
        noisy[wrong] = y[(wrong + 1 + shifts[wrong] % (len(y) - 1)) % len(y)]
    return noisy


def noisy_pixels(x: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Return inputs (inputs, *shape) with ``round(share * pixels)`` pixels of each replaced.

    A pixel is a position of an image with all its channels, or one number of a vector or signal. It is
    replaced by the pixel at the same position of another input, which is drawn separately for each pixel. A
    pixel thus keeps its distribution over the data set and loses the information about its own image. At
    share 1 nothing of the image is left. The levels are nested.
    """
    flat = x.reshape(len(x), *((x.shape[1], -1) if x.ndim == 4 else (1, -1)))  # (inputs, channels, pixels)
    inputs, _, pixels = flat.shape
    result = flat.copy()
    changed = round(share * pixels)
    if inputs > 1:
        for row in range(inputs):
            # One random stream per input: positions and donors do not depend on the level.
            generator = np.random.default_rng([seed, row])
            where = generator.permutation(pixels)[:changed]
            donors = (row + generator.integers(1, inputs, pixels)[where]) % inputs
            result[row, :, where] = flat[donors, :, where]
    return result.reshape(x.shape)
