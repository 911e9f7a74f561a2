"""Data set of a user's own arrays in one ``.npz`` file."""

from __future__ import annotations

import functools
import io
import zlib
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import KEYS, Arrays, checked_arrays
from explorer.data.formats.reading import content_hashes, read_bytes
from explorer.settings import InputError

TASKS = ("classification", "regression")


class Options(DataOptions):
    """A ``.npz`` file with x_train (inputs, …), y_train (inputs,), x_test and y_test."""

    path: str = Field(description="the .npz file, relative to the current folder")


def fingerprint(options: Options) -> str:
    """Return the hash of the file: its content, not its name, identifies the data set."""
    return content_hashes([options.path])[0][:16]


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test inputs."""
    return counts(options, *load(options).sizes, load)


def load(options: Options) -> Arrays:
    """Return the arrays, with inputs as float32. Classes go from 0 to the largest label.

    Labels that are floats are regression targets: (inputs,) or (inputs, numbers).

    Raises:
        InputError: shapes do not match, a label is not a class number, or an input is not finite.
    """
    return _read(options.path, fingerprint(options))


@functools.lru_cache(maxsize=2)
def _read(path: str, content: str) -> Arrays:
    # ``content`` is part of the cache key: it changes with the file.
    raw = read_bytes(path)
    if not raw.startswith(b"PK"):
        raise InputError(
            f"{path} is not an .npz file; numpy.savez writes one: docs/spaces.md shows how, even from CSV"
        )
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                raise InputError(f"{path} lacks {', '.join(missing)}; it has {', '.join(archive.files)}")
            arrays = {key: archive[key] for key in KEYS}
    except (OSError, ValueError, TypeError, BadZipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an .npz of plain arrays: {error}") from error
    return checked_arrays(path, arrays)
