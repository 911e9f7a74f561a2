"""Input errors, plug-ins by name, and content hashes, which determine ids and random streams.

Imports the standard library only.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
import re
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

LONG_WORD = re.compile(r"(\S{200})\S+")  # longer than any path or name that helps in a message
LISTED = 500  # characters of a list in a message; all of Explorer's own names fit
LONG_VALUE = re.compile(r"""(?<!\w)(['"])((?:(?!\1).){200})(?:(?!\1).)+\1""")  # in quotes
LINES, LINE = 50, 2000  # the most lines of a message, and characters of each
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal obeys them; not tab and end of line
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
SCHEMA = 1  # incremented when the same settings would train a different model than before


class InputError(Exception):
    """Wrong input, with one message that the user can act on. The command line exits with code 2."""

    def __init__(self, message: str = ""):
        super().__init__(bounded(message))


class Disagreement(Exception):
    """A result of Explorer that differs from that of the user's module by more than rounding."""


def in_a_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message, at most 500 characters.

    If this line ends with a colon, the others follow it, as in ``Error(s) in loading state_dict for Net:``.
    """
    first, *others = [line.strip() for line in message_of(error).strip().splitlines()] or [""]
    text = " ".join([first, *others]) if first.endswith(":") else first
    return cut(type(error).__name__ + f": {text}" * bool(text), 500)


def message_of(error: BaseException) -> str:
    """Return the message of an error; empty if its class cannot write one."""
    try:
        return str(error)
    except Exception:
        return ""


def shown(value: Any) -> str:
    """Return a value as messages show it: at most 200 characters."""
    return cut(repr(value))


def cut(text: str, most: int = 200) -> str:
    """Return the beginning of a text, with an ellipsis if the text is longer."""
    return text if len(text) <= most else f"{text[:most]}…"


def listed(values: Iterable[Any], separator: str = ", ", most: int | None = None) -> str:
    """Return values as a list of about 500 characters: ``a, b`` or ``a, b, … and 49,990 more``.

    Args:
        most: show at most so many values.
    """
    words, length = [cut(str(value)) for value in values], 0
    for place, word in enumerate(words):
        length += len(word) + len(separator)
        if place == most or (length > LISTED and words[place + 1 :]):
            words[place:] = [f"… and {len(words) - place:,} more"]
            break
    return separator.join(words)


def bounded(message: str) -> str:
    """Return a message without long values, long lists of lines and control characters."""
    lines = LONG_VALUE.sub(r"\1\2…\1", LONG_WORD.sub(r"\1…", message)).split("\n")
    more = [f"… and {len(lines) - LINES:,} more lines"] if lines[LINES:] else []
    return printable("\n".join([*(cut(line, LINE) for line in lines[:LINES]), *more]))


def printable(text: str) -> str:
    """Return a text without control characters, by which it could write to the clipboard of a terminal."""
    return CONTROL.sub("�", text)


def digest(content: Any, length: int = 16) -> str:
    """Return a name for JSON-like content: the first hex digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(CANONICAL.encode(content).encode()).hexdigest()[:length]


def seed_for(*content: Any) -> int:
    """Return the seed of a random stream (below 2**63), which depends on the content only."""
    return int(digest(content, 16), 16) >> 1


def near(name: str, known: Sequence[str]) -> list[str]:
    """Return the known names that are similar to ``name``, the closest first."""
    return difflib.get_close_matches(name, known, n=3, cutoff=0.5)


def suggest(name: str, known: Sequence[str]) -> str:
    """Return the known names as text, the closest to ``name`` first (:func:`listed`)."""
    close = near(name, known)
    return listed([*close, *sorted(set(known) - set(close))])


def plugin(package: ModuleType, name: str, what: str) -> ModuleType:
    """Import the data set, architecture or measure of this name from a package that lists them in ``NAMES``.

    The module has this name too, with ``_`` for ``-``. If the package has a function ``of_user``, the name
    may also be a user's ``module:function``.

    Raises:
        InputError: the name is unknown; the message lists the known names, the closest first.
    """
    if ":" in name and hasattr(package, "of_user"):
        return package.of_user(name)
    if name not in package.NAMES:
        module, dot, function = name.rpartition(".")
        own = dot and name.replace(".", "").isidentifier() and PathFinder.find_spec(module.partition(".")[0])
        hint = f"; for your own function, write {module}:{function}" if own else ""
        raise InputError(f"there is no {what} {name!r}; known: {suggest(name, package.NAMES)}{hint}")
    module = f"{package.__name__}.{name.replace('-', '_')}"
    return sys.modules.get(module) or importlib.import_module(module)
