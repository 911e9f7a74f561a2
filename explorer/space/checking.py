"""Validation of a space, including every cell, before anything is started. Imports nothing heavy."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

import explorer.measures
from explorer.columns import IDS, PAIR_IDS, SETTINGS, fault_of, nearest_first
from explorer.measures import own
from explorer.measures.tables import CELLS, MODELS, PAIRS
from explorer.settings import InputError, listed, plugin, shown
from explorer.space.model import (
    MAX_MODELS,
    NAME,
    NAME_RULE,
    PACKAGES,
    CheckedSpace,
    DataFacts,
    TrainingOptions,
    module_of,
    resolve,
    tasks_of,
)
from explorer.space.trust import users_functions
from explorer.tasks import TASKS
from explorer.users import sources
from explorer.users.user_process import check_function

# Phrases that complete the sentence "it should be …", for errors whose pydantic message does not.
PHRASES = {
    "string_pattern_mismatch": "your own function or class, as module:function",
    "too_short": "a list of {min_length} value(s) or more",
    "too_long": "a list of {max_length} values or fewer",
    "dict_type": "a mapping of settings",
    "model_type": "a mapping of settings",
    "list_type": "a list",
    "string_too_long": "at most {max_length} characters long",
}
TYPES = ("constrained", "function-", "literal", "list[")  # pydantic's names of types, in places of errors
SEEDS = "a number of replicates, a list of seeds from 0 on, or a range such as {range: [10, 19]}"
# Data settings that have no effect in some cells.
SOMETIMES_UNUSED = ("train_size", "subset", "noise_kind", "corruption", "corruption_seed")
# Column names of the tables. An option of a user's function may have such a name; an axis may not.
TABLE_COLUMNS = {**IDS, **SETTINGS, **MODELS, **PAIR_IDS, **PAIRS, **CELLS}
# Settings of earlier versions, and why they were removed.
REMOVED = {
    "resources.overlap": "all models are trained before the first is measured",
    "resources.graphs": "training steps never run as CUDA graphs",
}
DEFAULT_MEASURES: dict[str, dict[str, Any]] = {"hessian": {}, "connectivity": {}, "similarity": {}}


class Problem(Exception):
    """An error at a path in the file; the reader adds the file name and the line.

    Args:
        needs: what the error depends on: the data set or architecture of this section, or both ("names").
    """

    def __init__(self, path: tuple[Any, ...], message: str, *, needs: str = ""):
        super().__init__(path, message)
        self.path, self.message, self.needs = path, message, needs


@contextmanager
def _at(*path: Any, needs: str = "") -> Iterator[None]:
    """Raise an InputError of this block as a Problem at this path."""
    try:
        yield
    except InputError as error:
        raise Problem(path, str(error), needs=needs) from error


def check(raw: Any, fingerprint: Callable[[str], str] = sources.fingerprint) -> CheckedSpace:
    """Return a space from plain data after checking every cell. Imports nothing heavy.

    Args:
        fingerprint: returns the part of the ids that stands for a user's ``module:function``.

    Raises:
        Problem: the first error, with its path.
    """
    if not isinstance(raw, dict):
        raise Problem(
            (), "a space file must be a mapping of name, data, model, load, temperature, training, …"
        )
    for path, value in _leaves(raw, ()):
        if not isinstance(value, bool | int | float | str | None):
            how = "put it in quotes"
            if callable(value):
                how = "only a model, data set, loss, optimizer or measure can be a function"
            elif isinstance(value, set | frozenset):
                how = "make it a list"
            raise Problem(path, f"{value} is of type {type(value).__name__}, which no setting has; {how}")
        if isinstance(value, float) and not math.isfinite(value) and path[0] in ("load", "temperature"):
            raise Problem(path, f"{value} is not allowed; an axis needs finite numbers")
    given, raw = raw, dict(raw)
    for section in ("data", "model"):
        if isinstance(raw.get(section), str):
            raw[section] = {"name": raw[section]}
    if raw.get("measures") is None:
        raw["measures"] = dict(DEFAULT_MEASURES)
    if isinstance(raw["measures"], dict):
        raw["measures"] = {k: {} if v is None else v for k, v in raw["measures"].items()}
    training, numbers = raw.get("training"), raw.get("task") == "regression"
    if isinstance(training, dict) and training.get("loss") == "cross_entropy" and not numbers:
        raw["training"] = {k: v for k, v in training.items() if k != "loss"}  # the default loss, by its name
    space = _validated(CheckedSpace, raw, ())
    sections = {section: _checked_section(getattr(space, section), section) for section in PACKAGES}
    measures = {name: _checked_measure(name, values) for name, values in space.measures.items()}
    space = space.model_copy(update={**sections, "measures": measures})
    space = space.model_copy(update={"task": _task(space)})
    given = {k: raw.get(k, v) for k, v in given.items() if v is not None}
    space.keep(_fingerprints(space, fingerprint), given=given)
    _check_axes(space)
    _check_cells(space)
    settings = [*space.cells[0].columns, *space.axes]
    _check_own_columns(space, settings)
    own.forget_clashing(space.measures, settings)
    return space


def restore(raw: Any, sources: dict[str, str], data_facts: dict[str, DataFacts]) -> CheckedSpace:
    """Return the space of a run folder for reading: run no code of the user's.

    Args:
        raw: plain data of a space that was checked before, with all defaults.
        sources: the fingerprint of each user's function.
        data_facts: see :meth:`CheckedSpace.keep`.

    Raises:
        Problem: the data are not those of a space.
    """
    space = _validated(CheckedSpace, raw, ())
    if unknown := [name for name in users_functions(raw).values() if name not in sources]:
        raise Problem((), f"run.yaml has no fingerprint of {unknown[0]}; `resume` adds it")
    sections = {name: _checked_section(getattr(space, name), name, reading=True) for name in PACKAGES}
    for name, values in space.measures.items():
        with _at("measures", name):
            _validated(plugin(explorer.measures, name, "measure").Options, values, ("measures", name))
    space = space.model_copy(update={**sections, "task": _task(space)})
    space.keep(sources, data_facts=data_facts)
    _check_axes(space)
    with _at():
        try:
            cells = space.cells
        except ValidationError as error:
            raise InputError(_message(error.errors()[0], None)[1]) from error
    if not cells:
        raise Problem(("skip",), "skip leaves out every cell of the grid")
    return space


def _check_own_columns(space: CheckedSpace, settings: Sequence[str]) -> None:
    """Raise Problem if a user's measure has a column of a setting, or of another measure."""
    taken = dict.fromkeys(settings, "a setting")
    for name in (name for name in space.measures if ":" in name):
        for column in plugin(explorer.measures, name, "measure").COLUMNS:
            if column in taken:
                said = f"the column {column!r} has the name of {taken[column]}; give it another one"
                raise Problem(("measures", name), said)
            taken[column] = f"a column of {name}"


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield all values inside mappings and lists, with their paths."""
    if isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _fingerprints(space: CheckedSpace, fingerprint: Callable[[str], str]) -> dict[str, str]:
    """Return the fingerprints of all users' functions in the space, which must be importable."""
    fingerprints = {}
    for path, name in users_functions(space.to_dict()).items():
        with _at(*path):
            check_function(name)
            fingerprints[name] = fingerprint(name)
    return fingerprints


