"""Text as windows of characters, in which each character is predicted from the preceding ones."""

from __future__ import annotations

import functools
import json

import numpy as np
from pydantic import Field

from explorer.data.base import SubsetOptions
from explorer.data.dataset import Arrays
from explorer.data.formats.reading import as_text, read_bytes
from explorer.data.formats.subwords import MISSING
from explorer.settings import InputError, digest

TASKS = ("language",)


class Options(SubsetOptions):
    """A text file; by default, the reference of the Python language that comes with Python."""

    length: int = Field(default=64, ge=2, le=4096, description="characters per window")
    path: str | None = Field(
        default=None,
        description="text file in UTF-8, relative to the current folder; default: Python's reference",
    )
    test_share: float = Field(
        default=0.1, gt=0, lt=1, description="share of the text, at its end, that is used for testing"
    )


def _python_reference() -> str:
    """Return all language topics of Python's ``help()``, sorted by name: about half a million characters."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError(
            f"this Python installation lacks its language reference ({error}); set path to a text file"
        ) from error
    return "\n\n".join(topics[name] for name in sorted(topics))


def _read(options: Options) -> str:
    if options.path is None:
        return _python_reference()
    return as_text(read_bytes(options.path), options.path).replace("\r\n", "\n")


def fingerprint(options: Options) -> str:
    """Return a hash of the text: its content, not its name, identifies the data set."""
    return digest(_read(options))


def _windows(text: str, length: int) -> int:
    """Return the number of disjoint windows. The last one needs one more character as its last target."""
    return max(0, len(text) - 1) // length


def _split(options: Options) -> tuple[str, str]:
    """Return the training part and the test part of the text.

    Raises:
        InputError: the file cannot be read, or a part has too few windows.
    """
    text = _read(options)
    cut = round(len(text) * (1 - options.test_share))
    parts = text[:cut], text[cut:]
    train, test = (_windows(part, options.length) for part in parts)
    if train < 2 or test < 1:
        raise InputError(
            f"{options.path or 'the text'}: {len(text)} characters give {train} training and {test} "
            f"test windows of length {options.length}; at least 2 and 1 are needed"
        )
    return parts


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test windows."""
    train, test = _split(options)
    return _windows(train, options.length), _windows(test, options.length)


def load(options: Options) -> Arrays:
    """Return windows x and their next characters y, both (windows, length).

    The vocabulary has a character for all unknown ones (id 0), followed by the characters of the training
    part in the order of their code points.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or is too short.
    """
    return _load(*_split(options), options.length)


@functools.lru_cache(maxsize=2)
def _load(train: str, test: str, length: int) -> Arrays:
    characters = [MISSING, *sorted(set(train) - {MISSING})]
    number = {character: place for place, character in enumerate(characters)}
    arrays = []
    for part in (train, test):
        ids = np.array([number.get(character, 0) for character in part], np.int64)
        windows = _windows(part, length)
        arrays += [ids[start : start + windows * length].reshape(windows, length) for start in (0, 1)]
    return Arrays(*arrays, classes=len(characters), vocabulary=json.dumps(characters, ensure_ascii=False))
