"""Reader of message catalogues (``.mo``, GNU gettext): pairs of an English message and its translation.

The file is read as a table of strings. Unlike Python's ``gettext``, this module never compiles the rule for
plural forms, which is code.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from explorer.settings import InputError

MAGIC = 0x950412DE
CONTEXT, PLURAL = b"\x04", b"\0"

# Signs that a message is not a sentence but code, markup, a path or a usage text.
CODE = re.compile(r"[%{}<>\\|_&$@=#~^*`/\[\]\n\t]|--|^-|://|[A-Za-z]\.[A-Za-z]|\w\(|\b[A-Z]{5,}\b|\.\.\.")
ACCELERATOR = re.compile(r"[_&](?=\w)")
WORD = re.compile(r"[^\W\d_]{2,}")


def read_catalogue(path: Path) -> list[tuple[str, str]]:
    """Return the English messages and their translations in the order of the file.

    A plural message gives the first form of both languages.

    Raises:
        InputError: the file is not a catalogue, is cut off, or is not in the encoding it declares.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    order = next((o for o in "<>" if raw[:4] == struct.pack(f"{o}I", MAGIC)), None)
    if order is None:
        raise InputError(f"{path} is not a message catalogue (.mo)")
    try:
        count, keys, values = struct.unpack_from(f"{order}3I", raw, 8)
        entries = list(
            zip(_strings(raw, order, keys, count), _strings(raw, order, values, count), strict=True)
        )
    except struct.error as error:
        raise InputError(f"{path} is cut off") from error
    header = next((value for key, value in entries if not key), b"")
    charset = re.search(rb"charset=([\w.:-]+)", header)
    encoding = charset.group(1).decode("ascii") if charset else "utf-8"
    try:
        return [
            (
                key.split(CONTEXT)[-1].split(PLURAL)[0].decode(encoding),
                value.split(PLURAL)[0].decode(encoding),
            )
            for key, value in entries
            if key
        ]
    except (UnicodeDecodeError, LookupError) as error:
        raise InputError(f"{path} is not in {encoding}, the encoding it declares: {error}") from error


def _strings(raw: bytes, order: str, table: int, count: int) -> Iterator[bytes]:
    for entry in range(count):
        length, start = struct.unpack_from(f"{order}2I", raw, table + 8 * entry)
        if start + length > len(raw):
            raise struct.error
        yield raw[start : start + length]


def sentence_pair(message: str, translation: str) -> tuple[str, str] | None:
    """Return a message and its translation as plain text, or None if one of them is not plain text.

    If both have a mark for a keyboard accelerator (``_Open``, ``E_xit``, ``&Open``), it is removed. So is an
    ellipsis or a colon at the end. Placeholders, markup, options, paths and identifiers are not plain text.
    """
    for mark in "_&":
        if message.count(mark) == translation.count(mark) == 1 and not _name(message, translation, mark):
            message, translation = (ACCELERATOR.sub("", text) for text in (message, translation))
    message, translation = (text.strip().removesuffix("...").rstrip("…: ") for text in (message, translation))
    if any(CODE.search(text) or not WORD.search(text) for text in (message, translation)):
        return None
    return message, translation


def _name(message: str, translation: str, mark: str) -> bool:
    """Return whether both texts have the same word with the mark inside: a name such as ``file_name``."""
    word = re.search(rf"\w+{mark}\w+", message)
    return word is not None and word.group() in translation
