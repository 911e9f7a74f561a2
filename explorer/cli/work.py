"""Commands that train and measure: ``run``, ``resume``, ``measure``."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from explorer.cli.app import PLAIN, checked_name, console, errors, say
from explorer.cli.options import (
    Address,
    Callbacks,
    Gpus,
    MaxHours,
    Overrides,
    Profile,
    Reports,
    RunName,
    SpaceFile,
    Storage,
    Workers,
    to_resume,
)
from explorer.cli.pages import check_reports, draw
from explorer.engine.interrupts import end_once

if TYPE_CHECKING:
    from explorer.cli.display import Display
    from explorer.engine.where import Where
    from explorer.results import Run


def run(
    space: SpaceFile,
    name: Annotated[str | None, typer.Option(help="of the run; left out: the space's own")] = None,
    set_: Overrides = None,
    storage: Storage = "runs",
    reports: Reports = Path("reports"),
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    max_hours: MaxHours = None,
    callback: Callbacks = None,
    profile: Profile = False,
) -> None:
    """Train and measure the grid of a space file and write its report. Goes on with a run that exists."""
    from explorer.engine.where import Where
    from explorer.space import reading

    checked = reading.read(space, set_)
    run_name = checked_name(name or checked.name)
    where = Where(
        address=address,
        workers=workers,
        gpus=gpus,
        max_hours=max_hours,
        profile=profile,
        callbacks=callback or (),
    )

    def start(display: Display) -> Run:
        from explorer.engine.run import run

        return run(checked, name=run_name, storage=storage, observer=display, where=where)

    _work(start, run_name, where, storage, reports)


def resume(
    run: RunName,
    storage: Storage = "runs",
    reports: Reports = Path("reports"),
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    max_hours: MaxHours = None,
    callback: Callbacks = None,
    profile: Profile = False,
) -> None:
    """Go on with a run that was interrupted: what is finished is kept, the rest is done."""
    from explorer.engine.where import Where

    where = Where(
        address=address,
        workers=workers,
        gpus=gpus,
        max_hours=max_hours,
        profile=profile,
        callbacks=callback or (),
    )

    def start(display: Display) -> Run:
        from explorer.engine.run import resume

        return resume(run, storage=storage, observer=display, where=where)

    _work(start, run, where, storage, reports)


def measure(
    run: RunName,
    add: Annotated[
        list[str] | None, typer.Option(help="a measure that the run does not have yet; may be repeated")
    ] = None,
    again: Annotated[list[str] | None, typer.Option(help="a measure to take again; may be repeated")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="another budget, such as measures.connectivity.steps=3000; measures again"
        ),
    ] = None,
    storage: Storage = "runs",
    reports: Reports = Path("reports"),
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    max_hours: MaxHours = None,
    profile: Profile = False,
) -> None:
    """Measure again, or more, without training."""
    from explorer.engine.where import Where

    where = Where(address=address, workers=workers, gpus=gpus, max_hours=max_hours, profile=profile)

    def start(display: Display) -> Run:
        from explorer.engine.run import measure

        return measure(
            run,
            add=add or [],
            again=again or [],
            overrides=set_ or [],
            storage=storage,
            observer=display,
            where=where,
        )

    _work(start, run, where, storage, reports)


def _work(start: Callable[[Display], Run], run: str, where: Where, storage: str, reports: Path) -> None:
    """Do it under a display, then write the report. Ctrl-C and SIGTERM end it with what to do next."""
    from explorer.cli.display import Display

    check_reports(reports / Path(run).name)
    command = to_resume(
        run,
        storage=storage,
        reports=reports,
        address=where.address,
        workers=where.workers,
        gpus=where.gpus,
        callback=where.callbacks,
    )
    go_on = f"Go on with:\n  {command}"
    end_once()
    try:
        with Display(console) as display:
            done = start(display)
            stopped = done.info["sessions"][-1].get("stopped")
            display.stage("drawing", 0)
            with _drawn(done):
                draw(done, reports, {}, written=True)
        if stopped:
            say(f"Stopped {stopped}. What is finished is kept. {go_on}")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the goodbye short
        say(f"\nStopped. What is finished is kept. {go_on}")
        raise typer.Exit(130) from None
    except OSError as error:  # a full disk, a folder that became read-only
        errors.print(
            f"Error: {error}\nWhat is finished is kept. When this is mended, go on with:\n  {command}",
            **PLAIN,
        )
        raise typer.Exit(3) from None


@contextmanager
def _drawn(run: Run) -> Iterator[None]:
    """Adds the seconds of drawing to the record of the run's last session."""
    from explorer.engine.session import add_stage
    from explorer.runs.store import Store

    mark = time.perf_counter()
    try:
        yield
    finally:
        store = Store(run.folder)
        store.files.known = True
        add_stage(store, run.info["sessions"][-1], "pages", time.perf_counter() - mark)
