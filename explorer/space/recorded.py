"""The space of a run folder: the user's settings, and the defaults of the version that started the run.

A later version keeps those defaults. It ignores settings and measures that it does not know, and lists
them in one warning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter

import explorer.measures
from explorer.measures import own
from explorer.runs.store import Store
from explorer.settings import InputError, listed, plugin
from explorer.space.model import PACKAGES, CheckedSpace, DataFacts, RefineOptions, module_of
from explorer.space.reading import parse, restore
from explorer.space.trust import users_functions
from explorer.users import sources

SECTIONS = ("training", "resources", "phases")  # with the same settings in every space
FACTS = TypeAdapter(DataFacts)
CHANGE_MODELS = ("data.", "model.", "training.")  # sections whose settings determine the models


def split(space: CheckedSpace, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the entries of ``run.yaml`` that hold a space: given settings, defaults, and the data's facts.

    Args:
        given: plain data with a key for each given setting; by default the data that the space was parsed
            from.
    """
    settings, defaults = _split(space.to_dict(), space.given_settings if given is None else given)
    measures = own.descriptions_of(space.measures)
    described = {"own_measures": measures} if measures else {}
    return {"space": settings, "defaults": defaults, **described, **described_data(space)}


def _split(values: dict[str, Any], keys: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values whose key is in ``keys``, and all others, at all depths."""
    selected, others = {}, {}
    for key, value in values.items():
        if key not in keys:
            others[key] = value
        elif isinstance(value, dict) and isinstance(keys[key], dict):
            selected[key], rest = _split(value, keys[key])
            if rest:
                others[key] = rest
        else:
            selected[key] = value
    return selected, others


def read_info(store: Store) -> dict[str, Any]:
    """Return ``run.yaml`` without settings that this version does not know, and warn once about these.

    Raises:
        InputError: ``run.yaml`` is missing or damaged.
    """
    info = store.read_info()
    own.register_kept(info.get("own_measures"))
    info["space"], ignored = without_unknown_settings(info["space"])
    if ignored:
        line = f"{store.location}: settings of another version are ignored: {listed(ignored)}"
        if any(name.startswith(CHANGE_MODELS) for name in ignored):
            line += ". Models trained with them count as different models and are trained again without them"
        store.warn_once(line)
    return info


def space_of(info: dict[str, Any]) -> CheckedSpace:
    """Return the space of ``run.yaml`` for reading: runs no code of the user's.

    Raises:
        InputError: ``run.yaml`` is not that of a run, or an earlier version did not describe the data in it.
    """
    fingerprints = _fingerprints(info)
    if "kept_sources" not in info:
        of_bytes = fingerprint_of(info)
        fingerprints = {name: of_bytes(name) for name in users_functions(info["space"]).values()}
    return restore(info["space"], fingerprints, _data_facts(info))


def working_space_of(info: dict[str, Any], overrides: Sequence[str] = ()) -> CheckedSpace:
    """Return the checked space of ``run.yaml`` for work. Imports users' functions and reads the data.

    Users' functions have the fingerprints of the run's beginning.

    Raises:
        InputError: the space or an override is wrong, or the data cannot be read.
    """
    return parse(info["space"], overrides, fingerprint_of(info))


def described_data(space: CheckedSpace) -> dict[str, Any]:
    """Return the entry of ``run.yaml`` by which the run is read without its data."""
    return {"data_sets": {key: facts._asdict() for key, facts in space.data_facts.items()}}


def _data_facts(info: dict[str, Any]) -> dict[str, DataFacts]:
    described = info.get("data_sets") or {}
    try:
        facts = {key: DataFacts(**entry) for key, entry in described.items()}
        return {key: FACTS.validate_python(fact, strict=True) for key, fact in facts.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError("run.yaml is damaged: data_sets does not describe data sets") from error


def rounds_of(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rounds of a refined run: ``cells`` (their ids) and, of a finished round, ``expected``.

    ``expected`` is the share of the phases of the whole grid that was expected to be right after the round.

    Raises:
        InputError: ``run.yaml`` is damaged.
    """
    try:
        return [
            {"cells": [str(cell) for cell in one["cells"]]}
            | ({"expected": float(one["expected"])} if "expected" in one else {})
            for one in info.get("rounds") or []
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise InputError("run.yaml is damaged: rounds does not list the cells of rounds") from error


def fingerprint_of(info: dict[str, Any]) -> Callable[[str], str]:
    """Return the function that gives the fingerprint of a user's function in the ids of a run's models."""
    if "kept_sources" not in info:  # written by a version that kept none
        return lambda name: sources.bytes_fingerprint(name, info.get("sources", []))
    fingerprints = _fingerprints(info)
    return lambda name: fingerprints.get(name) or sources.fingerprint(name)


def _fingerprints(info: dict[str, Any]) -> dict[str, str]:
    """Return the fingerprint of each user's function whose sources the run keeps."""
    functions = (entry for version in sources.versions(info) for entry in version.functions.items())
    return {name: function.fingerprint for name, function in functions}


def without_unknown_settings(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a space's plain data without settings and measures that this version does not have.

    Also return the names of these settings and measures.
    """
    ignored: list[str] = []
    raw = _known(raw, CheckedSpace, "", ignored)
    sections: dict[str, Any] = {name: CheckedSpace.model_fields[name].annotation for name in SECTIONS}
    sections["refine"] = RefineOptions
    for section, (package, _) in PACKAGES.items():
        values = raw.get(section)
        if isinstance(values, dict) and values.get("name") in package.NAMES:
            sections[section] = module_of(section, values["name"]).Options
    for section, options in sections.items():
        if section in raw:
            raw[section] = _known(raw[section], options, f"{section}.", ignored)
    if isinstance(raw.get("measures"), dict):
        known = {*explorer.measures.NAMES, *explorer.measures.USERS}
        ignored += [f"measures.{name}" for name in raw["measures"] if name not in known]
        raw["measures"] = {
            name: _known(
                values, plugin(explorer.measures, name, "measure").Options, f"measures.{name}.", ignored
            )
            for name, values in raw["measures"].items()
            if name in known
        }
    return raw, sorted(ignored)


def _known(values: Any, options: type[BaseModel], prefix: str, ignored: list[str]) -> Any:
    """Return the values that ``options`` has as fields, and add the names of all others to ``ignored``."""
    if not isinstance(values, dict) or options is own.OwnMeasureOptions:
        return values
    fields = {field.alias or name for name, field in options.model_fields.items()} | {"name"}
    ignored += [f"{prefix}{name}" for name in values if name not in fields]
    return {name: value for name, value in values.items() if name in fields}
