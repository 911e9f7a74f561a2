"""Poorer data: fewer classes, fewer inputs, wrong labels, wrong pixels; functions of arrays and a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from explorer.data.dataset import Arrays
from explorer.settings import InputError


def of_classes(clean: Arrays, classes: Sequence[int]) -> Arrays:
    """The inputs of these classes, renumbered from 0 in the order given.

    Raises:
        InputError: there is no such class.
    """
    if clean.y_train.dtype.kind == "f":
        raise InputError("classes: this data set has numbers as targets, not classes")
    unknown = [c for c in classes if c >= clean.classes]
    if unknown:
        raise InputError(f"classes {unknown} do not exist; the data set has classes 0 to {clean.classes - 1}")
    number = np.full(clean.classes, -1)
    number[list(classes)] = np.arange(len(classes))
    parts = {}
    for part in ("train", "test"):
        y = number[getattr(clean, f"y_{part}")]
        if not (y >= 0).any():
            raise InputError(f"there are no {part} inputs of classes {list(classes)}")
        parts |= {f"x_{part}": getattr(clean, f"x_{part}")[y >= 0], f"y_{part}": y[y >= 0]}
    return replace(clean, classes=len(classes), **parts)


def balanced(y: np.ndarray, count: int, classes: int) -> np.ndarray:
    """Order of labels (inputs,) that takes the classes in turn; its first ``count`` are balanced.

    Raises:
        InputError: a class has too few inputs for that.
    """
    if y.dtype.kind == "f":
        raise InputError("balanced: this data set has numbers as targets, not classes")
    rank = np.empty(len(y), int)  # of an input within its class
    for c in range(classes):
        members = np.flatnonzero(y == c)
        rank[members] = np.arange(len(members))
        if len(members) < count // classes:
            raise InputError(
                f"balanced: {count} inputs of {classes} classes need {count // classes} of each; "
                f"class {c} has {len(members)}"
            )
    order = np.argsort(rank, kind="stable")
    if (taken := np.bincount(y[order[:count]], minlength=classes)).max() - taken.min() > 1:
        raise InputError(
            f"balanced: {count} inputs do not divide over {classes} classes, "
            f"and too few classes have one more to give"
        )
    return order


def noisy_labels(
    y: np.ndarray, share: float, classes: int, *, kind: str, seed: int, available: int
) -> np.ndarray:
    """Labels (inputs,) of which exactly ``round(share * inputs)`` are drawn anew, uniformly.

    Args:
        kind: ``other`` draws from the other classes, ``uniform`` from all classes.
        available: size of the whole data set. So many random numbers are drawn whatever the share and
            the subset: this nests the noise levels.
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
    """Targets (inputs, numbers), ``round(share * inputs)`` of them those of other inputs; levels nest."""
    generator = np.random.default_rng(seed)
    ranks, shifts = generator.random(available), generator.integers(1, 2**31, available)
    wrong = np.argsort(ranks[: len(y)], kind="stable")[: round(share * len(y))]
    noisy = y.copy()
    if len(y) > 1:
        noisy[wrong] = y[(wrong + 1 + shifts[wrong] % (len(y) - 1)) % len(y)]
    return noisy


def noisy_pixels(x: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Inputs (inputs, *shape) of which each has ``round(share * pixels)`` pixels of other inputs.

    A pixel is a place of an image with all its channels, or a number of a vector or signal. What replaces
    it is the pixel at the same place of another input, drawn for each pixel anew: so a pixel keeps the
    distribution that it has over the data set, and loses what it says about its own image. At share 1
    nothing of the image is left. The levels are nested.
    """
    flat = x.reshape(len(x), *((x.shape[1], -1) if x.ndim == 4 else (1, -1)))  # (inputs, channels, pixels)
    inputs, _, pixels = flat.shape
    result = flat.copy()
    changed = round(share * pixels)
    if inputs > 1:
        for row in range(inputs):
            # An input's own stream: the same places and draws whatever the level.
            generator = np.random.default_rng([seed, row])
            where = generator.permutation(pixels)[:changed]
            donors = (row + generator.integers(1, inputs, pixels)[where]) % inputs
            result[row, :, where] = flat[donors, :, where]
    return result.reshape(x.shape)
