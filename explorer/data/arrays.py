"""Data set of a user's own arrays in one ``.npz`` file."""

from __future__ import annotations

import functools
import hashlib
import io
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import KEYS, Arrays, checked_arrays
from explorer.settings import InputError

TASKS = ("classification", "regression")


class Options(DataOptions):
    """A ``.npz`` file with x_train (inputs, …), y_train (inputs,), x_test and y_test."""

    path: str = Field(description="the .npz file, relative to the current folder")


@functools.lru_cache(maxsize=2)
def _read(path: str, changed: int) -> tuple[Arrays, str]:
    try:
        raw = Path(path).read_bytes()
        if not raw.startswith(b"PK"):
            raise InputError(
                f"{path} is not an .npz file; numpy.savez writes one: docs/spaces.md shows how, even from CSV"
            )
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                raise InputError(f"{path} lacks {', '.join(missing)}; it has {', '.join(archive.files)}")
            content = {key: archive[key] for key in KEYS}
    except (OSError, ValueError, TypeError, BadZipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an .npz of plain arrays: {error}") from error
    return checked_arrays(path, content), hashlib.sha256(raw).hexdigest()[:16]


def _file(path: str) -> tuple[Arrays, str]:
    """Return the arrays and the hash of the current file."""
    try:
        return _read(path, Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def fingerprint(options: Options) -> str:
    """Return the hash of the file: its content, not its name, identifies the data set."""
    return _file(options.path)[1]


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test inputs."""
    return counts(options, *load(options).sizes, load)


def load(options: Options) -> Arrays:
    """Return the arrays, with inputs as float32. Classes go from 0 to the largest label.

    Labels that are floats are regression targets: (inputs,) or (inputs, numbers).

    Raises:
        InputError: shapes do not match, a label is not a class number, or an input is not finite.
    """
    return _file(options.path)[0]
