"""Names and ids of records, which are checked when they are read: a run folder may come from elsewhere."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

import explorer.measures
from explorer.measures.base import IDS
from explorer.settings import digest, plugin, shown

TEXTS = {"failures": ("kind", "error", "traceback"), "unrepeatable": ("operation",)}  # columns by kind
ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")  # no separators, no leading dot: ids are parts of file names


@functools.cache
def id_columns(kind: str) -> tuple[str, ...]:
    """Return the columns of a kind of records that hold ids; empty for a kind that is not known."""
    if kind in ("models", "imports"):
        return ("model_id", "cell_id", "stack")
    if kind == "epochs":
        return ("model_id",)
    for name in explorer.measures.NAMES:
        measure = plugin(explorer.measures, name, "measure")
        if kind == name or kind in measure.EXTRA:
            return IDS[measure.KIND]
    return ()


def _ids_in(record: pa.Table) -> tuple[str, ...]:
    """Return the columns with ids of a record of a user's measure, which need not be known here."""
    return IDS["pair"] if set(IDS["pair"]) <= set(record.column_names) else IDS["model"]


class Records(NamedTuple):
    """The records of a file: their rows, the name and number of rows of each, and the bytes of the file."""

    table: pa.Table
    sizes: list[tuple[str, int]]
    file_bytes: int

    def parts(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the name and rows of each record."""
        start = 0
        for key, rows in self.sizes:
            yield key, self.table.slice(start, rows)
            start += rows


def check_records(kind: str, records: Records) -> None:
    """Check that records have the ids of their kind, and are those that their names say.

    The name of a record is a hash of its models, pairs or cells.

    Raises:
        ValueError: they are not; the message says why.
    """
    columns = _ids_in(records.table) if ":" in kind else id_columns(kind)
    needed = (*columns, "step") if kind == "epochs" else columns  # a record of models has ids of models, too
    if missing := [name for name in needed if name not in records.table.column_names]:
        raise ValueError(f"it has no column {missing[0]}, so it is no record of {kind}")
    for name in TEXTS.get(kind, ()):
        column = records.table.column(name) if name in records.table.column_names else None
        if column is None or not pa.types.is_string(column.type) or column.null_count:
            raise ValueError(f"it has no texts {name}, so it is no record of {kind}")
    ids = {name: records.table.column(name).to_pylist() for name in columns}
    for name, values in ids.items():
        for value in dict.fromkeys(values):
            if not isinstance(value, str) or not ID.fullmatch(value):
                raise ValueError(f"{shown(value)} is no {name}")
    start = 0
    for key, rows in records.sizes:
        if not ID.fullmatch(key):
            raise ValueError(f"{shown(key)} cannot be the name of a record")
        _check_name(kind, key, {name: values[start : start + rows] for name, values in ids.items()})
        start += rows


def _check_name(kind: str, key: str, ids: dict[str, list[str]]) -> None:
    """Check that a record with these ids has this name."""
    if kind in ("models", "epochs"):
        own = digest(list(dict.fromkeys(ids["model_id"])))
    elif kind in explorer.measures.NAMES or ":" in kind:
        values = list(ids.values())
        own = digest([kind, list(zip(*values, strict=True)) if len(values) > 1 else values[0]])
    else:
        return
    if own != key or set(ids.get("stack", [key])) != {key}:
        raise ValueError(f"it is not the record of its name but that of {own}")