def _task(space: CheckedSpace) -> str:
    """Return the task of the space. The data set, the architecture and the measures must support it."""
    data = space.data["name"]
    possible = tasks_of(module_of("data", data))
    task = space.task or possible[0]
    if task not in possible:
        said = f"data set {data!r} is for {' or '.join(possible)}, not for {task}"
        raise Problem(("task",), said, needs="data")
    allowed = {
        ("measures", name): tasks_of(plugin(explorer.measures, name, "measure"), tuple(TASKS))
        for name in space.measures
    }
    if ":" not in (model := space.model["name"]):
        allowed["model", "name"] = tasks_of(module_of("model", model), ("classification", "regression"))
    for path, tasks in allowed.items():
        if task not in tasks:
            name = model if path[0] == "model" else path[1]
            said = f"{name!r} is for {' or '.join(tasks)}; the task of data set {data!r} here is {task}"
            raise Problem(path, said, needs="data")
    return task


def _check_axes(space: CheckedSpace) -> None:
    both = set(space.load) & set(space.temperature)
    if both:
        raise Problem(("temperature", min(both)), f"{min(both)!r} is already a load axis; remove one of them")
    if not space.axes:
        raise Problem(
            ("load",), "there is nothing to sweep: give at least one axis under load or temperature"
        )
    models = math.prod(len(values) for values in space.axes.values()) * len(space.seed_numbers)
    if models > MAX_MODELS and space.imported is None:
        raise Problem(("load",), f"the grid has {models:,} models; at most {MAX_MODELS:,} are allowed")
    for kind in ("load", "temperature"):
        axes: dict[str, list[Any]] = getattr(space, kind)
        for axis, values in axes.items():
            with _at(kind, axis):
                with _at(kind, axis, needs="names"):
                    section, key = resolve(axis, space)
                fault = f"charts cannot show an axis {axis!r}: {fault_of(axis)}" if fault_of(axis) else ""
                if section != "training" and key in TABLE_COLUMNS:
                    fault = f"axis {axis!r} has the same name as a column of the tables"
                if fault:
                    name = getattr(space, section)["name"]
                    raise InputError(f"{fault}; rename this option of {name}")
                if None in values and section != "training":
                    raise InputError(
                        f"axis {axis!r}: null is only for a setting of the training; give a value"
                    )
                for number, value in enumerate(values):
                    values[number] = _axis_value(space, section, key, value, (kind, axis, number))
                if len(set(values)) < len(values):
                    raise InputError(f"axis {axis!r} has a value twice: {shown(values)}")
                kinds = {_kind(value) for value in values if value is not None}
                if len(kinds) > 1:
                    raise InputError(
                        f"{shown(values)} mixes {' and '.join(sorted(kinds))}, which have no common order; "
                        "give values of one type"
                    )
                if axis == "train_size" and len({type(value) for value in values}) > 1:
                    raise InputError(
                        f"{shown(values)} mixes numbers of inputs and shares of them, which have no common "
                        "order; give only numbers or only shares"
                    )
    pairs = space.measures.get("connectivity", {}).get("pairs")
    along = pairs.get("along") if isinstance(pairs, dict) else None
    if along is not None and (along not in space.axes or resolve(along, space)[0] != "training"):
        allowed = [axis for axis in space.axes if resolve(axis, space)[0] == "training"]
        raise Problem(
            ("measures", "connectivity", "pairs"),
            f"along {along!r}: it should be an axis of the training, because both models of a pair need the "
            f"same data and architecture: {listed(allowed) or 'this space has none'}",
        )
    if space.refine:
        with _at("refine"):
            _check_refinement(space)
    for number, entry in enumerate(space.skip):
        for axis in entry:
            if axis not in space.axes:
                said = f"there is no axis {axis!r}; the axes are {listed(space.axes)}"
                raise Problem(("skip", number, axis), said)


