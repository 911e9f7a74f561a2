"""The space of checkpoints: each of their settings is an axis, or a setting of all."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from explorer import columns
from explorer.settings import InputError, listed, plugin, shown
from explorer.space.checking import DEFAULT_MEASURES
from explorer.space.model import PACKAGES, CheckedSpace, module_of
from explorer.space.reading import parse, set_value
from explorer.space.training import TrainingOptions
from explorer.users import user_process
from explorer.users.functions import user_function, users_code

SETTING = re.compile(r"(load|temperature|training)\.(\w+)(?:\.\d+)?: (.*)")  # of a message about it
RESULTS = ("train_loss", "train_error_percent", "test_loss", "test_accuracy_percent")
TEMPERATURE = ("batch_size", "learning_rate", "weight_decay", "momentum")  # first in maps
OF_CHECKPOINTS = ("load", "temperature", "seeds", "skip", "imported")  # sections that they decide
EXACT = 2**53  # floating-point numbers below it may stand for a whole number


class Checkpoint(NamedTuple):
    """A checkpoint: its file, where its settings stand, the settings, its seed, and results to compare."""

    file: Path
    where: str
    settings: dict[str, Any]
    seed: int | None
    results: dict[str, float]


def data_section(data: str | dict[str, Any]) -> dict[str, Any]:
    """Return the section ``data`` of a space for a file, a folder, a data set's name or a function.

    A section is returned with this one default: inputs are not standardised, because a model is measured on
    the inputs that it was trained on.
    """
    path = Path("" if isinstance(data, dict) else data)
    kinds = {".npz": "arrays", ".csv": "table", ".tsv": "table", ".parquet": "table"}
    if isinstance(data, dict):
        section = dict(data)
    elif path.suffix in kinds or path.is_dir():
        section = {"name": kinds.get(path.suffix, "image-folder"), "path": data}
    elif ":" in data or data in PACKAGES["data"][0].NAMES:
        section = {"name": data}
    else:
        plugin(PACKAGES["data"][0], data, "file, folder or data set")
        raise AssertionError("unreachable")
    plain = "standardise" in module_of("data", section["name"]).Options.model_fields
    return ({"standardise": False} if plain else {}) | section


def checkpoints_of(
    rows: Sequence[tuple[str, dict[str, Any]]],
    folder: Path,
    raw: dict[str, Any],
    renamed: Mapping[str, str],
) -> tuple[list[Checkpoint], dict[str, str]]:
    """Return the checkpoints, and the section of the space that each of their settings belongs to.

    Args:
        raw: plain data of the space, with ``data`` and ``model``.
        renamed: our names of columns by theirs; see :func:`explorer.columns.renames`.

    Raises:
        InputError: a column is no setting, or a value is missing; the message lists all such columns.
    """
    ours, known = _our_names(rows, raw, renamed)
    checkpoints = [_checkpoint(folder, where, row, ours, known) for where, row in rows]
    at: dict[Path, str] = {}
    for one in checkpoints:
        if (other := at.setdefault(one.file.absolute(), one.where)) != one.where:
            raise InputError(
                f"{other} and {one.where} name the same file {one.file}; give each model once, or two models "
                "would be compared that are one"
            )
    return checkpoints, known


def _our_names(
    rows: Sequence[tuple[str, dict[str, Any]]], raw: dict[str, Any], renamed: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return our name of each column, empty for one that is left out, and the section of each setting."""
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    if unknown := [name for name in renamed if name not in names]:
        raise InputError(f"--columns {unknown[0]}=…: there is no such column; there are {listed(names)}")
    ours = {name: renamed.get(name, name) for name in names}
    if twice := [name for name, new in renamed.items() if new in names and ours[new] == new != name]:
        new = ours[twice[0]]
        raise InputError(
            f"--columns {twice[0]}={new}: there is a column {new!r} already; leave it out with {new}="
        )
    known, takes_others = _known_settings(raw)
    choices = [*known, "seed", *RESULTS]
    other = [n for n, o in ours.items() if o and o not in {"file", *choices}]
    if takes_others:  # a column that is near a setting is one only if the user has named it
        free = [n for n in other if n in renamed or not columns.nearest(n, choices)]
        free = [n for n in free if ours[n].isidentifier()]
        known |= {ours[n]: "model" for n in free}
        other = [n for n in other if n not in free]
    if other:
        hints = [(name, columns.nearest(name, choices)) for name in other]
        described = [f"{name!r}{f' (perhaps {hint})' if hint else ''}" for name, hint in hints]
        shown_as = [f"{name}={hint}" for name, hint in hints]
        raise InputError(
            f"{rows[0][0].partition(', line')[0]}: {listed(described)}: no setting of this data set, "
            f"architecture or training. Rename columns, or leave them out with an empty name: "
            f"--columns {listed(shown_as, ',')}"
        )
    return ours, known


