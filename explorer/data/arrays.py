"""Data set of a user's own arrays in one ``.npz`` file."""

from __future__ import annotations

import functools
import io
import zlib
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import CHANNELS_ARE, KEYS, Arrays, Channels, checked_arrays, with_reading
from explorer.data.formats.reading import content_hashes, read_bytes
from explorer.settings import InputError, listed

TASKS = ("classification", "regression")


class Options(DataOptions):
    """A ``.npz`` file with x_train (inputs, …), y_train (inputs,), x_test and y_test."""

    path: str = Field(description="the .npz file, relative to the current folder")
    image_channels: Channels | None = Field(default=None, description=CHANNELS_ARE)


def fingerprint(options: Options) -> str:
    """Return a hash of the file and of how it is read, not of its name: it identifies the data set."""
    return with_reading(content_hashes([options.path])[0][:16], load(options))


def available(options: Options) -> tuple[int, int]:
    return counts(options, *load(options).sizes, load)


def load(options: Options) -> Arrays:
    """Return the arrays, read by :func:`explorer.data.dataset.checked_arrays`.

    Raises:
        InputError: the file cannot be read, shapes do not match, or values are of a wrong kind or not finite.
    """
    return _read(options.path, content_hashes([options.path])[0], options.image_channels)


@functools.lru_cache(maxsize=2)
def _read(path: str, content: str, channels: Channels | None) -> Arrays:
    # ``content`` is part of the cache key: it changes with the file.
    raw = read_bytes(path)
    if not raw.startswith(b"PK"):
        raise InputError(
            f"{path} is not an .npz file, which numpy.savez writes; name: table reads CSV and Parquet"
        )
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                raise InputError(f"{path} lacks {', '.join(missing)}; it has {listed(archive.files)}")
            arrays = {key: archive[key] for key in KEYS}
    except (OSError, ValueError, TypeError, BadZipFile, EOFError, zlib.error) as error:
        objects = "Object arrays" in str(error)
        how = "; save words as array.astype(str), and numbers as array.astype(float)" if objects else ""
        raise InputError(f"{path} cannot be read as an .npz of plain arrays: {error}{how}") from error
    return checked_arrays(path, arrays, channels)
