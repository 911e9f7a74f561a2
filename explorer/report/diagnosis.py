"""Diagnosis of a run as lines of text: phases, what limits cells, what to change, how certain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from explorer import phases
from explorer.diagnosis import shipped
from explorer.phases.advice import Advice, advise_cells, advise_phases
from explorer.phases.numbers import format_setting
from explorer.report.facts import converged_curves, progress_of, reservations
from explorer.report.questions import answer_questions
from explorer.results import RunTables
from explorer.settings import InputError, listed

NEEDED = ("train_loss", "mode_connectivity", "cka")


def diagnose(
    run: RunTables,
    *,
    cell: str | None = None,
    cuts: Mapping[str, float] | None = None,
) -> list[str]:
    """Return the lines that ``explorer diagnose`` prints.

    ``cell`` is a ``cell_id`` or settings such as ``width=8,batch_size=16``. Without it, the questions are
    answered for the most accurate cell, and the phases of the run are diagnosed.

    Raises:
        InputError: there is no such cell, or the table has no measure.
    """
    all_cuts, now = run.cuts(cuts), progress_of(run)
    cells = phases.classify(run.grid, all_cuts).reset_index(drop=True)
    lacking = [n for n in NEEDED if n not in cells or not cells[n].notna().any()]
    if len(lacking) == len(NEEDED):
        why = f"{run.folder} has no {', '.join(NEEDED)}, so it cannot be diagnosed"
        raise InputError(f"{why}. {now.unfinished}" if now and now.unfinished else why)
    stopping = phases.gains_of_stopping(run.models, run.epochs)
    reword = run.task.words.reword

    def of_cell(cell_id: str) -> list[str]:
        advice = advise_cells(cells, all_cuts, run.axes, {cell_id}, stopping, noise=run.label_noise)[cell_id]
        return _lines(advice)

    counts = f"{len(cells)} cells, {len(run.models)} models, {len(run.pairs)} pairs"
    lines = [f"Diagnosis of {run.name}: {counts}.", *filter(None, [reservations(run, now, all_cuts)])]
    if lacking:
        lines.append(f"Missing: {', '.join(lacking)}. Only cells that do not need them have a phase.")
    best = phases.column(cells, phases.ACCURACY)
    if cell is not None:
        chosen = _row(cells, run, cell)
    elif best.notna().any() or len(cells) == 1:
        chosen = str(cells["cell_id"].iloc[int(np.nanargmax(best)) if best.notna().any() else 0])
    else:
        chosen = ""
    if chosen:
        lines += ["", *_answers(cells, chosen, run, most=cell is None and len(cells) > 1)]
    lines.append("")
    if counts := converged_curves(run):
        rest = (
            "More steps may change the others (`connectivity.steps: auto`); advice on their cells is a guess."
        )
        lines.append(
            f"Curves: {counts}. {'' if run.pairs['curve_converged'].dropna().all() else rest}".rstrip()
        )
    if cell is not None:
        return [reword(line) for line in [*lines, *of_cell(chosen)]]
    reasons = [f"{name} {phases.format_number(cut.value)} ({cut.reason})" for name, cut in all_cuts.items()]
    lines.append(f"Cuts: {', '.join(reasons)}.")
    lines += phases.findings(cells, all_cuts, run.axes, noise=run.label_noise)[:2]
    for advice in advise_phases(cells, all_cuts, run.axes, stopping, noise=run.label_noise):
        lines += ["", *_lines(advice)]
    if chosen and len(cells) > 1:
        lines += ["", "The most accurate cell:", *of_cell(chosen)]
    return [reword(line) for line in lines]


def _answers(cells: pd.DataFrame, chosen: str, run: RunTables, *, most: bool) -> list[str]:
    """Return the questions about a cell with their answers."""
    place = int(np.flatnonzero(cells["cell_id"].astype(str) == chosen)[0])
    names = [n for n in phases.axis_names(run.axes) if n in cells]
    where = ", ".join(f"{phases.words_of(n)} {format_setting(cells[n].iloc[place])}" for n in names)
    which = " (the most accurate cell; --cell asks about another)" if most else ""
    head = f"What to change at {where}{which}:" if where else "What to change:"
    learned = shipped() if run.task.name == "classification" else {}
    return [head, *answer_questions(cells, place, run.axes, learned)]


def _lines(advice: Advice) -> list[str]:
    phase = f" Phase {advice.phase}: {advice.reading}." if advice.phase and advice.n_cells == 1 else ""
    return [
        f"{advice.where[:1].upper()}{advice.where[1:]}.{phase}",
        f"  What holds it back: {advice.cause}.",
        f"  Next: {advice.change} ({advice.sure}).",
        *(f"  - {line}" for line in advice.evidence),
    ]


def _row(cells: pd.DataFrame, run: RunTables, cell: str) -> str:
    if cell in set(cells["cell_id"].astype(str)):
        return cell
    names = [n for n in phases.axis_names(run.axes) if n in cells]
    matches = cells
    for part in cell.split(","):
        name, equals, value = (p.strip() for p in part.partition("="))
        if not equals or name not in names:
            example = ",".join(f"{n}={cells[n].iloc[0]}" for n in names) or str(cells["cell_id"].iloc[0])
            raise InputError(f"--cell {cell}: give a cell_id, or settings such as {example}")
        same = matches[name].astype(str) == value
        if pd.api.types.is_numeric_dtype(matches[name]):
            try:
                same = np.isclose(matches[name].astype(float), float(value))
            except ValueError:
                raise InputError(f"--cell {cell}: {name} is a number, not {value!r}") from None
        if not np.any(same):
            raise InputError(
                f"--cell {cell}: no cell has {name} {value}; there are {sorted(set(cells[name]))}"
            )
        matches = matches[same]
    if len(matches) != 1:
        raise InputError(f"--cell {cell} matches {len(matches)} cells; give every axis: {listed(names)}")
    return str(matches["cell_id"].iloc[0])
