"""The copies of the user's source files in a run folder: compare them, accept changes, and write new ones."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

from explorer import sources
from explorer.runs.store import Store
from explorer.settings import InputError
from explorer.space.model import Space


def changed(info: dict[str, Any], store: Store) -> dict[str, str]:
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
    found = {}
    for path in sorted({*kept, *present}):
        copy = store.source_location(number, path)
        if path not in present:
            found[path] = f"{path} is not imported now ({copy})"
        elif path not in kept:
            found[path] = f"{path} was not imported when the run was trained"
        elif _sha256(present[path]) == kept[path]:
            continue
        elif not sources.same(present[path], store.read_source(number, path)):
            found[path] = f"{path} differs from the copy that the run was trained with ({copy})"
    return found


def versions_to_use(info: dict[str, Any], store: Store, *, accept: bool) -> list[sources.Version]:
    """Return the versions of a run's sources, with a new one if files have changed and the user accepts this.

    Raises:
        InputError: files have changed, and the user has not accepted this.
    """
    versions, found = sources.versions(info), changed(info, store)
    if not found:
        return versions
    if not accept:
        raise InputError(
            f"{store.location}: {'; '.join(found.values())}. Restore {'it' if len(found) == 1 else 'them'}, "
            "use another --name, or go on with --accept-source-change, which keeps the trained models and "
            "uses the changed code from now on"
        )
    return [*versions, sources.Version(since=_now(), changed=list(found))]


def keep(space: Space, store: Store, info: dict[str, Any], versions: list[sources.Version]) -> None:
    """Copy the sources that a continued run does not keep yet, and list them in ``run.yaml``."""
    entries = copied(space, store, versions)
    if entries != info.get("kept_sources", []):
        store.update_info(kept_sources=entries)


def copied(space: Space, store: Store, versions: list[sources.Version]) -> list[dict[str, Any]]:
    """Copy the sources of the functions that the last version lacks. Return all versions for ``run.yaml``."""
    if space.sources and not versions:
        versions = [sources.Version(since=_now())]
    for name, fingerprint in space.sources.items():
        if name in versions[-1].functions:
            continue
        kept, files = versions[-1].files, {}
        for path, content in sources.read(name).items():
            if path not in kept:
                store.write_source(len(versions), path, content)
            files[path] = kept.get(path) or _sha256(content)
        versions[-1].functions[name] = sources.UserFunction(fingerprint=fingerprint, files=files)
    return [version.model_dump() for version in versions]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
