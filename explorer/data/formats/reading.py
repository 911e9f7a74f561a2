"""Reading of a user's files: bytes, UTF-8 text, Parquet, and hashes of contents."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.settings import InputError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: the file cannot be read, or it is a pipe or the like, which may never end.
    """
    if (file := Path(path)).exists() and not (file.is_file() or file.is_dir()):
        raise InputError(f"{path} is no file; name a file")
    try:
        return file.read_bytes()
    except IsADirectoryError as error:
        raise InputError(
            f"{path} is a folder, and this data set is read from a file; "
            "the data sets image-folder and image-parquet are read from folders"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def as_text(raw: bytes, name: Path | str) -> str:
    """Return the content of a file as text, without a byte-order mark at its start.

    Raises:
        InputError: the content is not UTF-8; the message gives the position.
    """
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name} is not UTF-8: byte 0x{raw[error.start]:02x} in line {line} (byte {error.start} of the "
            f"file); convert it, for example with iconv -f latin1 -t utf-8"
        ) from error


def lines(raw: bytes, name: Path | str) -> list[str]:
    """Return the lines of a file. A line ends with a line feed, optionally after a carriage return."""
    text = as_text(raw, name)
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


@contextlib.contextmanager
def open_parquet(path: Path | str) -> Iterator[ParquetFile]:
    """Open a Parquet file for the statements of a ``with`` block.

    Raises:
        InputError: the file cannot be opened or read.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def content_hashes(files: Sequence[Path | str]) -> list[str]:
    """Return the SHA-256 of each file. A file is read again only if its size or modification time changes.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        states = [Path(file).stat() for file in files]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    return [_sha256(str(f), s.st_size, s.st_mtime_ns) for f, s in zip(files, states, strict=True)]


@functools.cache
def _sha256(file: str, size: int, changed: int) -> str:
    return hashlib.sha256(read_bytes(file)).hexdigest()
