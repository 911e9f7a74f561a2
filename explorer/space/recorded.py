"""The space of a run folder: the user's settings, and the defaults of the version that started the run.

A later version keeps those defaults. It ignores settings and measures that it does not know, and lists
them in one warning.
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

SECTIONS = ("training", "resources", "phases")  # with the same settings in every space
CHANGE_MODELS = ("data.", "model.", "training.")  # sections whose settings determine the models


def split(space: Space, said: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the entries of ``run.yaml`` that hold a space: ``space`` (given settings) and ``defaults``.

    Args:
        said: plain data with a key for each given setting; by default the data that the space was parsed
            from.
    """
    frozen = space.frozen()
    given = _only(frozen, space.said if said is None else said)
    return {"space": given, "defaults": _without(frozen, given)}


def _only(values: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Return the values whose key is in ``keys``, at all depths."""
    selected = {}
    for key, value in values.items():
        if key in keys:
            nested = isinstance(value, dict) and isinstance(keys[key], dict)
            selected[key] = _only(value, keys[key]) if nested else value
    return selected


def _without(values: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Return the values whose key is not in ``keys``, at all depths."""
    remaining = {}
    for key, value in values.items():
        if key not in keys:
            remaining[key] = value
        elif isinstance(value, dict) and (rest := _without(value, keys[key])):
            remaining[key] = rest
    return remaining


def read_info(store: Store) -> dict[str, Any]:
    """Return ``run.yaml`` without settings that this version does not know, and warn once about these.

    Raises:
        InputError: ``run.yaml`` is missing or damaged.
    """
    info = store.read_info()
    info["space"], ignored = known(info["space"])
    if ignored and store.warned != ignored:
        store.warned = ignored
        line = f"{store.location}: settings of another version are ignored: {', '.join(ignored)}"
        if any(name.startswith(CHANGE_MODELS) for name in ignored):
            line += ". Models trained with them count as different models and are trained again without them"
        store.warn(line)
    return info


def known(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a space's plain data without unknown settings and measures, and the names of these.

    "Unknown" means that this version does not have them.
    """
    kept, ignored = dict(raw), []
    for name in raw.keys() - Space.model_fields.keys():
        del kept[name]
        ignored.append(name)
    always = [(section, Space.model_fields[section].annotation) for section in SECTIONS]
    for section, options in (*always, *_plugins(raw)):
        if section in kept:
            kept[section] = _known(kept[section], options, section, ignored)
    if isinstance(kept.get("measures"), dict):
        measures = {}
        for name, values in kept["measures"].items():
            if name in explorer.measures.NAMES:
                options = plugin(explorer.measures, name, "measure").Options
                measures[name] = _known(values, options, f"measures.{name}", ignored)
            else:
                ignored.append(f"measures.{name}")
        kept["measures"] = measures
    return kept, sorted(ignored)


def _plugins(raw: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the options of the data set and of the architecture, if they belong to this package."""
    options = []
    for section, package in (("data", explorer.data), ("model", explorer.models)):
        values = raw.get(section)
        if isinstance(values, dict) and values.get("name") in package.NAMES:
            options.append((section, plugin(package, values["name"], section).Options))
    return options


def _known(values: Any, options: Any, where: str, ignored: list[str]) -> Any:
    if not (isinstance(values, dict) and isinstance(options, type) and issubclass(options, BaseModel)):
        return values
    fields = {field.alias or name for name, field in options.model_fields.items()} | {"name"}
    ignored += [f"{where}.{name}" for name in values if name not in fields]
    return {name: value for name, value in values.items() if name in fields}
