"""Measures of a user's own, by ``module:name``: a function or class of a model or of a pair of models.

A class has the names that a file of this package has: ``KIND``, ``COLUMNS`` and ``measure(cell, subjects,
options)``, and an ``Options`` if it has options. A function is a shorter form of the same. The user's code
runs in the process for users' code only. Tables and pages need its :class:`Description` in ``run.yaml``.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, create_model

import explorer.measures
from explorer.columns import Column, fault_of
from explorer.measures import tables
from explorer.measures.base import CellModels, Measured, ids_of, pair_name
from explorer.options import Options
from explorer.settings import InputError, listed, shown, suggest
from explorer.users import sources, user_process
from explorer.users.functions import progress, user_function, users_code

NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")  # of a column
MODELS: dict[tuple[str, ...], Literal["model", "pair"]] = {
    ("model",): "model",
    ("model_a", "model_b"): "pair",
}
EXPECTED = "it should begin with (model, data), (model,), (model_a, model_b, data) or (model_a, model_b)"


def columns(**described: Column) -> Callable[[Any], Any]:
    """Return a decorator that describes the columns of a measure's function, which returns a number for each.

    Without it, a function returns one number, and its column has the function's name.

    >>> from explorer.measures.base import averaged
    >>> @columns(weight_norm=averaged("norm of all parameters", title="Weight norm"))
    ... def weight_norm(model, order: float = 2.0):
    ...     return sum(p.abs().pow(order).sum() for p in model.parameters()) ** (1 / order)
    """

    def describe(function: Any) -> Any:
        function.columns = described
        return function

    return describe


class ColumnText(BaseModel):
    """A column as ``run.yaml`` keeps it; see :class:`explorer.columns.Column`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["text", "integer", "number", "flag"]
    unit: str = ""
    meaning: str = ""
    title: str = ""
    caption: str = Field("", validation_alias=AliasChoices("caption", "see"))  # see: of earlier versions
    averaged: bool = False
    log: bool = False
    diverging: bool = False
    digits: int | None = None


class Description(BaseModel):
    """Description of a measure, from which tables and pages are made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["model", "pair"]
    columns: dict[str, ColumnText]


class OwnMeasureOptions(Options):
    """Options of a measure, as the user's code has checked them."""

    model_config = ConfigDict(extra="allow")


class OwnMeasure:
    """A measure of a user's own, with the interface of a file of this package."""

    Options, EXTRA = OwnMeasureOptions, ()

    def __init__(self, name: str, description: Description):
        self.name, self.description, self.KIND = name, description, description.kind
        first = 1 + max(column.map for column in tables.EVERY.values())
        self.COLUMNS = {
            column: Column(**text.model_dump(), map=first + place if text.averaged else 0)
            for place, (column, text) in enumerate(description.columns.items())
        }

    @property
    def VERSION(self) -> str:
        """Fingerprint of the source files: if it changes, the measure is taken again."""
        return sources.fingerprint(self.name)

    def measure(self, cell: CellModels, subjects: list[Any], options: OwnMeasureOptions) -> Measured:
        """Call the user's code for the models or pairs named in ``subjects``.

        Raises:
            InputError: it fails, or returns something else than its columns.
        """
        code: Any = user_function(self.name)
        given = dict(options.model_extra or {})
        with users_code(self.name, "fails"):
            if inspect.isclass(code):
                measure: Any = code()
                return measure.measure(cell, subjects, _options_of(code).model_validate(given))
        wants_data = "data" in inspect.signature(code).parameters
        rows = [self._row(code, cell, subject, given, wants_data) for subject in subjects]
        return Measured.of(subjects, {name: [row[name] for row in rows] for name in self.COLUMNS})

    def _row(
        self, code: Any, cell: CellModels, subject: Any, given: dict[str, Any], wants_data: bool
    ) -> dict[str, Any]:
        """Return what the user's function returns for a model or a pair, as a value for each column."""
        from explorer.models.rows import seeded

        rows = cell.rows(ids_of(subject))
        modules = [cell.network.to_module(cell.theta[row], cell.buffers[row]) for row in rows]
        for module in modules:
            module.register_forward_pre_hook(lambda *_: progress())
        name = pair_name(subject) if isinstance(subject, tuple) else subject
        with users_code(self.name, f"with {given} fails"), seeded(cell.seeds(self.name, [name])[0]):
            returned: Any = code(*modules, *([cell.data] if wants_data else []), **given)
        progress()
        if not isinstance(returned, Mapping) and len(self.COLUMNS) == 1:
            returned = dict.fromkeys(self.COLUMNS, returned)
        if not isinstance(returned, Mapping) or returned.keys() != self.COLUMNS.keys():
            what = shown(sorted(returned)) if isinstance(returned, Mapping) else type(returned).__name__
            raise InputError(
                f"{self.name!r} returned {what}; it should return a dict with {listed(self.COLUMNS)}"
            )
        return {column: self._plain(column, value) for column, value in returned.items()}

    def _plain(self, column: str, value: Any) -> Any:
        """Return a value of the type of its column; tensors and arrays of one number become this number."""
        if hasattr(value, "item") and getattr(value, "size", 1) != 0:
            with users_code(self.name, f"returned {shown(value)} as {column}; it should be one number"):
                value = value.item()
        kind = self.COLUMNS[column].kind
        fits = {"text": str, "flag": bool, "integer": int, "number": int | float}[kind]
        if not isinstance(value, fits) or (isinstance(value, bool) and kind != "flag"):
            raise InputError(
                f"{self.name!r} returned {shown(value)} as {column}; it should be {_article(kind)}"
            )
        return float(value) if kind == "number" else value


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "integer" else f"a {kind}"


