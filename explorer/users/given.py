"""Functions and classes that a notebook or a script gives as Python objects, by name.

Everywhere else they have the name ``__main__:function``. They travel between live processes only, by value
(cloudpickle); a run folder keeps their source text. Imports the standard library only.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import Any

from explorer.settings import InputError

MODULE = "__main__"


@dataclass(frozen=True)
class Given:
    """An object that a program gives.

    Args:
        files: its source text, and that of the local modules that it imports, by path.
        pickled: the object by value, from which another process makes it.
        value: the object itself, in the program that gives it. Made there from ``pickled`` as well, it would
            change its classes.
    """

    files: dict[str, bytes]
    pickled: bytes
    value: Any = field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "pickled": self.pickled, "value": None}


caches: list[Any] = []  # of :mod:`functools`, with results of objects by their names
_given: dict[str, Given] = {}  # by name
_made: dict[str, Any] = {}  # objects of another process that this one has made


def is_given(reference: str) -> bool:
    """Return whether ``module:function`` names an object of a program, and not of an importable module."""
    return reference.partition(":")[0] == MODULE


def find(reference: str) -> Given:
    """Return the object of a reference, with its sources.

    Raises:
        InputError: this program has no such object.
    """
    name = reference.partition(":")[2]
    if name not in _given:
        raise InputError(
            f"{reference!r} is an object of a notebook or script, which only that program can give: execute "
            "it again with the same explorer.Space and explorer.run(space), which continues the run"
        )
    return _given[name]


def value_of(reference: str) -> Any:
    """Return the object of a reference. Raise InputError as :func:`find` does."""
    given, name = find(reference), reference.partition(":")[2]
    if given.value is not None:
        return given.value
    if name not in _made:
        _made[name] = pickle.loads(given.pickled)
    return _made[name]


def keep(objects: dict[str, Given]) -> None:
    """Add objects by name, in place of others of that name."""
    changed = [name for name, given in objects.items() if _given.get(name, given) != given]
    _given.update(objects)
    for name in changed:
        _made.pop(name, None)
    for cache in caches if changed else ():
        cache.cache_clear()


def all_given() -> dict[str, Given]:
    """Return all objects of this program by name."""
    return dict(_given)


def forget_made() -> None:
    """Make each object again when it is needed next, because a module that it uses has changed."""
    _made.clear()
