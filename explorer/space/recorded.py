"""The space of a run folder: what the user said, and the defaults of the version that began the run.

A later version goes on with those defaults. It leaves out the settings and measures that it does not know,
and tells them in one line.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

import explorer.data
import explorer.measures
import explorer.models
from explorer.runs.store import Store
from explorer.settings import plugin
from explorer.space.model import Space

CHANGE_MODELS = ("data.", "model.", "training.")  # sections whose settings decide what is trained


def split(space: Space, said: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the entries of ``run.yaml`` that hold a space: ``space``, what was said, and ``defaults``.

    Args:
        said: plain data that has a key for each setting that was said; what the space was parsed from, if
            left out.
    """
    frozen = space.frozen()
    found = _only(frozen, space.said if said is None else said)
    return {"space": found, "defaults": _without(frozen, found)}


def _only(values: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Return the values that have a key, of all depths."""
    found = {}
    for key, value in values.items():
        if key in keys:
            both = isinstance(value, dict) and isinstance(keys[key], dict)
            found[key] = _only(value, keys[key]) if both else value
    return found


def _without(values: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Return the values that have none."""
    found = {}
    for key, value in values.items():
        if key not in keys:
            found[key] = value
        elif isinstance(value, dict) and (rest := _without(value, keys[key])):
            found[key] = rest
    return found


def read_info(store: Store) -> dict[str, Any]:
    """Return ``run.yaml`` with a space that this version knows, and warn once of what was left out.

    Raises:
        InputError: it is missing or damaged.
    """
    info = store.read_info()
    info["space"], ignored = known(info["space"])
    if ignored and store.warned != ignored:
        store.warned = ignored
        line = f"{store.location}: settings of another version are ignored: {', '.join(ignored)}"
        if any(name.startswith(CHANGE_MODELS) for name in ignored):
            line += ". Models that were trained with them count as others, and are trained again without"
        store.warn(line)
    return info


def known(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the plain data of a space without the settings and measures that this version does not have.

    Also returns the names of those.
    """
    found, ignored = dict(raw), []
    for name in raw.keys() - Space.model_fields.keys():
        del found[name]
        ignored.append(name)
    for section, options in (("training", None), ("resources", None), ("phases", None), *_plugins(raw)):
        options = options or Space.model_fields[section].annotation
        if isinstance(found.get(section), dict):
            found[section] = _known(found[section], options, section, ignored)
    if isinstance(found.get("measures"), dict):
        kept = {}
        for name, values in found["measures"].items():
            if name in explorer.measures.NAMES:
                options = plugin(explorer.measures, name, "measure").Options
                kept[name] = _known(values, options, f"measures.{name}", ignored)
            else:
                ignored.append(f"measures.{name}")
        found["measures"] = kept
    return found, sorted(ignored)


def _plugins(raw: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the options of the data set and of the architecture, where they are this package's."""
    found = []
    for section, package in (("data", explorer.data), ("model", explorer.models)):
        values = raw.get(section)
        if isinstance(values, dict) and values.get("name") in package.NAMES:
            found.append((section, plugin(package, values["name"], section).Options))
    return found


def _known(values: Any, options: Any, where: str, ignored: list[str]) -> Any:
    if not (isinstance(values, dict) and isinstance(options, type) and issubclass(options, BaseModel)):
        return values
    fields = {field.alias or name for name, field in options.model_fields.items()} | {"name"}
    ignored += [f"{where}.{name}" for name in values if name not in fields]
    return {name: value for name, value in values.items() if name in fields}