def check(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Describe a measure anew, make it known, and return all of its options, checked.

    Raises:
        InputError: there is no such measure, or an option is wrong.
    """
    arguments = (name, values)
    described, options = user_process.call(f"{__name__}:describe", *arguments, what=f"the import of {name!r}")
    register(name, Description.model_validate(described))
    return options


def register(name: str, description: Description) -> None:
    """Make a described measure known to tables and pages."""
    forget(name)
    measure = OwnMeasure(name, description)
    explorer.measures.USERS[name] = measure
    tables.add(measure.KIND, measure.COLUMNS)


def forget(name: str) -> None:
    """Remove a measure from what tables and pages know."""
    if measure := explorer.measures.USERS.pop(name, None):
        tables.remove(measure.KIND, measure.COLUMNS)


def forget_clashing(used: Collection[str], names: Iterable[str]) -> None:
    """Forget measures of other spaces with a column of one of these names, which is a setting here."""
    settings = set(names)
    for name in [n for n in explorer.measures.USERS if n not in used]:
        if settings & explorer.measures.USERS[name].COLUMNS.keys():
            forget(name)


def register_kept(descriptions: Any) -> None:
    """Make the measures known that ``run.yaml`` describes. Runs no code of the user's.

    Raises:
        InputError: it describes none.
    """
    try:
        for name, described in dict(descriptions or {}).items():
            description = Description.model_validate(described)
            columns = description.columns
            if wrong := [c for c in columns if not NAME.fullmatch(c) or c in tables.BUILT_IN]:
                raise ValueError(f"{shown(wrong[0])} is no column")
            register(str(name), description)
    except (TypeError, ValueError) as error:
        raise InputError("run.yaml is damaged: own_measures does not describe measures") from error


def descriptions_of(names: Any) -> dict[str, Any]:
    """Return what ``run.yaml`` keeps of these measures."""
    return {name: explorer.measures.USERS[name].description.model_dump() for name in names if ":" in name}


# In the process for users' code -----------------------------------------------------------------------


def describe(name: str, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description of a measure, and its options with their defaults.

    Raises:
        InputError: it is no measure, or an option is wrong; the message says what is allowed.
    """
    code = user_function(name)
    if inspect.isclass(code):
        kind, described = getattr(code, "KIND", None), getattr(code, "COLUMNS", None)
        if kind not in ("model", "pair") or not described or not hasattr(code, "measure"):
            raise InputError(
                f"{name!r} is no measure: a class needs KIND ('model' or 'pair'), COLUMNS and "
                "measure(self, cell, subjects, options)"
            )
        options = _options_of(code)
    else:
        kind, options = _signature(name, code)
        plain = code.func if isinstance(code, functools.partial) else code
        words = (inspect.getdoc(plain) or "").strip().partition("\n")[0].rstrip(".")
        column = getattr(plain, "__name__", "")
        if column == "<lambda>":
            raise InputError(f"{name!r} is a lambda; write it with def, whose name is that of its column")
        described = getattr(plain, "columns", None) or {column: Column("number", "", words, averaged=True)}
    texts = {column: _text(name, column, text) for column, text in described.items()}
    try:
        checked = options.model_validate(values).model_dump()
    except ValidationError as error:
        place = str(error.errors()[0]["loc"][0])
        first = [one for one in error.errors() if one["loc"][0] == place][-1]  # of int | float, the wider
        if first["type"] == "extra_forbidden":
            known = suggest(place, list(options.model_fields)) or "none"
            raise InputError(f"{place!r} is no option of {name}; its options: {known}") from None
        if first["type"] == "missing":
            raise InputError(f"{name} needs the option {place}: {{{place}: …}}") from None
        allowed = first["msg"].removeprefix("Input should be ").partition(",")[0]
        raise InputError(f"{place}: {shown(first['input'])} is not allowed; it should be {allowed}") from None
    return Description(kind=kind, columns=texts).model_dump(), checked


def _options_of(code: Any) -> type[BaseModel]:
    return getattr(code, "Options", Options)


def _signature(name: str, code: Any) -> tuple[Literal["model", "pair"], type[BaseModel]]:
    """Return what a function measures, and its options: its arguments after models and data."""
    with users_code(name, "has no signature"):
        try:
            signature = inspect.signature(code, eval_str=True)
        except NameError:  # types that only a type checker imports
            signature = inspect.signature(code)
        parameters = list(signature.parameters.values())
    names = [p.name for p in parameters if p.name.startswith("model")]
    kind = MODELS.get(tuple(names))
    after = [p for p in parameters[len(names) :] if p.name != "data"]
    in_order = [*names, *(["data"] if any(p.name == "data" for p in parameters) else [])]
    if kind is None or [p.name for p in parameters[: len(in_order)]] != in_order:
        given = listed(p.name for p in parameters)
        raise InputError(f"{name!r} has the arguments ({given}); {EXPECTED}, with its options after that")
    if wrong := [p.name for p in after if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]:
        raise InputError(f"{name!r} takes *{wrong[0]}; give each option a name of its own")
    fields: dict[str, Any] = {}
    for p in after:
        default = ... if p.default is p.empty else p.default
        usual = int | float if isinstance(default, int) and not isinstance(default, bool) else type(default)
        unknown = default is ... or default is None
        stated = p.annotation is not p.empty and not isinstance(p.annotation, str)
        annotation = p.annotation if stated else (Any if unknown else usual)
        fields[p.name] = (annotation, default)
    return kind, create_model("Given", __base__=Options, **fields)


def _text(name: str, column: str, described: Any) -> ColumnText:
    """Return the description of a column.

    Raises:
        InputError: it has a wrong or taken name, or is no :class:`~explorer.columns.Column`.
    """
    if not NAME.fullmatch(column) or column.endswith("_std"):
        raise InputError(
            f"{name!r}: {column!r} is no name of a column: small letters, digits and _ only, the first a "
            "letter, without _std at the end"
        )
    if column in tables.BUILT_IN:
        raise InputError(f"{name!r}: the tables already have a column {column!r}; give it another name")
    if fault := fault_of(column):
        raise InputError(f"{name!r}: charts cannot show a column {column!r}: {fault}; give it another name")
    if not isinstance(described, Column):
        raise InputError(
            f"{name!r}: {column} is described by {shown(described)}; use "
            "explorer.measures.base.averaged(meaning, unit=…)"
        )
    values = {**described._asdict(), "caption": described.caption or f"{described.meaning}."}
    values["title"] = described.title or column.replace("_", " ").capitalize()
    values.pop("map")
    try:
        return ColumnText.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{name!r}: {first['loc'][0]} of {column} is {shown(first['input'])}; {first['msg'].lower()}"
        ) from None
