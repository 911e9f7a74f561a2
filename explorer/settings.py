"""Errors of input, plug-ins by name, and identity by content, which decides names and random streams.

Imports the standard library only.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
from collections.abc import Sequence
from types import ModuleType
from typing import Any

SCHEMA = 1  # raised when the same settings would train another model than before


class InputError(Exception):
    """Wrong input, said in one message a user can act on. The command line exits with 2."""


def in_a_line(error: BaseException) -> str:
    """Type of an error, and the first line of what it says."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def digest(content: Any, length: int = 16) -> str:
    """Name of some JSON-like content: the first hex digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def seed_for(*content: Any) -> int:
    """Seed of a random stream (below 2**63), decided by the content and nothing else."""
    return int(digest(content, 16), 16) >> 1


def near(name: str, known: Sequence[str]) -> list[str]:
    """The known names that are like this one, the closest first."""
    return difflib.get_close_matches(name, known, n=3, cutoff=0.5)


def suggest(name: str, known: Sequence[str]) -> str:
    """The known names, the closest first."""
    close = near(name, known)
    return ", ".join([*close, *(k for k in sorted(known) if k not in close)])


def plugin(package: ModuleType, name: str, what: str) -> ModuleType:
    """Import the data set, architecture or measure of this name from a package that lists them in ``NAMES``.

    The file has this name too, with ``_`` for ``-``. Where the package takes those, a name can also be a
    user's ``module:function``.

    Raises:
        InputError: there is no such name; the message lists the known ones, the closest first.
    """
    if ":" in name and hasattr(package, "of_user"):
        return package.of_user(name)
    if name not in package.NAMES:
        raise InputError(f"there is no {what} {name!r}; known: {suggest(name, package.NAMES)}")
    return importlib.import_module(f"{package.__name__}.{name.replace('-', '_')}")


def user_function(reference: str) -> Any:
    """What ``module:function`` names, imported.

    Raises:
        InputError: it cannot be imported; the message holds the import's own.
    """
    module_name, _, function_name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            f"{reference!r} cannot be imported: {type(error).__name__}: {error} "
            f"(looked in the current folder and in the installed packages)"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        public = [n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n))]
        raise InputError(
            f"{module_name!r} has no function {function_name!r}; it has: {suggest(function_name, public)}"
        )
    return function


def source_fingerprint(reference: str) -> str:
    """Hash of the source file behind ``module:function``: another source is another model."""
    import inspect

    path = inspect.getsourcefile(inspect.unwrap(user_function(reference)))
    if path is None:
        raise InputError(f"{reference!r} has no source file; models of unknown source cannot be told apart")
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]
