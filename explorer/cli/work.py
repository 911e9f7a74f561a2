"""Commands that train and measure: ``run``, ``resume``, ``measure``."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from explorer.cli.app import PLAIN, console, errors, say
from explorer.cli.options import (
    AcceptSourceChange,
    Address,
    Callbacks,
    Gpus,
    LogicalGpus,
    MaxHours,
    Overrides,
    ProfileOption,
    Refine,
    Reports,
    RunName,
    SpaceFile,
    Storage,
    Trust,
    Workers,
    to_resume,
)
from explorer.cli.pages import draw
from explorer.engine.cancel import end_on_first_signal
from explorer.settings import InputError

if TYPE_CHECKING:
    from explorer.engine.cluster import RunOptions
    from explorer.results import RunTables


def run(
    space: SpaceFile,
    name: Annotated[str | None, typer.Option(help="name of the run; default: the space's name")] = None,
    set_: Overrides = None,
    refine: Refine = None,
    storage: Storage = "runs",
    reports: Reports = "reports",
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    logical_gpus: LogicalGpus = False,
    max_hours: MaxHours = None,
    callback: Callbacks = None,
    profile: ProfileOption = False,
    accept_source_change: AcceptSourceChange = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="check everything, say what is trained already, and start nothing"),
    ] = False,
) -> None:
    """Train and measure the grid of a space file and write its report. Continues an existing run."""
    from explorer.engine.cluster import RunOptions
    from explorer.space import reading
    from explorer.space.model import checked_name

    checked = reading.read(space, reading.with_refine(set_ or (), refine))
    run_name = checked_name("--name", name or checked.name)
    where = RunOptions(
        address=address,
        workers=workers,
        gpus=gpus,
        logical_gpus=logical_gpus,
        max_hours=max_hours,
        profile=profile,
        callbacks=callback or (),
    )
    from explorer.engine import run as engine  # takes a second, which mistakes in the input do not wait for

    if dry_run:
        from explorer.estimate import describe
        from explorer.runs.files import Files, join

        Files(join(reports, run_name)).check_writable("--reports")
        lines = engine.preview(checked, run_name, storage, where, accept_source_change=accept_source_change)
        console.print(describe(checked))
        for line in lines:
            say(line)
        return

    sources = {"accept_source_change": accept_source_change}
    start = partial(engine.run, checked, name=run_name, storage=storage, **sources)
    show(start, run_name, where, storage, reports)


def resume(
    run: RunName,
    storage: Storage = "runs",
    reports: Reports = "reports",
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    logical_gpus: LogicalGpus = False,
    max_hours: MaxHours = None,
    callback: Callbacks = None,
    profile: ProfileOption = False,
    accept_source_change: AcceptSourceChange = False,
    trust: Trust = False,
) -> None:
    """Resume an interrupted run: keep finished work and do the rest."""
    from explorer.engine import run as engine
    from explorer.engine.cluster import RunOptions

    where = RunOptions(
        address=address,
        workers=workers,
        gpus=gpus,
        logical_gpus=logical_gpus,
        max_hours=max_hours,
        profile=profile,
        callbacks=callback or (),
    )

    sources = {"accept_source_change": accept_source_change, "trust": trust}
    start = partial(engine.resume, run, storage=storage, **sources)
    show(start, run, where, storage, reports)


def measure(
    run: RunName,
    add: Annotated[
        list[str] | None, typer.Option(help="a measure that the run does not have yet; repeatable")
    ] = None,
    again: Annotated[list[str] | None, typer.Option(help="a measure to repeat; repeatable")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="change a measure's budget, such as measures.connectivity.steps=3000, and measure again",
        ),
    ] = None,
    storage: Storage = "runs",
    reports: Reports = "reports",
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    logical_gpus: LogicalGpus = False,
    max_hours: MaxHours = None,
    profile: ProfileOption = False,
    accept_source_change: AcceptSourceChange = False,
    trust: Trust = False,
) -> None:
    """Add or repeat measures of a run without training."""
    from explorer.engine import run as engine
    from explorer.engine.cluster import RunOptions

    where = RunOptions(
        address=address,
        workers=workers,
        gpus=gpus,
        logical_gpus=logical_gpus,
        max_hours=max_hours,
        profile=profile,
    )

    sources = {"accept_source_change": accept_source_change, "trust": trust}
    chosen = {"add": add or [], "again": again or [], "overrides": set_ or []}
    start = partial(engine.measure, run, storage=storage, **chosen, **sources)
    show(start, run, where, storage, reports)


def show(start: Callable[..., RunTables], run: str, where: RunOptions, storage: str, reports: str) -> None:
    """Call ``start`` with a display and ``where``, then write the report. A signal prints how to resume.

    Raises:
        typer.Exit: 3 if something failed, 4 if the time was over, 130 after Ctrl-C, 143 after SIGTERM, 129 if
            the terminal was closed.
    """
    from explorer.engine.display import Display
    from explorer.runs.files import Files, join

    Files(join(reports, Files(run).name)).check_writable("--reports")
    command = to_resume(run, storage=storage, reports=reports, where=where)

    def kept(before: str) -> str:
        how = f"{before}resume with:\n  {command}"
        return _kept(run, storage, f"{how[0].upper()}{how[1:]}")

    with exit_with_message(kept):
        with Display(console) as display:
            result = start(observer=display, where=where)
            from explorer.engine.session import add_stage
            from explorer.runs.store import Store

            session = result.info["sessions"][-1]
            display.stage("drawing", 0)
            started = time.perf_counter()
            stopped, untrained = session.get("stopped"), session.get("untrained")
            try:
                draw(result, reports, {}, written=True)
            except typer.Exit:  # failures, which are listed
                if not stopped:
                    raise
            finally:
                store = Store(result.folder)
                store.files.has_answered = store.begun = True
                add_stage(store, session, "pages", time.perf_counter() - started)
        if stopped:
            say(f"Stopped {stopped}. {kept('')}")
            raise typer.Exit(4)
        if untrained:
            errors.print(f"Not everything is measured: {untrained}. {kept('')}", **PLAIN)
            raise typer.Exit(3)


@contextmanager
def exit_with_message(kept: Callable[[str], str]) -> Iterator[None]:
    """Turn signals, a run folder that has gone and a full disk into a message and an exit code.

    Args:
        kept: returns what is left of the work and how to continue. It is given what must be done before.
    """
    from explorer.runs.files import GoneError

    end_on_first_signal()
    try:
        yield
    except KeyboardInterrupt as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut this message short
        say(f"\nStopped by {getattr(stop, 'by', 'Ctrl-C')}. {kept('')}")
        raise typer.Exit(getattr(stop, "code", 130)) from None
    except GoneError as error:
        errors.print(f"Error: {error}", **PLAIN)
        raise typer.Exit(3) from None
    except OSError as error:  # a full disk, a folder that became read-only
        errors.print(f"Error: {error}\n{kept('After fixing the problem, ')}", **PLAIN)
        raise typer.Exit(3) from None


def _kept(run: str, storage: str, then: str) -> str:
    """Return what is left of a run that stopped, and what to do then."""
    from explorer.runs.files import URI, resolve
    from explorer.runs.store import locate

    remote = any(URI.match(resolve(place)) for place in (run, storage))
    try:
        store = None if remote else locate(run, storage)  # an object store may not answer now
    except InputError:
        return "It had no result yet and left no run folder; the same command starts it again."
    return (
        f"Finished work is kept. {then}"
        if store is None or store.has_work()
        else f"No model is trained yet. {then}"
    )
