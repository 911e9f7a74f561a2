"""The copies of the user's source files in a run folder: compare them, accept changes, and write new ones."""

from __future__ import annotations

from typing import Any

from explorer.runs.store import Store
from explorer.settings import InputError, listed
from explorer.space import recorded
from explorer.space.model import CheckedSpace
from explorer.space.trust import changed_sources
from explorer.units import timestamp
from explorer.users import sources


def versions_to_use(info: dict[str, Any], store: Store, *, accept: bool) -> list[sources.Version]:
    """Return the versions of a run's sources, with a new one if files have changed and the user accepts this.

    Raises:
        InputError: files have changed, and the user has not accepted this.
    """
    versions, changes = sources.versions(info), changed_sources(info, store)
    if not changes:
        return versions
    if not accept:
        what = "it" if len(changes) == 1 else "them"
        raise InputError(
            f"{store.location}: {listed(changes.values(), '; ')}. Restore {what}, "
            "use another --name, or go on with --accept-source-change, which keeps the trained models and "
            "uses the changed code from now on"
        )
    return [*versions, sources.Version(since=timestamp(), changed=list(changes))]


def keep(space: CheckedSpace, store: Store, info: dict[str, Any], versions: list[sources.Version]) -> None:
    """Copy the sources that a continued run does not keep yet; list them and the data in ``run.yaml``."""
    entries = {"kept_sources": copy_missing(space, store, versions), **recorded.described_data(space)}
    if entries != {name: info.get(name, []) for name in entries}:
        store.update_info(**entries)


def copy_missing(space: CheckedSpace, store: Store, versions: list[sources.Version]) -> list[dict[str, Any]]:
    """Copy the sources of the functions that the last version lacks. Return all versions for ``run.yaml``."""
    if space.sources and not versions:
        versions = [sources.Version(since=timestamp())]
    for name, fingerprint in space.sources.items():
        kept, files = versions[-1].files, {}
        if name in versions[-1].functions:
            for path, content in sources.read(name).items():  # a damaged copy may have been set aside
                if kept.get(path) == sources.sha256(content):
                    store.mend_source(len(versions), path, content)
            continue
        for path, content in sources.read(name).items():
            if path not in kept:
                store.write_source(len(versions), path, content)
            files[path] = kept.get(path) or sources.sha256(content)
        versions[-1].functions[name] = sources.UserFunction(fingerprint=fingerprint, files=files)
    return [version.model_dump() for version in versions]
