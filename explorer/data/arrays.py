"""Arrays: a user's own data in one ``.npz`` file."""

from __future__ import annotations

import functools
import hashlib
import io
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from explorer.data.base import Arrays, DataOptions, counts
from explorer.settings import InputError

KEYS = ("x_train", "y_train", "x_test", "y_test")


class Options(DataOptions):
    """A ``.npz`` file with x_train (inputs, …), y_train (inputs,), x_test and y_test."""

    path: str = Field(description="the .npz file, relative to the current folder")


@functools.lru_cache(maxsize=2)
def _read(path: str, changed: int) -> tuple[Arrays, str]:
    try:
        raw = Path(path).read_bytes()
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                raise InputError(f"{path} lacks {', '.join(missing)}; it has {', '.join(archive.files)}")
            content = {key: archive[key] for key in KEYS}
    except (OSError, ValueError, TypeError, BadZipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an .npz of plain arrays: {error}") from error
    return _checked(path, content), hashlib.sha256(raw).hexdigest()[:16]


def _file(path: str) -> tuple[Arrays, str]:
    """Arrays and hash of the file as it is now."""
    try:
        return _read(path, Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _checked(path: str, content: dict[str, np.ndarray]) -> Arrays:
    x, y = {}, {}
    for part in ("train", "test"):
        x[part], y[part] = content[f"x_{part}"], content[f"y_{part}"]
        if y[part].ndim != 1 or x[part].ndim < 2 or len(x[part]) != len(y[part]) or not len(x[part]):
            raise InputError(
                f"{path}: x_{part} {x[part].shape} and y_{part} {y[part].shape} "
                f"should be (inputs, …) and (inputs,)"
            )
        if not np.issubdtype(y[part].dtype, np.integer) or y[part].min() < 0:
            raise InputError(f"{path}: y_{part} should hold class numbers from 0, whole and not negative")
        if x[part].dtype.kind not in "buif":
            raise InputError(f"{path}: x_{part} holds {x[part].dtype}; numbers are needed")
        with np.errstate(over="ignore"):  # becomes infinite, which the next line reports
            x[part] = x[part].astype(np.float32)
        if not np.isfinite(x[part]).all():
            raise InputError(f"{path}: x_{part} holds values that are not finite")
    if x["train"].shape[1:] != x["test"].shape[1:]:
        raise InputError(f"{path}: training and test inputs have different shapes")
    classes = int(max(y["train"].max(), y["test"].max())) + 1
    if classes < 2:
        raise InputError(f"{path}: there is only one class")
    return Arrays(
        x["train"], y["train"].astype(np.int64), x["test"], y["test"].astype(np.int64), classes=classes
    )


def fingerprint(options: Options) -> str:
    """Hash of the file: other content is another data set, whatever its name."""
    return _file(options.path)[1]


def available(options: Options) -> tuple[int, int]:
    """Numbers of training and test inputs."""
    arrays = load(options)
    return counts(options, len(arrays.x_train), len(arrays.x_test), load)


def load(options: Options) -> Arrays:
    """The arrays as they are, inputs as float32; classes are numbered from 0 to the largest label.

    Raises:
        InputError: shapes do not fit, a label is no class number, or an input is not finite.
    """
    return _file(options.path)[0]
