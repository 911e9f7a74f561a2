"""Common parts of text data sets: settings, and reading of UTF-8 files."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from explorer.data.base import SubsetOptions
from explorer.settings import InputError, digest


class SequenceOptions(SubsetOptions):
    """Settings of any data set of text."""

    length: int = Field(default=64, ge=2, le=4096, description="number of tokens per input")


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return Path(path).read_bytes()
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


def hash_content(files: Sequence[Path | str]) -> str:
    """Return a hash of the contents of files, in their order, independent of their names.

    Files are read again only if a size or a modification time has changed.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        states = [Path(file).stat() for file in files]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    return _hash(tuple(map(str, files)), tuple((state.st_size, state.st_mtime_ns) for state in states))


@functools.lru_cache(maxsize=8)
def _hash(files: tuple[str, ...], states: tuple[tuple[int, int], ...]) -> str:
    return digest([hashlib.sha256(read_bytes(file)).hexdigest() for file in files])
