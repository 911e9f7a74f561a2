"""Files next to the page: tables and details, each written completely or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.report.payload import script_json
from explorer.results import Run
from explorer.runs.files import placed

CSV_BYTES = 200_000


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all, so readers never see half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with placed(path), open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_tables(run: Run, cells: pd.DataFrame, folder: Path) -> list[dict[str, str]]:
    """Write cells, models and pairs as Parquet, and as CSV if that is small; list the files."""
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    for name, table in (("cells", cells), ("models", run.models), ("pairs", run.pairs)):
        if table.empty:
            continue
        plain = table.copy()
        plain.columns = plain.columns.astype(str)
        mixed = [c for c in plain if plain[c].dtype == object]  # a Parquet column has one type
        plain = plain.astype(dict.fromkeys(mixed, "string"))
        files = {f"{name}.parquet": plain.to_parquet(index=False)}
        csv = plain.to_csv(index=False, float_format="%.7g").encode()
        if len(csv) <= CSV_BYTES:
            files[f"{name}.csv"] = csv
        for file, content in files.items():
            write(folder / file, content)
            size = f"{len(table):,} rows, {max(len(content) // 1000, 1):,} kB"
            links.append({"file": f"tables/{file}", "label": f"{file} ({size})"})
    return links


def write_details(detail: dict[str, dict[str, Any]], folder: Path) -> tuple[dict[str, str], str]:
    """Write a script for each cell and one with the models of all cells; return the scripts' names.

    They are scripts because a page that was opened from disk cannot load JSON.
    """
    files = {}
    for k, (cell, content) in enumerate(detail.items()):
        write(folder / f"{k}.js", f"explorerDetails({script_json(cell)},{script_json(content)})".encode())
        files[cell] = f"details/{k}.js"
    models = {cell: content["models"] for cell, content in detail.items() if "models" in content}
    write(folder / "models.js", f"explorerModels({script_json(models)})".encode())
    return files, "details/models.js"