def _check_refinement(space: CheckedSpace) -> None:
    """Raise InputError if cells of the space would have no phase, or are compared with others."""
    lacking = [f"the measure {n}" for n in ("connectivity", "similarity") if n not in space.measures]
    if len(space.seed_numbers) < 2:
        lacking.append("at least 2 seeds")
    if lacking:
        raise InputError(
            f"refine chooses cells by their phases, which need {' and '.join(lacking)}; add what is missing"
        )
    for name, values in space.measures.items():
        if isinstance(pairs := values.get("pairs"), dict) and "within" not in pairs:
            raise InputError(
                f"refine runs a part of the grid, and measures.{name}.pairs needs every cell; "
                "remove one of them"
            )


def _kind(value: Any) -> str:
    """Return the type of an axis value in words."""
    if isinstance(value, bool):
        return "truth values"
    return "numbers" if isinstance(value, int | float) else "texts" if isinstance(value, str) else "lists"


def _axis_value(space: CheckedSpace, section: str, key: str, value: Any, path: tuple[Any, ...]) -> Any:
    """Return the value in the type of the setting (10.0 → 10 for integers)."""
    if section == "training":
        clear = {"steps": "epochs", "epochs": "steps"}.get(key)
        base = {k: v for k, v in space.training.model_dump().items() if k != clear}
        if clear and getattr(space.training, clear) is not None:
            raise Problem(
                path[:2], f"axis {key!r} and training.{clear} exclude each other; remove one of them"
            )
        return getattr(_validated(TrainingOptions, {**base, key: value}, path, only=key), key)
    name = getattr(space, section)["name"]
    if section == "model" and ":" in name:
        return value
    options = {k: v for k, v in getattr(space, section).items() if k != "name"} | {key: value}
    needs = "model" if section == "model" else ""
    return getattr(_validated(module_of(section, name).Options, options, path, only=key, needs=needs), key)


