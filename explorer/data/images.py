"""Images as bytes of (inputs, channels, height, width): what all image data sets do with them."""

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

    pool: int = Field(default=1, ge=1, description="average over squares of so many pixels a side")
    test_size: int | None = Field(
        default=None, ge=1, description="test inputs used: the first so many; all if left out"
    )


def available_images(
    options: ImageOptions, train: int, test: int, load: Callable[[Any], Arrays]
) -> tuple[int, int]:
    """Numbers of training and test inputs of a data set that has ``train`` and ``test``.

    Raises:
        InputError: ``test_size`` asks for more than there are.
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
    """Images of bytes (inputs, channels, height, width) and labels (inputs,) as arrays.

    Scaled to 0 … 1, pooled, and cut to ``test_size`` on request.

    Raises:
        InputError: there are not as many inputs as ``expected``, images and labels do not go together,
            a label is no class, or the images cannot be pooled.
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
