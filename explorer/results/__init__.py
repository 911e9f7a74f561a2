"""Tables of a run, joined from its records or loaded from a folder of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from explorer.columns import renames
from explorer.results.foreign import holds_tables, load_tables
from explorer.results.records import read
from explorer.results.run_tables import TABLES, RunTables, moved_cuts
from explorer.runs.files import Files
from explorer.runs.store import locate
from explorer.settings import InputError

__all__ = ["TABLES", "RunTables", "holds_tables", "load", "load_tables", "moved_cuts", "read"]


def load(
    name_or_folder: str | Path,
    storage: str | Path = "runs",
    *,
    columns: str | Sequence[str] | Mapping[str, str] = (),
) -> RunTables:
    """Load a run, or a folder of tables; see :func:`explorer.api.load` for the arguments and errors."""
    if holds_tables(name_or_folder, storage):
        return load_tables(Files(name_or_folder), renames(columns))
    if Path(name_or_folder).suffix in (".csv", ".tsv", ".parquet"):
        raise InputError(
            f"{name_or_folder} should be a folder: put the table into one, as models.csv with a row for each "
            "model or cells.csv with a row for each cell (or .parquet), and give the folder"
        )
    if columns:
        raise InputError(f"--columns is for folders of tables; {name_or_folder} is a run. Leave it out")
    return read(locate(name_or_folder, storage))
