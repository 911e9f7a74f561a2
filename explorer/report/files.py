"""Folders of pages: which runs they show, and the tables and details next to a page."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from explorer import plainyaml
from explorer.report.payload import json_of, script_json
from explorer.results import RunTables
from explorer.runs.files import Files, join
from explorer.runs.store import Store

CSV_BYTES = 200_000
ROWS_AT_ONCE = 500  # of a CSV file
SCRIPT_BYTES = 200_000  # least size of a script with the details of cells
INDEX = "index.html"
SHOWN = "shows.yaml"  # says which runs a folder of pages shows


def page_folder(runs: Sequence[RunTables], reports: Path | str, *, name: str = "") -> str:
    """Return the folder or URI in ``reports`` for the page of a run, or for a page of several.

    The folder is called ``name``, or after the runs. If this folder shows another run, a number is added. A
    run keeps its folder of pages, even if the run has moved and kept its name.

    Raises:
        InputError: ``reports`` is a URI that cannot be used.
    """
    plain = [re.sub(r"[^\w.-]+", "-", run.name).strip(".-") or "run" for run in runs]
    name = name or "-vs-".join(plain)[:100]
    shown, left, number = [_identity(run) for run in runs], "", 1
    while True:
        folder = Files(join(reports, name if number == 1 else f"{name}-{number}"))
        others = _shown(folder)
        if others is None and (number == 1 or not folder.exists(INDEX)):  # 1: perhaps of an earlier version
            return left or folder.location
        if others and len(others) == len(shown):
            both = list(zip(others, shown, strict=True))
            if all(_same(*one) for one in both):
                return folder.location
            if not left and all(_same(*one) or _moved(*one) for one in both):
                left = folder.location
        number += 1


def write_shown_runs(runs: Sequence[RunTables], out: Files) -> None:
    """Write into a folder of pages which runs it shows."""
    out.write(SHOWN, plainyaml.dump([_identity(run) for run in runs]))


def _identity(run: RunTables) -> dict[str, str]:
    """Return where a run is and when it was created. The place of a local run includes the machine."""
    folder = Files(run.folder)
    place = str(Path(folder.root).resolve()) if folder.local else re.sub("//.*@", "//", folder.location)
    host = socket.gethostname() if folder.local else ""
    return {"run": place, "host": host, "created": str(run.info.get("created", ""))}


def _shown(out: Files) -> list[dict[str, str]] | None:
    """Return the identities of the runs that a folder shows, or None if it shows none."""
    try:
        shown = plainyaml.load(out.read(SHOWN))
        return [{key: str(one.get(key, "")) for key in ("run", "host", "created")} for one in shown]
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, AttributeError):
        return None


def _same(other: dict[str, str], run: dict[str, str]) -> bool:
    # The host of a container changes. The same path on two machines may be two runs.
    return other["run"] == run["run"] and (other["host"] == run["host"] or _copies(other, run))


def _moved(other: dict[str, str], run: dict[str, str]) -> bool:
    """Return whether a run was moved from the place of the other, which is on this machine and empty."""
    here = other["host"] == socket.gethostname()
    return here and _copies(other, run) and not Store(other["run"]).exists()


def _copies(other: dict[str, str], run: dict[str, str]) -> bool:
    return other["created"] == run["created"] != ""


def write_tables(run: RunTables, cells: pd.DataFrame, out: Files) -> list[dict[str, str]]:
    """Write cells, models and pairs as Parquet, and as CSV if that is small; list the files."""
    links = []
    tables = {"cells": cells, "models": run.models, "pairs": run.pairs}
    for name, table in (tables | ({"map": run.map} if run.rounds and len(cells) else {})).items():
        if table.empty:
            continue
        plain = table.copy()
        plain.columns = plain.columns.astype(str)
        mixed = [c for c in plain if plain[c].dtype == object and not _has_lists(plain[c])]
        plain = plain.astype(dict.fromkeys(mixed, "string"))  # a Parquet column has one type
        files = {f"{name}.parquet": plain.to_parquet(index=False)}
        if csv := small_csv(plain):
            files[f"{name}.csv"] = csv
        for file, content in files.items():
            out.write(f"tables/{file}", content)
            size = f"{len(table):,} rows, {max(len(content) // 1000, 1):,} kB"
            links.append({"file": f"tables/{file}", "label": f"{file} ({size})"})
    return links


def _has_lists(column: pd.Series) -> bool:
    """Return whether the known values of a column are arrays of numbers."""
    return all(isinstance(v, np.ndarray) and v.dtype.kind == "f" for v in column if v is not None)


def small_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV; nothing if it is longer than CSV_BYTES."""
    csv = b""
    for first in range(0, len(table), ROWS_AT_ONCE):
        rows = table.iloc[first : first + ROWS_AT_ONCE]
        csv += rows.to_csv(index=False, float_format="%.7g", header=not first).encode()
        if len(csv) > CSV_BYTES:
            return b""
    return csv


def write_details(
    details: Iterable[tuple[str, str]], models: Mapping[str, str], out: Files
) -> tuple[dict[str, str], str]:
    """Write scripts with the details of some cells each, and one with ``models``; return their names.

    They are scripts because a page that was opened from disk cannot load JSON.

    Args:
        details: cells with JSON.
        models: JSON by cell, complete when ``details`` end.
    """
    files: dict[str, str] = {}
    lines, length, number = [], 0, 0
    for cell, text in details:
        if length >= SCRIPT_BYTES:
            out.write(f"details/{number}.js", "\n".join(lines).encode())
            lines, length, number = [], 0, number + 1
        files[cell] = f"details/{number}.js"
        lines.append(f"explorerDetails({script_json(cell)},{text})")
        length += len(text)
    out.write(f"details/{number}.js", "\n".join(lines).encode())
    out.write("details/models.js", f"explorerModels({json_of(models)})".encode())
    return files, "details/models.js"
