"""The command line: parse, call, print where things are.

Exit codes: 0 all well, 2 wrong input, 3 finished with failures (listed), 130 stopped by the user.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from explorer.settings import InputError

if TYPE_CHECKING:
    from explorer.console import Display
    from explorer.results import Run

# Heavy imports (ray, torch, altair, pandas) stay inside the commands: --help answers at once.

app = typer.Typer(
    name="explorer",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Explorer maps how networks learn: train a grid, measure its loss landscapes, read its phases.",
    epilog="Exit codes: 0 all well, 2 wrong input, 3 finished with failures, 130 stopped with Ctrl-C.",
)
console = Console()
errors = Console(stderr=True)
PLAIN: dict[str, Any] = {
    "markup": False,
    "highlight": False,
    "soft_wrap": True,
}  # text of users, and lines to copy

SpaceFile = Annotated[
    Path, typer.Argument(help="a space file, such as spaces/digits.yaml", show_default=False)
]
RunName = Annotated[str, typer.Argument(help="a run: its name, its folder or its URI", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="override a setting of the space, such as training.steps=500; may be repeated"
    ),
]
Storage = Annotated[
    str, typer.Option(help="where runs are kept: a folder, or a URI such as s3://bucket/runs")
]
Reports = Annotated[Path, typer.Option(help="where report pages go")]
Address = Annotated[
    str | None, typer.Option(help="of a Ray cluster, or auto; left out: a Ray of its own on this machine")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="at most so many at a time on this machine; left out: as many as fit"),
]
Gpus = Annotated[
    int | None, typer.Option(min=0, help="GPUs of this machine, logical ones too; left out: those Ray finds")
]
Cut = Annotated[
    list[str] | None,
    typer.Option("--cut", help="a cut between phases: train_loss=0.01, connected=1 or cka=0.65"),
]


@app.command()
def run(
    space: SpaceFile,
    name: Annotated[str | None, typer.Option(help="of the run; left out: the space's own")] = None,
    set_: Overrides = None,
    storage: Storage = "runs",
    reports: Reports = Path("reports"),
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
) -> None:
    """Train and measure the grid of a space file and write its report. Goes on with a run that exists."""
    from explorer import spacefile

    checked = spacefile.read(space, set_)
    run_name = _name(name or checked.name)

    def work(display: Display) -> Run:
        from explorer.engine.run import run as start

        return start(
            checked,
            name=run_name,
            storage=storage,
            address=address,
            workers=workers,
            gpus=gpus,
            observer=display,
        )

    _work(work, run_name, storage, reports)


@app.command()
def resume(
    run: RunName,
    storage: Storage = "runs",
    reports: Reports = Path("reports"),
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
) -> None:
    """Go on with a run that was interrupted: what is finished is kept, the rest is done."""

    def work(display: Display) -> Run:
        from explorer.engine.run import resume as start

        return start(run, storage=storage, address=address, workers=workers, gpus=gpus, observer=display)

    _work(work, run, storage, reports)


@app.command()
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
) -> None:
    """Measure again, or more, without training."""

    def work(display: Display) -> Run:
        from explorer.engine.run import measure as start

        return start(
            run,
            add=add or [],
            again=again or [],
            overrides=set_ or [],
            storage=storage,
            address=address,
            workers=workers,
            gpus=gpus,
            observer=display,
        )

    _work(work, run, storage, reports)


@app.command()
def report(
    run: Annotated[
        str, typer.Argument(help="a run, or a folder of tables (Parquet or CSV)", show_default=False)
    ],
    cut: Cut = None,
    storage: Storage = "runs",
    reports: Reports = Path("reports"),
) -> None:
    """Draw the report pages of a run, finished or not, or of a folder of tables."""
    cuts = _cuts(cut or [])
    from explorer.results import load

    _report(load(run, storage), reports, cuts)


@app.command()
def status(run: RunName, storage: Storage = "runs") -> None:
    """Say how far a run is."""
    from explorer.status import describe
    from explorer.store import locate

    console.print(describe(locate(run, storage)))


@app.command()
def check(space: SpaceFile, set_: Overrides = None) -> None:
    """Say what a space would do: cells, models, pairs, and what they would cost. Starts nothing."""
    from explorer import spacefile

    checked = spacefile.read(space, set_)
    from explorer.estimate import describe

    console.print(describe(checked))


@app.command()
def spaces(
    folder: Annotated[Path, typer.Argument(help="a folder of space files")] = Path("spaces"),
    schema: Annotated[
        bool, typer.Option("--schema", help="print the JSON Schema of a space file, for editors")
    ] = False,
) -> None:
    """List the space files there are."""
    from explorer import spacefile
    from explorer.schema import json_schema

    if schema:
        typer.echo(json.dumps(json_schema(), indent=1))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("file", "grid", "seeds", "what it shows", box=None, header_style="bold")
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise InputError(f"there is no space file (*.yaml) in {folder}/")
    for file in files:
        try:
            one = spacefile.read(file)
        except InputError as error:
            table.add_row(str(file), "", "", escape(f"wrong: {error}"))
            continue
        grid = " × ".join(f"{axis} {len(values)}" for axis, values in one.axes.items())
        table.add_row(str(file), grid, str(one.seeds), escape(one.description))
    console.print(table)


def _work(work: Callable[[Display], Run], run: str, storage: str, reports: Path) -> None:
    """Do it under a display, then write the report. Ctrl-C and SIGTERM end it with what to do next."""
    from explorer.console import Display

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Display(console) as display:
            done = work(display)
            display.stage("drawing", 0)
            _report(done, reports, {})
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the goodbye short
        where = "" if storage == "runs" else f" --storage {storage}"
        _print(f"\nStopped. What is finished is kept. Go on with:\n  {_program()} resume {run}{where}")
        raise typer.Exit(130) from None


def _report(run: Run, reports: Path, cuts: dict[str, float]) -> None:
    """Write the report, say where things are, list what failed."""
    from explorer import report as pages
    from explorer.status import failures

    index = pages.write(run, reports / _name(run.name), cuts=cuts or None)
    if run.info:
        _print(f"Tables: {run.folder}/tables")
    _print(f"Report: {index}")
    failed = failures(run)
    if failed:
        shown = [
            *failed[:20],
            *([f"… and {len(failed) - 20} more, in the report and the tables"] if failed[20:] else []),
        ]
        errors.print(f"Finished with {len(failed)} failures:", *shown, sep="\n  ", **PLAIN)
        raise typer.Exit(3)


def _cuts(given: list[str]) -> dict[str, float]:
    from explorer.space import PhaseOptions

    cuts = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            if name not in PhaseOptions.model_fields:
                raise ValueError
            cuts[name] = getattr(PhaseOptions.model_validate({name: float(value)}), name)
        except ValueError:
            raise InputError(
                f"--cut {text}: it should be train_loss, connected or cka with a positive number, "
                "such as connected=1"
            ) from None
    return cuts


def _name(name: str) -> str:
    from explorer.space import NAME

    if not re.match(NAME, name):
        raise InputError(
            f"--name {name!r}: letters, digits, '.', '_' and '-' only, at most 100, "
            "the first a letter or digit"
        )
    return name


def _program() -> str:
    """How this program was called, for a command to copy."""
    program = Path(sys.argv[0])
    return f"python {program}" if program.suffix == ".py" else program.name


def _print(text: str) -> None:
    console.print(text, **PLAIN)


def main() -> None:
    """Entry point of ``explorer`` and ``run_explore.py``."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # module:function of the current folder, as `python run_explore.py` finds it
    try:
        app()
    except InputError as error:
        errors.print(f"Error: {error}", style="red", **PLAIN)
        sys.exit(2)
