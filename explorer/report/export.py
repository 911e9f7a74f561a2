"""Export of a run: one table with a row per model, and a summary in Markdown."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from explorer import phases
from explorer.data.formats.tables import parquet_frame
from explorer.measures.tables import AVERAGED_PAIRS
from explorer.phases.advice import advise_phases
from explorer.phases.claims import UNTESTED, Claim
from explorer.report import facts
from explorer.report.refined import refinement_sentence
from explorer.results import RunTables
from explorer.runs.files import Files, split
from explorer.settings import InputError

FORMATS = (".csv", ".parquet")
PLACED = ["phase", "phase_probability", "near_cut", "among_best"]  # columns of cells that models get


def export(run: RunTables, out: Path | str, *, cuts: Mapping[str, float] | None = None) -> list[Path | str]:
    """Write ``out`` (.csv or .parquet; a path or a URI) and a summary (.md) next to it; return both.

    The table has a row per model, or a row per cell if the run has no models. It adds the ``phase`` and
    ``near_cut`` of the cell to the columns of the model, and the cell means of pair measures as
    ``cell_<measure>``.

    An earlier export of the run is replaced.

    Raises:
        InputError: ``out`` has another ending, cannot be written or is another file already, or there are no
            tables to export.
    """
    folder, name = split(out)
    stem, suffix = os.path.splitext(name)
    if suffix not in FORMATS:
        raise InputError(f"--out {out}: the name must end in {' or '.join(FORMATS)}")
    files = Files(folder)
    files.check_writable("--out")
    for file, is_ours in ((name, _is_table_of), (f"{stem}.md", _is_summary_of)):
        if files.exists(file) and not is_ours(run, files.read(file)):
            raise InputError(
                f"--out {out}: {files.place(file)} is there already, and is no export of this run; move or "
                "delete it, or give another name"
            )
    all_cuts = run.cuts(cuts)
    cells = phases.classify(run.grid, all_cuts)
    if cells.empty:
        raise InputError(f"{run.folder} has no models and no cells to export")
    table, text = one_table(run, cells), summary(run, cells, all_cuts)
    files.write(
        name, table.to_csv(index=False).encode() if suffix == ".csv" else table.to_parquet(index=False)
    )
    files.write(f"{stem}.md", text.encode())
    return [files.place(name), files.place(f"{stem}.md")]


def _is_table_of(run: RunTables, content: bytes) -> bool:
    """Return whether a file is an export of a run, if it has models: of some of its models."""
    try:
        parquet = content.startswith(b"PAR1")
        table = parquet_frame(content) if parquet else pd.read_csv(io.BytesIO(content))
    except (ValueError, OSError):
        return False
    alike = {"model_id"} <= set(table) & set(run.models)
    return {"phase", "near_cut"} <= set(table) and (
        not alike or bool(table["model_id"].isin(run.models["model_id"]).any())
    )


def _is_summary_of(run: RunTables, content: bytes) -> bool:
    text = content.decode(errors="replace")
    return text.startswith(f"# {run.name}\n") and "\n## Phases\n" in text


def one_table(run: RunTables, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the models joined with phase and pair means of their cells; the cells if there are no models."""
    if run.models.empty:
        return cells
    names = [n for n in AVERAGED_PAIRS if n in cells]
    keys = [n for n in phases.axis_names(run.axes) if n in run.models and n in cells] or ["cell_id"]
    of_cell = cells[[*PLACED, *names, *keys]].rename(columns={n: f"cell_{n}" for n in names})
    models = run.models.drop(columns=PLACED, errors="ignore")
    if keys == ["cell_id"] and "cell_id" not in models:
        models = models.assign(cell_id=cells["cell_id"].iloc[0])
    return models.merge(of_cell, on=keys, how="left")


def summary(run: RunTables, cells: pd.DataFrame, cuts: Mapping[str, phases.Cut]) -> str:
    """Return findings, phases, claims and advice as Markdown."""
    now, reword = facts.progress_of(run), run.task.words.reword
    claims = facts.claims(run, cells, cuts, now)
    counts = cells["phase"].replace("", "unknown").value_counts()
    sentences = [
        *filter(None, [now.unfinished if now else "", refinement_sentence(run, now, cuts)]),
        *phases.findings(cells, cuts, run.axes, claims, noise=run.label_noise),
    ]
    lines = [f"# {run.name}", "", *(f"- {_plain(reword(s))}" for s in sentences)]
    lines += ["", "## Phases", "", "| phase | reading | cells |", "| --- | --- | --- |"]
    lines += [f"| {p} | {phases.READINGS.get(str(p), '')} | {n} |" for p, n in counts.items()]
    lines += [
        "",
        *(f"- Cut {n}: {phases.format_number(c.value)} ({reword(c.reason)})" for n, c in cuts.items()),
    ]
    lines += ["", "## Claims", "", "| claim | verdict | effect | 95 % interval | p |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    lines += [reword(_row(c)) for c in claims if c.verdict != UNTESTED]
    stopping = phases.gains_of_stopping(run.models, run.epochs)
    lines += ["", "## Advice", ""]
    lines += [
        f"- {a.where[:1].upper()}{a.where[1:]}: {a.change} ({a.sure})."
        for a in advise_phases(cells, cuts, run.axes, stopping, noise=run.label_noise)
    ]
    return "\n".join(lines) + "\n"


def _row(claim: Claim) -> str:
    number = phases.format_number
    interval = f"{number(claim.low)} to {number(claim.high)}" if number(claim.low) else ""
    effect = f"{number(claim.effect)} {claim.unit}".strip()
    return f"| {claim.statement} | {claim.verdict} | {effect} | {interval} | {number(claim.p)} |"


def _plain(text: str) -> str:
    """Escape text for Markdown: a bar would end a table cell, an angle bracket would start markup."""
    return text.replace("<", "&lt;").replace("|", "\\|")