def _checkpoint(
    folder: Path, where: str, row: Mapping[str, Any], ours: Mapping[str, str], known: Mapping[str, str]
) -> Checkpoint:
    """Return the checkpoint of a row, whose values have the types of settings and results."""
    values = {new: _whole(row.get(name)) for name, new in ours.items() if new}
    for name, value in values.items():
        if name not in RESULTS and (value is None or value == ""):
            raise InputError(f"{where}: {name} has no value; give it one, or leave the column out")
        if not isinstance(value, bool | int | float | str | None):
            raise InputError(f"{where}: {name} is {shown(value)}; a setting is a number or a word")
    seed = values.get("seed")
    if seed is not None and (not isinstance(seed, int) or seed < 0):
        raise InputError(f"{where}: seed is {seed!r}; it should be a whole number from 0")
    results = {n: v for n, v in values.items() if n in RESULTS and v not in (None, "")}
    if wrong := [name for name, v in results.items() if isinstance(v, str | bool)]:
        raise InputError(f"{where}: {wrong[0]} is {shown(results[wrong[0]])}; it should be a number")
    settings = {name: value for name, value in values.items() if name in known}
    return Checkpoint(folder / str(values["file"]), where, settings, seed, results)


def _whole(value: Any) -> Any:
    """Return a number such as 4.0 as the whole number that it is; anything else as it is."""
    whole = isinstance(value, float) and abs(value) < EXACT and value.is_integer()
    return int(value) if whole else value


def _known_settings(raw: dict[str, Any]) -> tuple[dict[str, str], bool]:
    """Return the settings that a checkpoint may have, with their sections.

    The second result says whether the architecture takes arguments of any name.
    """
    data, model = raw["data"]["name"], raw["model"]["name"]
    takes_others = False
    if ":" in model:
        what = f"the import of {model!r}"
        named, takes_others = user_process.call(f"{__name__}:options_of", model, what=what)
        of_model = [*named, *raw["model"]]
    else:
        of_model = list(module_of("model", model).Options.model_fields)
    known = dict.fromkeys(TrainingOptions.model_fields, "training")
    known |= dict.fromkeys(of_model, "model")
    known |= dict.fromkeys([*module_of("data", data).Options.model_fields, *raw["data"]], "data")
    return {n: section for n, section in known.items() if n not in ("name", "loss")}, takes_others


def options_of(reference: str) -> tuple[list[str], bool]:
    """Return the names of the arguments of a user's architecture, besides ``shape`` and ``classes``.

    The second result says whether it has ``**kwargs``.
    """
    function = user_function(reference)
    with users_code(reference, "has no signature"):
        parameters = list(inspect.signature(function).parameters.values())
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_others = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return [name for name in named if name not in ("shape", "classes")], takes_others


