"""Common parts of all image data sets. Raw images are uint8 (inputs, channels, height, width)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field

from explorer.data.base import DataOptions, counts, pool_images
from explorer.data.dataset import Arrays
from explorer.settings import InputError


class ImageOptions(DataOptions):
    """Settings of any image data set."""

    pool: int = Field(default=1, ge=1, description="average over squares with this many pixels per side")
    test_size: int | None = Field(
        default=None, ge=1, description="number of test inputs to use, from the first; default: all"
    )


def available_images(
    options: ImageOptions, train: int, test: int, load: Callable[[Any], Arrays]
) -> tuple[int, int]:
    """Return the numbers of training and test inputs of a data set with ``train`` and ``test`` images.

    Raises:
        InputError: ``test_size`` asks for more than the data set has.
    """
    return counts(options, train, _test_inputs(options, test), load)


def _test_inputs(options: ImageOptions, test: int) -> int:
    size = test if options.test_size is None else options.test_size
    if size > test:
        raise InputError(f"test_size {size} asks for more test inputs than the data set has: {test}")
    return size


def image_arrays(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    options: ImageOptions,
    *,
    classes: int,
    expected: tuple[int, int],
    title: str,
) -> Arrays:
    """Return uint8 images (inputs, channels, height, width) and labels (inputs,) as a data set.

    The images are scaled to 0 … 1, pooled, and limited to ``test_size``, as the options say.

    Raises:
        InputError: the number of inputs is not ``expected``, images and labels do not match, a label is out
            of range, or the images cannot be pooled.
    """
    for part, (x, y), count in zip(("training", "test"), (train, test), expected, strict=True):
        if len(x) != count or len(y) != count:
            raise InputError(
                f"{title}: {len(x)} {part} images and {len(y)} labels were read; there should be {count}"
            )
        if y.min() < 0 or y.max() >= classes:
            raise InputError(
                f"{title}: {part} labels go from {y.min()} to {y.max()}; there are {classes} classes"
            )
    kept = _test_inputs(options, len(test[0]))
    x_train, x_test = (_scaled(x, options.pool) for x in (train[0], test[0][:kept]))
    return Arrays(x_train, train[1].astype(np.int64), x_test, test[1][:kept].astype(np.int64), classes)


def _scaled(x: np.ndarray, pool: int) -> np.ndarray:
    scaled = pool_images(x, pool) if pool > 1 else x.astype(np.float32)
    scaled /= 255
    return scaled
