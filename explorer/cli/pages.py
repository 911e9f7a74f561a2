"""Commands that show the results of a run: ``report``, ``diagnose``, ``export``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from explorer.cli.app import PLAIN, errors, say
from explorer.cli.options import Cut, Reports, RunOrTables, Storage
from explorer.settings import InputError

if TYPE_CHECKING:
    from explorer.results import Run

WATCH_S = 10  # seconds between two checks for new records


def report(
    runs: Annotated[
        list[str],
        typer.Argument(help="a run, or a folder of tables; two or more are compared", show_default=False),
    ],
    cut: Cut = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="redraw as results arrive, until the run is complete or Ctrl-C")
    ] = False,
    storage: Storage = "runs",
    reports: Reports = "reports",
) -> None:
    """Write the report of a run (finished or not) or of a folder of tables, or compare several runs."""
    cuts = _cuts(cut or [])
    check_reports(reports)
    import pyarrow as pa

    from explorer.results import load

    pa.set_memory_pool(
        pa.system_memory_pool()
    )  # gives memory back; Arrow's own pool keeps that of all tables
    if len(runs) > 1:
        if watch:
            raise InputError("--watch follows one run, not a comparison")
        from explorer import report as pages

        loaded = [load(one, storage) for one in runs]
        say(f"Report: {pages.compare(loaded, pages.place(loaded, reports), cuts=cuts)}")
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
        typer.Option(help="a run or folder of tables to learn answers from; repeatable"),
    ] = None,
    cut: Cut = None,
    storage: Storage = "runs",
) -> None:
    """Say what limits the models and what to change next, with the confidence and the evidence."""
    cuts = _cuts(cut or [])
    from explorer.report.diagnosis import diagnose as diagnosis
    from explorer.results import load

    teachers = [load(one, storage) for one in learn or []]
    for line in diagnosis(load(run, storage), cell=cell, cuts=cuts, learn=teachers):
        say(line)


def export(
    run: RunOrTables,
    out: Annotated[
        str | None, typer.Option(help="table to write, .csv or .parquet, or its URI; default: <run>.csv")
    ] = None,
    cut: Cut = None,
    storage: Storage = "runs",
) -> None:
    """Write a run as one table with one row per model, and a Markdown summary next to it."""
    cuts = _cuts(cut or [])
    from explorer.report.export import export as write
    from explorer.results import load

    loaded = load(run, storage)
    for file in write(loaded, out or f"{loaded.name}.csv", cuts=cuts):
        say(f"Wrote {file}")


def draw(run: Run, reports: str, cuts: dict[str, float], *, written: bool = False) -> None:
    """Write the report, print where the tables and the report are, and list failures.

    Args:
        written: whether the tables in the run folder were just written. If not, they are missing or out of
            date, and the tables beside the report are named instead.

    Raises:
        typer.Exit: something failed; exit code 3.
    """
    from explorer import report as pages
    from explorer.cli.status import diverged, failures
    from explorer.report.facts import progress_of, reservations
    from explorer.runs.files import join

    folder = pages.place([run], reports)
    index = pages.write(run, folder, cuts=cuts)
    if run.info:
        say(f"Tables: {join(run.folder if written else folder, 'tables')}")
    say(f"Report: {index}")
    if not written and (text := reservations(run, progress_of(run))):
        say(text)
    if lost := diverged(run):
        say(lost)
    failed, lines = failures(run)
    if failed:
        more = [f"… and {len(lines) - 20} more, in the report and the tables"] if lines[20:] else []
        said = "1 failure" if failed == 1 else f"{failed} failures"
        errors.print(f"Finished with {said}:", *lines[:20], *more, sep="\n  ", **PLAIN)
        raise typer.Exit(3)


def check_reports(folder: str) -> None:
    """Raise InputError if pages cannot be written to ``folder``. Called before a run, not after it."""
    from explorer.runs.files import Files

    files = Files(folder)
    files.check_store("--reports")
    if not files.local:
        return
    place = Path(files.location)
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--reports: {place} is a file; name a folder for the report pages")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"--reports: {place} cannot be written; name another folder for the report pages")


def _watch(run: str, storage: str, reports: str, cuts: dict[str, float]) -> None:
    """Redraw the page of a running run whenever new records appear, until the run is complete."""
    from explorer import report as pages
    from explorer.cli.status import describe
    from explorer.results import load
    from explorer.runs.store import locate

    store, seen = locate(run, storage), None
    say("Watching the run. Press Ctrl-C to stop.")
    try:
        while not describe(store)[1].complete:
            loaded = load(run, storage)
            state = tuple(len(t) for t in (loaded.models, loaded.pairs, loaded.curves))
            if state != seen:
                index = pages.write(
                    loaded, pages.place([loaded], reports), cuts=cuts, images=False, refresh_s=WATCH_S
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
