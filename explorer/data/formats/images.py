"""Common parts of all image data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from explorer.data.base import DataOptions, counts, pool_images
from explorer.data.dataset import Arrays
from explorer.data.formats.files import Source, locate
from explorer.settings import InputError

LabelledImages = tuple[
    np.ndarray, np.ndarray
]  # uint8 images (inputs, channels, height, width) and labels (inputs,)


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


def image_arrays(train: LabelledImages, test: LabelledImages, options: ImageOptions, classes: int) -> Arrays:
    """Return a data set of images, scaled to 0 … 1, pooled, and limited to ``test_size``.

    Raises:
        InputError: the images cannot be pooled.
    """
    count = _test_inputs(options, len(test[0]))
    x_train, x_test = (_scaled(x, options.pool) for x in (train[0], test[0][:count]))
    return Arrays(x_train, train[1].astype(np.int64), x_test, test[1][:count].astype(np.int64), classes)


def _scaled(x: np.ndarray, pool: int) -> np.ndarray:
    scaled = pool_images(x, pool) if pool > 1 else x.astype(np.float32)
    scaled /= 255
    return scaled


@dataclass(eq=False)
class PublicImages:
    """A public data set of images: its files, its numbers of training and test images, and its classes.

    ``read`` takes the paths of the files, in the order of ``source``, and returns both parts.
    """

    source: Source
    sizes: tuple[int, int]
    classes: int
    read: Callable[..., tuple[LabelledImages, LabelledImages]]

    def available(self, options: ImageOptions) -> tuple[int, int]:
        """Return the numbers of training and test inputs."""
        return available_images(options, *self.sizes, self.load)

    def load(self, options: ImageOptions) -> Arrays:
        """Return the images scaled to 0 … 1 and pooled as the options say.

        Raises:
            InputError: a file is missing or damaged, the number of images or labels is wrong, a label is out
                of range, or the images cannot be pooled.
        """
        parts, title = self.read(*locate(self.source)), self.source.title
        for part, (x, y), size in zip(("training", "test"), parts, self.sizes, strict=True):
            if len(x) != size or len(y) != size:
                raise InputError(
                    f"{title}: {len(x)} {part} images and {len(y)} labels were read; there should be {size}"
                )
            if y.min() < 0 or y.max() >= self.classes:
                raise InputError(
                    f"{title}: {part} labels go from {y.min()} to {y.max()}; there are {self.classes} classes"
                )
        return image_arrays(*parts, options, self.classes)