def _check_cells(space: CheckedSpace) -> None:
    training = set(space.axes) & {"steps", "epochs"}
    if len(training) == 2:
        raise Problem(("load",), "steps and epochs cannot both be axes")
    one_length = (space.training.steps is None) != (space.training.epochs is None)
    if not (training or one_length or space.imported):
        both = ("epochs",) if space.training.steps else ()
        raise Problem(("training", *both), "give the length of training as either steps or epochs")
    try:
        cells = space.cells
    except ValidationError as error:  # two swept settings that cannot be combined
        raise Problem(("load",), _message(error.errors()[0], None)[1]) from error
    if not cells:
        raise Problem(("skip",), "skip leaves out every cell of the grid")
    for cell in cells:
        for section, name in (("data", cell.data_name), ("model", cell.model_name)):
            if ":" not in name and hasattr(module := module_of(section, name), "check"):
                with _at(section, needs="data"):
                    module.check(cell)
        if cell.task == "regression" and getattr(cell.data, "noise_kind", "other") != "other":
            raise Problem(
                ("data", "noise_kind"),
                "noise_kind is for class labels; in regression, label_noise exchanges targets between inputs",
            )
        with _at("data", "name", needs="data"):
            _ = cell.data_facts
        with _at(*_section_of("train_size", space), "train_size", needs="data"):
            inputs = cell.inputs
        if cell.training.batch_size > inputs and not cell.imported:
            raise Problem(
                (*_section_of("batch_size", space), "batch_size"),
                f"batch_size {cell.training.batch_size} is above the {inputs} training inputs of {cell.at}",
                needs="data",
            )
    if set(space.axes) & set(SOMETIMES_UNUSED):
        _check_equal_cells(space)


def _section_of(name: str, space: CheckedSpace) -> tuple[str]:
    """Return the section that sets ``train_size`` or ``batch_size``: that of an axis, or its own."""
    kinds = [kind for kind in ("load", "temperature") if name in getattr(space, kind)]
    return (kinds[0] if kinds else "training" if name == "batch_size" else "data",)


def _check_equal_cells(space: CheckedSpace) -> None:
    """Raise Problem if two cells have the same models; these would be trained and shown twice."""
    cells: dict[str, Any] = {}
    for cell in space.cells:
        other = cells.setdefault(cell.id, cell)
        if other is not cell:
            axis = next(n for n in SOMETIMES_UNUSED if n in cell.at and cell.at[n] != other.at[n])
            raise Problem(
                ("load" if axis in space.load else "temperature", axis),
                f"the cells {other.at} and {cell.at} are the same models: {axis} changes nothing there; "
                f"leave one out with skip: [{json.dumps(cell.at)}]",
            )


def _checked_section(values: dict[str, Any], section: str, reading: bool = False) -> dict[str, Any]:
    """Return the name and all options of the data set or the architecture.

    With ``reading``, a user's function is not imported.
    """
    name = values.get("name")
    if not isinstance(name, str):
        raise Problem((section,), f"{section} needs a name")
    with _at(section, "name"):
        if ":" in name:
            if not reading:
                check_function(name)
            if wrong := [option for option in values if not option.isidentifier()]:
                raise Problem(
                    (section, wrong[0]),
                    f"{wrong[0]!r} is no name of an argument of {name}: letters, digits and _ only",
                )
            if section == "model":
                return values
        module = module_of(section, name)
    options = {k: v for k, v in values.items() if k != "name"}
    return {"name": name, **_validated(module.Options, options, (section,)).model_dump()}


