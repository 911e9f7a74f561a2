"""Commands that only read: ``status``, ``runs``, ``check``, ``spaces``."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Annotated

import typer

from explorer.cli.app import PLAIN, console, errors, say
from explorer.cli.options import Overrides, Refine, RunName, SpaceFile, Storage, to_resume
from explorer.settings import InputError


def status(
    run: RunName,
    storage: Storage = "runs",
    watch: Annotated[
        bool, typer.Option("--watch", help="refresh every 2 seconds until the run is complete")
    ] = False,
) -> None:
    """Show the progress of a run."""
    from explorer.cli.status import describe
    from explorer.runs.store import locate

    store = locate(run, storage)
    table, now = describe(store)
    if not watch or now.complete:
        console.print(table)
        if not (now.complete or now.holder):
            say(f"Resume with:\n  {to_resume(run, storage=storage)}")
        return
    from rich.live import Live

    with Live(table, console=console) as live:
        while not now.complete:
            time.sleep(2)
            table, now = describe(store)
            live.update(table)


def runs(storage: Storage = "runs") -> None:
    """List all runs with their state: trained and measured models, failures, and who works on them."""
    from explorer.cli.status import overview

    table, unread = overview(storage)
    console.print(table)
    for line in unread:
        errors.print(line, **PLAIN)


def verify(
    run: RunName,
    storage: Storage = "runs",
    repair: Annotated[
        bool,
        typer.Option("--repair", help="set damaged files aside; `resume` then trains or measures them again"),
    ] = False,
) -> None:
    """Compare every file of a run with its checksum, and list what is damaged (exit code 3)."""
    from explorer.runs import verify as verification
    from explorer.runs.lock import RunLock
    from explorer.runs.store import locate

    store = locate(run, storage, mend=repair)
    with RunLock(store.files) if repair else contextlib.nullcontext():
        number, damages = verification.verify(store)
        for damage in damages:
            errors.print(str(damage), **PLAIN)
        if repair:
            verification.repair(store, damages)
        with contextlib.suppress(OSError):  # without the right to write, no note is left in the folder
            verification.keep_result(store, damages, repaired=repair)
    if not damages:
        say(f"{number:,} files were read, and none is damaged.")
        return
    then = f"\n  {to_resume(run, storage=storage)}"
    count = f"Damaged files: {len(damages):,} of {number:,}."
    say(
        f"{count} They are set aside. Train and measure again:{then}"
        if repair
        else f"{count} Set them aside with --repair, then run{then}"
    )
    raise typer.Exit(3)


def check(
    space: SpaceFile,
    set_: Overrides = None,
    refine: Refine = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="machines to estimate for: 8xH100 (one node of eight GPUs), 4x8xA100-80 (four such nodes), "
            "16xCPU (cores like this machine's); default: this machine",
        ),
    ] = None,
) -> None:
    """Check a space file and estimate its cost: cells, models, pairs, time, memory. Starts nothing."""
    from explorer.estimate import describe
    from explorer.space import reading

    console.print(describe(reading.read(space, reading.with_refine(set_ or (), refine)), cluster))


def spaces(
    folder: Annotated[Path, typer.Argument(help="a folder of space files")] = Path("spaces"),
    schema: Annotated[
        bool, typer.Option("--schema", help="print the JSON Schema of a space file, for editors")
    ] = False,
) -> None:
    """List the space files in a folder."""
    from explorer.space import reading
    from explorer.space.schema import json_schema

    if schema:
        typer.echo(json.dumps(json_schema(), indent=1))
        return
    from rich.markup import escape
    from rich.padding import Padding

    files = sorted(folder.glob("*.yaml"))
    if folder.is_file():
        raise InputError(f"{folder} is a file: `check` tells what a space would do; give `spaces` a folder")
    if not files:
        raise InputError(f"there is no space file (*.yaml) in {folder}/")
    for file in files:
        try:
            one = reading.read(file)
            grid = " × ".join(f"{axis} {len(values)}" for axis, values in one.axes.items())
            head, said = f"  {grid}, {len(one.seed_numbers)} seeds", one.description
        except InputError as error:
            head, said = "", f"cannot be used here: {error}"
        console.print(f"[bold]{escape(str(file))}[/bold]{head}", highlight=False, soft_wrap=True)
        console.print(Padding(escape(said), (0, 0, 0, 2), expand=False), highlight=False)
