"""Commands that show what a run has found: ``report``, ``diagnose``, ``export``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from explorer.cli.app import PLAIN, checked_name, errors, say
from explorer.cli.options import Cut, Reports, RunOrTables, Storage
from explorer.settings import InputError

if TYPE_CHECKING:
    from explorer.results import Run

WATCH_S = 10  # seconds between two looks


def report(
    runs: Annotated[
        list[str],
        typer.Argument(help="a run, or a folder of tables; two or more are compared", show_default=False),
    ],
    cut: Cut = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="draw again as work is finished, until all is, or Ctrl-C")
    ] = False,
    storage: Storage = "runs",
    reports: Reports = Path("reports"),
) -> None:
    """Draw the report pages of a run, finished or not, or of a folder of tables, or compare runs."""
    cuts = _cuts(cut or [])
    check_reports(reports)
    from explorer.results import load

    if len(runs) > 1:
        if watch:
            raise InputError("--watch follows one run, not a comparison")
        from explorer import report as pages

        loaded = [load(one, storage) for one in runs]
        name = checked_name("-vs-".join(run.name for run in loaded))
        say(f"Report: {pages.compare(loaded, reports / name, cuts=cuts)}")
        return
    if watch:
        _watch(runs[0], storage, reports, cuts)
    draw(load(runs[0], storage), reports, cuts)


def diagnose(
    run: RunOrTables,
    cell: Annotated[
        str | None, typer.Option(help="one cell: its id, or settings such as width=8,batch_size=16")
    ] = None,
    learn: Annotated[
        list[str] | None,
        typer.Option(help="a run or folder of tables to fit a decision tree on; may be repeated"),
    ] = None,
    cut: Cut = None,
    storage: Storage = "runs",
) -> None:
    """Say what holds models back and what to change next, how sure that is and from what evidence."""
    cuts = _cuts(cut or [])
    from explorer.report.diagnosis import diagnose as told
    from explorer.results import load

    teachers = [load(one, storage) for one in learn or []]
    for line in told(load(run, storage), cell=cell, cuts=cuts, learn=teachers):
        say(line)


def export(
    run: RunOrTables,
    out: Annotated[
        Path | None, typer.Option(help="table to write, .csv or .parquet; left out: <run>.csv")
    ] = None,
    cut: Cut = None,
    storage: Storage = "runs",
) -> None:
    """Write a run as one table, a row a model, and its summary as Markdown beside it."""
    cuts = _cuts(cut or [])
    from explorer.report.export import export as write
    from explorer.results import load

    loaded = load(run, storage)
    for file in write(loaded, out or Path(f"{checked_name(loaded.name)}.csv"), cuts=cuts):
        say(f"Wrote {file}")


def draw(run: Run, reports: Path, cuts: dict[str, float], *, written: bool = False) -> None:
    """Write the report, say where things are, list what failed; ``written``: the run's tables just were.

    Those of a run that is not finished are missing, or are from before; the report has its own.
    """
    from explorer import report as pages
    from explorer.cli.status import diverged, failures

    index = pages.write(run, reports / checked_name(run.name), cuts=cuts)
    if run.info:
        say(f"Tables: {run.folder if written else index.parent}/tables")
    say(f"Report: {index}")
    if lost := diverged(run):
        say(lost)
    failed, lines = failures(run)
    if failed:
        more = [f"… and {len(lines) - 20} more, in the report and the tables"] if lines[20:] else []
        said = "1 failure" if failed == 1 else f"{failed} failures"
        errors.print(f"Finished with {said}:", *lines[:20], *more, sep="\n  ", **PLAIN)
        raise typer.Exit(3)


def check_reports(folder: Path) -> None:
    """Raises InputError where no page can be written: after a run is too late."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--reports: {place} is a file; pages need a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"--reports: {place} cannot be written; name another folder for the pages")


def _watch(run: str, storage: str, reports: Path, cuts: dict[str, float]) -> None:
    """Draw the page of a run under way again whenever records were added, until none is missing."""
    from explorer import report as pages
    from explorer.cli.status import describe
    from explorer.results import load
    from explorer.runs.store import locate

    store, seen = locate(run, storage), None
    say("Watching; Ctrl-C ends it.")
    try:
        while not describe(store)[1]:
            loaded = load(run, storage)
            state = tuple(len(t) for t in (loaded.models, loaded.pairs, loaded.curves))
            if state != seen:
                index = pages.write(
                    loaded, reports / checked_name(loaded.name), cuts=cuts, images=False, refresh_s=WATCH_S
                )
                say(f"{time.strftime('%H:%M:%S')}  {state[0]} models, {state[1]} pairs: {index}")
                seen = state
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        say("")


def _cuts(given: list[str]) -> dict[str, float]:
    from explorer.space.model import PhaseOptions

    cuts = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            if name not in PhaseOptions.model_fields:
                raise ValueError
            cuts[name] = getattr(PhaseOptions.model_validate({name: float(value)}), name)
        except ValueError:
            raise InputError(
                f"--cut {text}: it should be train_loss or connected with a number above 0, such as "
                "connected=1, or cka with one between 0 and 1"
            ) from None
    return cuts
