"""What lies beside the page, and how every file is written."""

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
    """Whole or not at all: a reader of the page never meets half a file."""
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
    """cells, models and pairs as Parquet, and as CSV where that stays small; what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in (("cells", cells), ("models", run.models), ("pairs", run.pairs)):
        if table.empty:
            continue
        plain = table.copy()
        plain.columns = plain.columns.astype(str)
        mixed = [c for c in plain if plain[c].dtype == object]  # Parquet holds one type a column
        plain = plain.astype(dict.fromkeys(mixed, "string"))
        files = {f"{name}.parquet": plain.to_parquet(index=False)}
        csv = plain.to_csv(index=False, float_format="%.7g").encode()
        if len(csv) <= CSV_BYTES:
            files[f"{name}.csv"] = csv
        for file, content in files.items():
            write(folder / file, content)
            written.append(
                {
                    "file": f"tables/{file}",
                    "label": f"{file} ({len(table):,} rows, {max(len(content) // 1000, 1):,} kB)",
                }
            )
    return written


def write_details(detail: dict[str, dict[str, Any]], folder: Path) -> dict[str, str]:
    """A script a cell: unlike JSON, a page opened from disk may read it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for k, (cell, content) in enumerate(detail.items()):
        write(folder / f"{k}.js", f"explorerDetails({script_json(cell)},{script_json(content)})".encode())
        files[cell] = f"details/{k}.js"
    return files


def write_models(detail: dict[str, dict[str, Any]], folder: Path) -> str:
    """The models of all cells in one script, for the table that sorts and filters them."""
    models = {cell: content["models"] for cell, content in detail.items() if "models" in content}
    write(folder / "models.js", f"explorerModels({script_json(models)})".encode())
    return "details/models.js"
