"""Message catalogues as parallel text: program messages and their translations (``.mo``, GNU gettext).

Any Debian machine can provide these real translations without a data hub. The pairs depend on the installed
packages and their versions. The content of the files is part of a model's identity.
"""

from __future__ import annotations

import functools
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from explorer.data.dataset import Arrays
from explorer.data.formats.reading import read_bytes
from explorer.data.formats.translation import (
    SentencePair,
    SplitOptions,
    UserText,
    clean_pairs,
    encode_pairs,
    sentence_key,
    split_pairs,
)
from explorer.settings import InputError, suggest

TASKS = ("translation",)
PACKAGE = "libreoffice-l10n-de"  # an example with many pairs in a small file
MAGIC = 0x950412DE
CONTEXT, PLURAL = b"\x04", b"\0"

# Signs that a message is not a sentence but code, markup, a path or a usage text.
CODE = re.compile(r"[%{}<>\\|_&$@=#~^*`/\[\]\n\t]|--|^-|://|[A-Za-z]\.[A-Za-z]|\w\(|\b[A-Z]{5,}\b|\.\.\.")
ACCELERATOR = re.compile(r"[_&](?=\w)")
WORD = re.compile(r"[^\W\d_]{2,}")


class Options(SplitOptions):
    """Catalogues ``<language>/LC_MESSAGES/*.mo`` anywhere below a folder."""

    path: str = Field(default="/usr/share/locale", description="folder of the catalogues")
    language: str = Field(
        default="de", pattern=r"^[A-Za-z][\w@.-]*$", description="language of the translations (de, pt_BR)"
    )
    domains: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="names of the catalogues to read; default: all"
    )
    into: Literal["english", "language"] = Field(
        default="english", description="target language: English, or the language of the catalogues"
    )
    min_words: int = Field(default=2, ge=1, le=100, description="minimum number of words of the English text")


def _files(options: Options) -> list[Path]:
    """Return the catalogues to read, sorted by name."""
    root = Path(options.path)
    catalogues = sorted(
        root.rglob(f"{options.language}/LC_MESSAGES/*.mo"), key=lambda file: (file.stem, str(file))
    )
    if not catalogues:
        raise InputError(
            f"{options.path} holds no message catalogues {options.language}/LC_MESSAGES/*.mo. On Debian they "
            f"come with packages, but container images omit them. To get some in your own folder: "
            f"apt-get download {PACKAGE} && dpkg-deb -x {PACKAGE}_*.deb catalogues, then set path: catalogues"
        )
    names = {file.stem for file in catalogues}
    for domain in options.domains or ():
        if domain not in names:
            raise InputError(
                f"{options.path} has no catalogue {domain}.mo of language {options.language}; "
                f"known: {suggest(domain, sorted(names))}"
            )
    return [file for file in catalogues if options.domains is None or file.stem in options.domains]


@functools.lru_cache(maxsize=2)
def _encode(options: Options, content: str) -> Arrays:
    # ``content`` is part of the cache key: it changes with the files.
    pairs, left_out = sentences(options)
    train, test = split_pairs(pairs, options)
    return encode_pairs(train, test, left_out, options, f"catalogues in {options.path}")


TEXT = UserText(_files, _encode)
fingerprint, available, load = TEXT.fingerprint, TEXT.available, TEXT.load


def sentences(options: Options) -> tuple[list[SentencePair], Counter[str]]:
    """Return clean pairs (source, target), the first for each English sentence, and counts of the others."""
    pairs_read, left_out = [], Counter[str]()
    for file in _files(options):
        for message, translation in read_catalogue(file):
            pair = sentence_pair(message, translation)
            if pair is None:
                left_out["with markup, placeholders or code"] += 1
            elif len(pair[0].split()) < options.min_words:
                left_out["too short"] += 1
            else:
                pairs_read.append(pair)
    clean, more = clean_pairs(pairs_read)
    first: dict[str, SentencePair] = {}
    for pair in clean:
        first.setdefault(sentence_key(pair[0]), pair)
    left_out += more
    left_out["duplicate"] += len(clean) - len(first)
    pairs = list(first.values())
    return (pairs if options.into == "language" else [(b, a) for a, b in pairs]), left_out


def read_catalogue(path: Path) -> list[tuple[str, str]]:
    """Return the English messages and their translations in the order of the file.

    A plural message gives the first form of both languages. The file is read as a table of strings. Unlike
    Python's ``gettext``, this function never compiles the rule for plural forms, which is code.

    Raises:
        InputError: the file is not a catalogue, is cut off, or is not in the encoding it declares.
    """
    raw = read_bytes(path)
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
