"""Columns of every table: those that every run has, and those that measures add."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import explorer.measures
from explorer import columns
from explorer.columns import Column
from explorer.measures.base import Kind
from explorer.settings import plugin


def columns_of(kind: Kind) -> dict[str, Column]:
    """Return the columns that measures of a kind add to the table of that kind.

    Raises:
        ValueError: two measures have the same column.
    """
    added: dict[str, Column] = {}
    for measure in explorer.measures.NAMES:
        module = plugin(explorer.measures, measure, "measure")
        if kind == module.KIND:
            if twice := added.keys() & module.COLUMNS.keys():
                raise ValueError(f"two measures have a column {min(twice)!r}")
            added |= module.COLUMNS
    return added


MODELS = {**columns.MODELS, **columns_of("model")}
PAIRS = {**columns_of("pair"), **columns.PAIRS}
CELLS = {**columns.CELLS, **columns_of("cell")}
EVERY = {
    **columns.IDS,
    **columns.SETTINGS,
    **columns.EPOCHS,
    **columns.CURVES,
    **columns.PAIR_IDS,
    **PAIRS,
    **MODELS,
    **CELLS,
}
BUILT_IN = dict(EVERY)  # without those of users' measures, which are added to the tables above
# Lists, and not copies of them: users' measures add columns.
AVERAGED_MODELS = [name for name, column in MODELS.items() if column.averaged]
AVERAGED_PAIRS = [name for name, column in PAIRS.items() if column.averaged]
# Some pairs of a cell may lack these.
CURVE_COLUMNS = tuple(
    name
    for name, column in plugin(explorer.measures, "connectivity", "measure").COLUMNS.items()
    if column.averaged
)


@functools.cache
def columns_with_maps() -> tuple[str, ...]:
    """Return the columns for which a page shows a map, in the order of the maps.

    Raises:
        ValueError: two columns have the same position.
    """
    at: dict[int, str] = {}
    for name, column in EVERY.items():
        if column.map and at.setdefault(column.map, name) != name:
            raise ValueError(f"{at[column.map]!r} and {name!r} both have the map position {column.map}")
    return tuple(at[position] for position in sorted(at))


@functools.cache
def columns_on_pages() -> tuple[str, ...]:
    """Return the columns that pages show: those with a map first, then all others that have a title."""
    return tuple(
        dict.fromkeys([*columns_with_maps(), *(name for name, column in EVERY.items() if column.title)])
    )


def add(kind: Kind, described: Mapping[str, Column]) -> None:
    """Add columns of a user's measure of models or pairs to those that tables and pages know."""
    table, averaged = _of_kind(kind)
    for name, column in described.items():
        table[name] = EVERY[name] = column
        if column.averaged and name not in averaged:
            averaged.append(name)
    _forget_pages()


def remove(kind: Kind, described: Mapping[str, Column]) -> None:
    """Remove what :func:`add` has added, but for columns that another measure has described since."""
    table, averaged = _of_kind(kind)
    for name in (name for name, column in described.items() if EVERY.get(name) is column):
        table.pop(name, None)
        EVERY.pop(name, None)
        averaged[:] = [other for other in averaged if other != name]
    _forget_pages()


def _of_kind(kind: Kind) -> tuple[dict[str, Column], list[str]]:
    return (MODELS, AVERAGED_MODELS) if kind == "model" else (PAIRS, AVERAGED_PAIRS)


def _forget_pages() -> None:
    columns_with_maps.cache_clear()
    columns_on_pages.cache_clear()
