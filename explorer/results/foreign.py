"""Tables that were made elsewhere: a folder of Parquet or CSV files with the names of our tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from pandas.api.types import is_hashable, is_numeric_dtype

from explorer.columns import ROLES, fault_of
from explorer.data.formats.tables import parse_table
from explorer.measures import tables
from explorer.results import foreign_columns
from explorer.results.run_tables import TABLES, RunTables
from explorer.runs.files import Files, join
from explorer.settings import InputError, listed, printable
from explorer.space.model import TrainingOptions

NO_RENAMES: Mapping[str, str] = {}
LOAD_NAMES = (
    "width",
    "depth",
    "channels",
    "embedding_width",
    "model_size",
    "train_size",
    "label_noise",
    "pixel_noise",
    "activation",
    "architecture",
    "dataset",
)
TEMPERATURE_NAMES = ("batch_size", "learning_rate", "weight_decay", "momentum", "schedule", "optimizer")


def holds_tables(name_or_folder: str | Path, storage: str | Path = "runs") -> bool:
    """Return whether this is a folder that is no run, and may have tables from elsewhere.

    If it has none, such as a folder of checkpoints, a run in ``storage`` may have its name.
    """
    folder = Files(name_or_folder)
    if not folder.is_folder() or folder.exists("run.yaml"):
        return False
    return any(map(folder.exists, _places())) or not Files(join(storage, folder.name)).exists("run.yaml")


def _places(kinds: Sequence[str] = TABLES) -> list[str]:
    """Return where tables from elsewhere may be in their folder."""
    return [place for kind in kinds for place in (f"{kind}.parquet", f"{kind}.csv", f"tables/{kind}.parquet")]


def _read_table(folder: Files, name: str, new: Mapping[str, str], seen: list[str]) -> pd.DataFrame:
    """Read a table with new names of columns, and add their names in the file to ``seen``.

    Raises:
        InputError: the file is not a table, or none of its columns is known, or a numeric column has text.
    """
    path = join(folder.location, name)
    try:
        content = folder.read(name)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    table = parse_table(path, content, Path(name).suffix)
    seen += map(str, table)
    table = foreign_columns.in_percent(path, foreign_columns.renamed(path, table, new), _tell)
    names = {str(name): str(name).removesuffix("_std") for name in table}
    if not {*names.values()} & {*tables.EVERY, *LOAD_NAMES, *TEMPERATURE_NAMES}:  # semicolons, for example
        _, rename = foreign_columns.hints(list(names))
        how = f"rename columns with --columns {rename}; " if rename else ""
        raise InputError(
            f"{path}: no column is one of those in docs/tables.md; the first is {list(names)[:1]}; {how}"
            "a CSV file needs commas between columns and decimal points in numbers"
        )
    empty = []
    for name, base in names.items():
        kind = tables.EVERY[base].kind if base in tables.EVERY else ""
        if kind in ("integer", "number"):
            words = table[name][table[name].notna() & pd.to_numeric(table[name], errors="coerce").isna()]
            if len(words):
                raise InputError(f"{path}: {name} should hold numbers, not {words.iloc[0]!r}")
        elif kind == "text" and is_numeric_dtype(table[name]) and table[name].isna().all():
            empty.append(name)  # as pandas reads a text column of a CSV file without any text
    return table.astype(dict.fromkeys(empty, "object"))


def _tell(remark: str) -> None:
    """Say something about tables from elsewhere; standard output may be a result."""
    if remark:
        print(printable(remark), file=sys.stderr)


def load_tables(folder: Files, new: Mapping[str, str] = NO_RENAMES) -> RunTables:
    """Load tables that were made elsewhere: Parquet or CSV files with the names of our tables.

    ``new`` are our names of columns by theirs. Nothing is left out silently: columns that nothing shows, and
    models at the same place, are told on standard error.

    The axes are the known settings with more than one value. Further columns become axes if they are needed
    to distinguish cells with different ``cell_id``; otherwise models of different cells would be averaged.

    Raises:
        InputError: the folder has none of the tables, or a table is wrong.
    """
    loaded: dict[str, pd.DataFrame] = {}
    seen: list[str] = []
    files: dict[str, str] = {}
    for name in TABLES:
        if file := next(filter(folder.exists, _places([name])), None):
            loaded[name], files[name] = _read_table(folder, file, new, seen), join(folder.location, file)
    if not loaded:
        runs = listed(join(folder.location, name) for name in folder.folders_with("run.yaml"))
        raise InputError(
            f"{folder.location} is neither a run (no run.yaml) nor a folder of tables "
            f"({', '.join(TABLES)} as .parquet or .csv){f'; it holds the runs {runs}' if runs else ''}"
        )
    foreign_columns.require_known(new, seen)
    axes: dict[str, list[str]] = {"load": [], "temperature": []}
    for name in ("models", "cells", "pairs"):  # the first table in which a setting varies
        if name in loaded and not any(axes.values()):
            table = loaded[name]
            axes = {
                kind: [n for n in _candidates(kind, names, new) if n in table and table[n].nunique() > 1]
                for kind, names in (("load", LOAD_NAMES), ("temperature", TEMPERATURE_NAMES))
            }
            for setting in _distinguishing_columns(table, [*axes["load"], *axes["temperature"]]):
                axes["temperature" if setting in TrainingOptions.model_fields else "load"].append(setting)
    for name in (*axes["load"], *axes["temperature"]):
        if fault := fault_of(name):
            raise InputError(f"{folder}: charts cannot show an axis {name!r}: {fault}; rename this column")
    run = RunTables(
        name=folder.name,
        folder=folder.location,
        axes=axes,
        models=loaded.get("models", pd.DataFrame()),
        epochs=loaded.get("epochs", pd.DataFrame()),
        pairs=loaded.get("pairs", pd.DataFrame()),
        curves=loaded.get("curves", pd.DataFrame()),
    )
    names = [*axes["load"], *axes["temperature"]]
    for name in (name for name in ("models", "cells", "pairs") if name in loaded):
        _tell(foreign_columns.unknown_columns(files[name], loaded[name], names))
    if "models" in loaded:
        _tell(foreign_columns.gaps(files["models"], loaded["models"], names))
        _tell(foreign_columns.repeated_models(files["models"], loaded["models"], names))
    if "cells" in loaded and not {"models", "pairs"} & set(loaded):
        from explorer import phases

        try:
            run.grid = phases.foreign_cells(loaded["cells"], axes)
        except InputError as error:
            more = foreign_columns.differences(loaded["cells"], names) if names else ""
            raise InputError(f"{error}.{more}") from None
    return run


def _candidates(kind: str, names: Sequence[str], new: Mapping[str, str]) -> list[str]:
    """Return the known names of axes of a kind, and the columns that the user makes such axes."""
    given = [theirs for theirs, role in new.items() if role == kind]
    return [*(name for name in names if new.get(name) not in ROLES), *given]


def _distinguishing_columns(table: pd.DataFrame, axes: list[str]) -> list[str]:
    """Return further columns, constant within each cell, that distinguish cells at the same grid point.

    Empty if no cell has several rows: then a measure would also be constant within each cell.
    """

    def distinct(names: list[str]) -> int:
        return len(table[names].drop_duplicates()) if names else 1

    cells = table["cell_id"].nunique() if "cell_id" in table else 0
    extra: list[str] = []
    if not 0 < cells < len(table):
        return extra
    measured = {name for name in tables.EVERY if name != "steps"}  # columns that are not settings
    for name in table.columns.difference([*measured, *axes], sort=False):
        points = distinct([*axes, *extra])
        if points >= cells:
            break
        constant = table[name].map(is_hashable).all() and distinct(["cell_id", name]) <= cells
        if constant and distinct([*axes, *extra, name]) > points:
            extra.append(name)
    return extra
