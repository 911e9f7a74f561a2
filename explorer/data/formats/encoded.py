"""Image data sets from a user's own files (PNG, JPEG, …), decoded with pillow."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from explorer.data.dataset import Arrays
from explorer.data.formats.images import ImageOptions, LabelledImages, image_arrays
from explorer.data.formats.reading import content_hashes
from explorer.settings import InputError, seed_for


class EncodedOptions(ImageOptions):
    """Settings of image data sets from a user's own files."""

    path: str = Field(description="folder of the images, relative to the current folder")
    test_size: int | None = Field(
        default=None, ge=1, description="number of test inputs to use, a seeded sample; default: all"
    )
    side: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="resize each image to this many pixels per side; default: no resizing",
    )
    colour: Literal["rgb", "grey"] = Field(default="rgb", description="rgb: three channels; grey: one")


def decode(images: Iterable[tuple[str, bytes]], options: EncodedOptions) -> np.ndarray:
    """Decode images (name, encoded bytes) to uint8 (inputs, channels, height, width).

    Raises:
        InputError: pillow is missing, an image cannot be read, or sizes differ and ``side`` is not set.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(f"reading image files needs pillow: pip install pillow ({error})") from error

    def of_bytes(image: Image.Image) -> Image.Image:
        """Convert 16-bit grey to its upper byte, as pillow does for colour; it would clip grey at 255."""
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("I", "F"):
            raise ValueError("its pixels are numbers of 32 bits; 8 or 16 bits are supported")
        return image

    mode = {"rgb": "RGB", "grey": "L"}[options.colour]
    decoded: list[np.ndarray] = []
    for name, raw in images:
        try:
            with Image.open(io.BytesIO(raw)) as image:
                converted = of_bytes(image).convert(mode)
        except Exception as error:  # pillow raises many kinds for damaged files
            raise InputError(f"{name} cannot be read as an image: {error}") from error
        if options.side:
            converted = converted.resize((options.side, options.side), Image.Resampling.BILINEAR)
        pixels = np.asarray(converted).reshape(converted.height, converted.width, -1)
        if decoded and pixels.shape != decoded[0].shape:
            height, width = decoded[0].shape[:2]
            raise InputError(
                f"{name} is {converted.height}×{converted.width}, others are {height}×{width}; "
                f"set side to resize all"
            )
        decoded.append(pixels)
    if not decoded:
        raise InputError(f"{options.path} holds no images")
    return np.stack(decoded).transpose(0, 3, 1, 2)


def user_arrays(
    train: LabelledImages, test: LabelledImages, options: EncodedOptions, names: Sequence[str]
) -> Arrays:
    """Return a data set of a user's images. Its test images are a seeded sample if ``test_size`` is set.

    Files are usually sorted by class, so the first ``test_size`` images would all be of the first classes.

    Raises:
        InputError: training and test images differ in size, or cannot be pooled.
    """
    x_test, y_test = test
    if train[0].shape[1:] != x_test.shape[1:]:
        raise InputError(f"{options.path}: training and test images differ in size; set side to resize all")
    if options.test_size is not None:
        order = np.random.default_rng(seed_for("test images")).permutation(len(y_test))
        x_test, y_test = x_test[order], y_test[order]
    arrays = image_arrays(train, (x_test, y_test), options, len(names))
    return replace(arrays, stored="uint8", names=tuple(names))


def hash_files(root: Path, files: Sequence[Path]) -> str:
    """Return a hash of the names below ``root`` and the contents of files, in their order."""
    total = hashlib.sha256()
    for file, content in zip(files, content_hashes(files), strict=True):
        total.update(f"{file.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()[:16]
