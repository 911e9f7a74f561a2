"""Reader of the idx format of MNIST (LeCun, Cortes, Burges): a magic number, the shape, the bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from explorer.data.formats.images import Part
from explorer.settings import InputError


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of bytes, gzipped or not: labels (inputs,) or images (inputs, height, width).

    Raises:
        InputError: the file is damaged, or does not match its header.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except EOFError as error:
        raise InputError(f"{path} is cut off: its gzip stream has no end") from error
    except (OSError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise InputError(f"{path} is not an idx file of bytes")
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise InputError(f"{path} is cut off within its header")
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    if len(raw) - start != math.prod(shape):
        kind = "cut off" if len(raw) - start < math.prod(shape) else "longer than its header says"
        raise InputError(f"{path} is {kind}: {len(raw) - start} values of {math.prod(shape)}")
    return np.frombuffer(raw, np.uint8)[start:].reshape(shape)


def read_images(x_train: Path, y_train: Path, x_test: Path, y_test: Path) -> tuple[Part, Part]:
    """Return the training and test images and labels of a data set in four files, as MNIST has them."""
    train, test = ((read_idx(x)[:, None], read_idx(y)) for x, y in ((x_train, y_train), (x_test, y_test)))
    return train, test
