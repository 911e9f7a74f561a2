"""Permission to run the code that a run folder names: by its sources, its owner, or the user's word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from explorer.settings import InputError, listed
from explorer.users import sources

if TYPE_CHECKING:
    from explorer.runs.store import Store


def changed_sources(info: dict[str, Any], store: Store) -> dict[str, str]:
    """Return the source files that differ from the run's latest copies, each with a phrase that says how.

    Runs no code of the user. Changes of comments, formatting and docstrings do not count.

    Raises:
        InputError: a module of a user's function no longer exists, or a file is not valid Python.
    """
    versions = sources.versions(info)
    if not versions:
        return {}
    number, kept = len(versions), versions[-1].files
    present: dict[str, bytes] = {}
    for name in versions[-1].functions:
        present |= sources.read(name)
    changes = {}
    for path in sorted({*kept, *present}):
        copy = store.source_location(number, path)
        if path not in present:
            changes[path] = f"{path} is not imported now ({copy})"
        elif path not in kept:
            changes[path] = f"{path} was not imported when the run was trained"
        elif sources.sha256(present[path]) == kept[path]:
            continue
        elif not sources.same(present[path], store.read_source(number, path)):
            changes[path] = f"{path} differs from the copy that the run was trained with ({copy})"
    return changes


def require_trust(info: dict[str, Any], store: Store, *, trust: bool, how: str = "add --trust") -> None:
    """Check that the code that ``run.yaml`` names may be run. Runs none of it.

    It may be run if the run keeps its sources, if these are the user's files and if the folder belongs to the
    user, or with ``trust``. Installed code does more than its sources show: ``pandas:read_pickle`` runs what
    is in a file.

    Args:
        how: what the user does to trust the folder.

    Raises:
        InputError: it may not; the message says what would run.
    """
    named = list(dict.fromkeys(users_functions(info["space"]).values()))
    if trust or not named:
        return
    if not store.files.local:
        why = "is on an object store, which does not tell whose it is"
    elif (owner := store.files.owner()) != "you":
        why = f"belongs to {owner}, not to you"
    elif unknown := [name for name in named if not _kept(name, info)]:
        why, named = "keeps no sources of that code", unknown
    elif installed := [name for name in named if sources.is_installed(name)]:
        why = "passes its settings to that code, which is installed and not in one of your files"
        named = installed
    else:
        return
    raise InputError(
        f"{store.location} names code that this command would run: {listed(named)}. The folder {why}. "
        f"If you know that code and trust whoever wrote the folder, {how}"
    )


def users_functions(space: dict[str, Any]) -> dict[tuple[Any, ...], str]:
    """Return each ``module:function`` that the plain data of a space name, by its path there."""
    chosen: dict[tuple[Any, ...], Any] = {}
    for section, keys in (("data", ["name"]), ("model", ["name"]), ("training", ["optimizer", "loss"])):
        if isinstance(values := space.get(section), dict):
            chosen |= {(section, key): values.get(key) for key in keys}
    for kind in ("load", "temperature"):
        for key in ("optimizer", "loss"):
            values = (space.get(kind) or {}).get(key)
            if isinstance(values, list):
                chosen |= {(kind, key, place): value for place, value in enumerate(values)}
    if isinstance(measures := space.get("measures"), dict):
        chosen |= {("measures", name): name for name in measures}
    return {path: name for path, name in chosen.items() if isinstance(name, str) and ":" in name}


def _kept(name: str, info: dict[str, Any]) -> bool:
    """Return whether a run's last version of sources has those of a function, or, once, their hash."""
    if "kept_sources" in info:
        return any(name in version.functions for version in sources.versions(info)[-1:])
    known = [entry for entry in info.get("sources", []) if isinstance(entry, str)]
    return sources.bytes_fingerprint(name, known) in known