def space_of(
    checkpoints: Sequence[Checkpoint], known: Mapping[str, str], raw: dict[str, Any], overrides: Sequence[str]
) -> tuple[CheckedSpace, dict[str, Checkpoint]]:
    """Return the checked space of some checkpoints, and the checkpoints by ``model_id``.

    A setting with several values is an axis. A setting of the training is a temperature, any other a load.

    Raises:
        InputError: two checkpoints have the same settings and seed, there is no setting, or a value is wrong.
    """
    names = list(dict.fromkeys(name for one in checkpoints for name in one.settings))
    if not names:
        raise InputError(
            f"{checkpoints[0].where}: there is no setting besides file and seed; give at least one, such as "
            "width or batch_size, or a map has no axis"
        )
    values = {name: _in_order(one.settings[name] for one in checkpoints) for name in names}
    axes = [name for name in names if len(values[name]) > 1] or names[:1]
    axes.sort(key=lambda name: TEMPERATURE.index(name) if name in TEMPERATURE else len(TEMPERATURE))
    raw = {**raw, "load": {}, "temperature": {}, "training": {**raw.get("training", {})}}
    for name in names:
        section = known[name]
        if name in axes:
            raw["temperature" if section == "training" else "load"][name] = values[name]
        if name not in axes or section == "model":
            raw[section] = {**raw[section], name: values[name][0]}
    cells: dict[str, dict[int, Checkpoint]] = {}
    at: dict[str, dict[str, Any]] = {}
    for one in checkpoints:
        place = {name: one.settings[name] for name in axes}
        key = json.dumps([float(v) if isinstance(v, int) else v for v in place.values()])
        seeds = cells.setdefault(key, {})
        at.setdefault(key, place)
        seed = len(seeds) if one.seed is None else one.seed
        if seed in seeds:
            same = listed(f"{name} {value}" for name, value in place.items())
            raise InputError(
                f"{seeds[seed].where} and {one.where} are two models with {same} and seed {seed}; give them "
                "different seeds, or a column for the setting in which they differ"
            )
        seeds[seed] = one
    raw["seeds"] = sorted({seed for seeds in cells.values() for seed in seeds})
    raw["imported"] = [{"at": at[key], "seeds": sorted(seeds)} for key, seeds in cells.items()]
    try:
        space = parse(raw, overrides)
    except InputError as error:
        raise InputError(_of_settings(str(error), checkpoints[0].where)) from None
    if space.refine is not None:
        raise InputError("refine chooses cells to train, and imported models are trained; leave refine out")
    by_id = {
        cell.model_id(seed): one
        for cell, seeds in zip(space.cells, cells.values(), strict=True)
        for seed, one in seeds.items()
    }
    return space, by_id


def _of_settings(problems: str, where: str) -> str:
    """Return what is wrong with a space, in terms of the settings that it was made of."""
    source, lines = where.partition(", line")[0], problems.splitlines()
    causes = [line for line in lines if not line.startswith("imported")] or lines
    described = []
    for line in causes:
        if setting := SETTING.match(line):
            section, name, rest = setting.groups()
            line = f"{source}: {name}: {rest.removeprefix(f'{name}: ')}"
            if section == "training" or name in TrainingOptions.model_fields:
                line += f"; or leave it out: --columns {name}="
        described.append(line)
    return "\n".join(described)


def _in_order(values: Iterable[Any]) -> list[Any]:
    """Return the distinct values: numbers ascending, others as they come."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct) if all(isinstance(v, int | float) for v in distinct) else distinct


def plain_space(
    name: str, model: str, data: str | dict[str, Any], overrides: Sequence[str]
) -> dict[str, Any]:
    """Return plain data of a space without axes, with the overrides of its data and architecture.

    Raises:
        InputError: an override concerns what the checkpoints decide.
    """
    raw: dict[str, Any] = {"name": name, "data": data_section(data), "model": {"name": model}}
    raw |= {"training": {}, "measures": {k: dict(v) for k, v in DEFAULT_MEASURES.items()}}
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] in OF_CHECKPOINTS:
            raise InputError(f"--set {override}: axes and seeds are those of the checkpoints; leave it out")
        if override.startswith(("data.", "model.")):
            set_value(raw, override)
    return raw
