"""Commands that show the results of a run: ``report``, ``diagnose``, ``export``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from explorer.cli.app import PLAIN, errors, say
from explorer.cli.options import ColumnsOption, CutOption, Reports, RunOrTables, Storage
from explorer.settings import InputError
from explorer.units import plural

if TYPE_CHECKING:
    from pathlib import Path

    from explorer.results import RunTables

WATCH_S = 10  # seconds between two checks for new records


def report(
    runs: Annotated[
        list[str],
        typer.Argument(help="a run, or a folder of tables; two or more are compared", show_default=False),
    ],
    cut: CutOption = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="compare only cells with this value of an axis (learning_rate=0.05); repeatable"),
    ] = None,
    columns: ColumnsOption = None,
    open_: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="redraw as results arrive, until the run is complete or Ctrl-C")
    ] = False,
    storage: Storage = "runs",
    reports: Reports = "reports",
) -> None:
    """Write the report of a run (finished or not) or of a folder of tables, or compare several runs."""
    cuts = cuts_of(cut or [])
    import pyarrow as pa

    from explorer.results import holds_tables, load
    from explorer.runs.files import Files

    Files(reports).check_writable("--reports")
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own pool would keep the memory of every table
    if len(runs) > 1:
        if watch:
            raise InputError("--watch follows one run, not a comparison")
        from explorer import report as pages
        from explorer.report.selection import select

        of = {one: columns or [] if holds_tables(one, storage) else [] for one in runs}
        loaded = [select(load(one, storage, columns=of[one]), where or []) for one in runs]
        index = pages.compare(loaded, pages.page_folder(loaded, reports), cuts=cuts)
        say(f"Report: {index}")
        if open_:
            _open(index)
        return
    if where:
        raise InputError("--where selects the cells of a comparison; give two runs, or leave it out")
    if watch:
        _watch(runs[0], storage, reports, cuts)
    draw(load(runs[0], storage, columns=columns or []), reports, cuts, show=open_)


def diagnose(
    run: RunOrTables,
    cell: Annotated[
        str | None, typer.Option(help="one cell: its id, or settings such as width=8,batch_size=16")
    ] = None,
    cut: CutOption = None,
    columns: ColumnsOption = None,
    storage: Storage = "runs",
) -> None:
    """Answer what to change (temperature, size or data) and why, with gain, confidence and evidence."""
    cuts = cuts_of(cut or [])
    from explorer.report.diagnosis import diagnose as diagnosis
    from explorer.results import load

    for line in diagnosis(load(run, storage, columns=columns or []), cell=cell, cuts=cuts):
        say(line)


def export(
    run: RunOrTables,
    out: Annotated[
        str | None, typer.Option(help="table to write, .csv or .parquet, or its URI; default: <run>.csv")
    ] = None,
    cut: CutOption = None,
    columns: ColumnsOption = None,
    storage: Storage = "runs",
) -> None:
    """Write a run as one table with one row per model, and a Markdown summary next to it."""
    cuts = cuts_of(cut or [])
    from explorer.report.export import export as write
    from explorer.results import load

    loaded = load(run, storage, columns=columns or [])
    for file in write(loaded, out or f"{loaded.name}.csv", cuts=cuts):
        say(f"Wrote {file}")


def draw(
    run: RunTables, reports: str, cuts: dict[str, float], *, written: bool = False, show: bool = False
) -> None:
    """Write the report, print where the tables and the report are, and list failures.

    Args:
        written: whether the tables in the run folder were just written. If not, they are missing or out of
            date, and the tables beside the report are named instead.
        show: open the report in the browser.

    Raises:
        typer.Exit: something failed; exit code 3.
    """
    from explorer import report as pages
    from explorer.report.facts import progress_of, reservations
    from explorer.report.outcome import diverged, failures, first_lines
    from explorer.runs.files import join

    folder, now = pages.page_folder([run], reports), progress_of(run)
    index = pages.write(run, folder, cuts=cuts, now=now)
    if run.info:
        say(f"Tables: {join(run.folder if written else folder, 'tables')}")
    say(f"Report: {index}")
    if show:
        _open(index)
    if not written and (text := reservations(run, now, run.cuts(cuts))):
        say(text)
    if lost := diverged(run):
        say(lost)
    failed, lines = failures(run)
    if failed:
        errors.print(f"Finished with {plural(failed, 'failure')}:", *first_lines(lines), sep="\n  ", **PLAIN)
        raise typer.Exit(3)


def _open(index: Path | str) -> None:
    from explorer.interface import open_page

    if not open_page(index):
        say("There is no browser here; open the page yourself.")


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
                    loaded, pages.page_folder([loaded], reports), cuts=cuts, images=False, refresh_s=WATCH_S
                )
                say(f"{time.strftime('%H:%M:%S')}  {state[0]} models, {state[1]} pairs: {index}")
                seen = state
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        say("")


def cuts_of(given: list[str]) -> dict[str, float]:
    """Return the cuts that ``--cut`` gives."""
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