def _checked_measure(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return all options of a measure. The packages that it needs must be installed."""
    with _at("measures", name):
        if ":" in name:
            return own.check(name, values)
        measure = plugin(explorer.measures, name, "measure")
    for package in getattr(measure, "NEEDS", ()):
        if importlib.util.find_spec(package) is None:
            raise Problem(("measures", name), f"{name} needs the package {package}: pip install {package}")
    return _validated(measure.Options, values, ("measures", name)).model_dump()


def _validated(
    model: type[BaseModel], values: Any, path: tuple[Any, ...], only: str | None = None, needs: str = ""
) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # What is missing comes last: nothing in the section can be checked without it.
        first = _of_alternatives(error.errors())
        where, message = _message(first, model)
        raise Problem(path if only else (*path, *where), message, needs=needs) from error


def _of_alternatives(errors: list[Any]) -> Any:
    """Return the error to tell: for a setting of several types, that of the mapping meant, or of all."""

    def first_of(some: list[Any]) -> Any:
        return min(some, key=lambda one: one["type"] == "missing")

    first = first_of(errors)
    *place, kind = first["loc"]
    if not str(kind).startswith(TYPES):
        return first
    same = [one for one in errors if one["loc"][: len(place)] == tuple(place)]
    mappings: dict[Any, list[Any]] = {}
    for one in same:
        if len(one["loc"]) > len(place) + 1:
            mappings.setdefault(one["loc"][len(place)], []).append(one)
    if mappings and first["input"]:
        fewest = min(map(len, mappings.values()))
        nearest, *others = [some for some in mappings.values() if len(some) == fewest]
        meant = next((one for one in nearest if one["type"] != "missing"), nearest[0])
        return {**meant, "loc": (*place, *meant["loc"][len(place) + 1 :])} if others else meant
    allowed = dict.fromkeys(_allowed(one) for one in same if not one["type"].startswith(("model", "missing")))
    separator = ", or " if any(" or " in one for one in allowed) else " or "
    return {**first, "type": "alternatives", "msg": separator.join(allowed)}


def _allowed(error: Any) -> str:
    """Return what may stand in the place of an error, or what is wrong."""
    phrase = PHRASES.get(error["type"])
    text = phrase.format(**error.get("ctx", {})) if phrase else error["msg"]
    return (
        text.removeprefix("Value error, ").removeprefix("Input should be ").partition(", unable to parse")[0]
    )


def _message(error: Any, model: type[BaseModel] | None) -> tuple[tuple[Any, ...], str]:
    path = tuple(
        p
        for place, p in enumerate(error["loc"])
        if isinstance(p, int)
        or not (p.startswith(TYPES) or (p[:1].isupper() and place < len(error["loc"]) - 1))  # a class
    )
    field = ".".join(str(p) for p in path)
    if field in REMOVED:
        return path, f"{field} was removed: {REMOVED[field]}. Delete it"
    if error["type"] == "extra_forbidden":
        known = _fields_at(model, error["loc"][:-1])
        name = str(error["loc"][-1])
        if name in known:  # of another of the mappings that are allowed here
            others = ", ".join(known)
            return path, f"{name!r} cannot stand beside the other settings here; give one of {others}"
        hint = f"known: {nearest_first(name, known)}" if known else "there are no settings here"
        return path, f"{name!r} is not known here; {hint}"
    if error["type"] == "missing":
        return path[:-1] if model is CheckedSpace else path, f"{field} is missing"
    if error.get("ctx", {}).get("pattern") == NAME:
        return path, f"{field}: {shown(error['input'])} is not allowed; it should be {NAME_RULE}"
    if model is CheckedSpace and path[:1] == ("seeds",) and error["type"] != "value_error":
        return ("seeds",), f"seeds: {shown(error['input'])} is not allowed; it should be {SEEDS}"
    text = _allowed(error)
    prefix = f"{field}: " if field else ""
    if error["type"] == "value_error":
        return path, f"{prefix}{text}"
    return path, f"{prefix}{shown(error['input'])} is not allowed; it should be {text}"


def _fields_at(model: type[BaseModel] | None, path: tuple[Any, ...]) -> list[str]:
    """Return the settings that are known at a path; steps through lists and mappings stay in their model."""
    models = [model] if model else []
    for step in path:
        if named := [one for one in models if one.__name__ == step]:
            models = named
        elif having := [one for one in models if step in one.model_fields]:
            models = [found for one in having for found in _models_in(one.model_fields[step].annotation)]
    return [field.alias or name for one in models for name, field in one.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
