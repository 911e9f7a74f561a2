"""The command line: parse, call, print where things are.

Exit codes: 0 all well, 2 wrong input, 3 finished with failures (listed), 130 stopped by the user.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
WATCH_S = 10  # seconds between two looks
# For text of users, and for lines to copy.
PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}

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
MaxHours = Annotated[float | None, typer.Option(min=0, help="stop cleanly after so many hours")]
Callbacks = Annotated[
    list[str] | None,
    typer.Option(
        "--callback", help="tensorboard, mlflow, wandb or module:Class, to follow trials; may be repeated"
    ),
]
Profile = Annotated[
    bool, typer.Option("--profile", help="keep a trace of the workers: profile/trace.json in the run folder")
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
    max_hours: MaxHours = None,
    callback: Callbacks = None,
    profile: Profile = False,
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
            max_hours=max_hours,
            callbacks=callback or [],
            profile=profile,
            observer=display,
            meanwhile=_warm,
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
    max_hours: MaxHours = None,
    callback: Callbacks = None,
    profile: Profile = False,
) -> None:
    """Go on with a run that was interrupted: what is finished is kept, the rest is done."""

    def work(display: Display) -> Run:
        from explorer.engine.run import resume as start

        return start(
            run,
            storage=storage,
            address=address,
            workers=workers,
            gpus=gpus,
            max_hours=max_hours,
            callbacks=callback or [],
            profile=profile,
            observer=display,
            meanwhile=_warm,
        )

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
    max_hours: MaxHours = None,
    profile: Profile = False,
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
            max_hours=max_hours,
            profile=profile,
            observer=display,
            meanwhile=_warm,
        )

    _work(work, run, storage, reports)


@app.command()
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
    from explorer.results import load

    if len(runs) > 1:
        if watch:
            raise InputError("--watch follows one run, not a comparison")
        from explorer import report as pages

        loaded = [load(one, storage) for one in runs]
        name = _name("-vs-".join(run.name for run in loaded))
        _print(f"Report: {pages.compare(loaded, reports / name, cuts=cuts or None)}")
        return
    if watch:
        _watch(runs[0], storage, reports, cuts)
    _report(load(runs[0], storage), reports, cuts)


@app.command()
def diagnose(
    run: Annotated[
        str, typer.Argument(help="a run, or a folder of tables (Parquet or CSV)", show_default=False)
    ],
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
    from explorer.diagnosis import diagnose as told
    from explorer.results import load

    teachers = [load(one, storage) for one in learn or []]
    for line in told(load(run, storage), cell=cell, cuts=cuts or None, learn=teachers):
        _print(line)


@app.command()
def export(
    run: Annotated[
        str, typer.Argument(help="a run, or a folder of tables (Parquet or CSV)", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="table to write, .csv or .parquet; left out: <run>.csv")
    ] = None,
    cut: Cut = None,
    storage: Storage = "runs",
) -> None:
    """Write a run as one table, a row a model, and its summary as Markdown beside it."""
    cuts = _cuts(cut or [])
    from explorer.export import export as write
    from explorer.results import load

    loaded = load(run, storage)
    for file in write(loaded, out or Path(f"{_name(loaded.name)}.csv"), cuts=cuts or None):
        _print(f"Wrote {file}")


@app.command()
def status(
    run: RunName,
    storage: Storage = "runs",
    watch: Annotated[
        bool, typer.Option("--watch", help="show it anew every 2 seconds until it is complete")
    ] = False,
) -> None:
    """Say how far a run is."""
    from explorer.status import describe
    from explorer.store import locate

    table, complete = describe(locate(run, storage))
    if not watch or complete:
        console.print(table)
        return
    from rich.live import Live

    with Live(table, console=console) as live:
        while not complete:
            time.sleep(2)
            table, complete = describe(locate(run, storage))
            live.update(table)


@app.command()
def check(
    space: SpaceFile,
    set_: Overrides = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="machines to estimate for: 8xH100 (a node of eight GPUs), 4x8xA100-80 (four such nodes), "
            "16xCPU (cores like those here); left out: this machine",
        ),
    ] = None,
) -> None:
    """Say what a space would do: cells, models, pairs, and what they would cost. Starts nothing."""
    from explorer import spacefile

    checked = spacefile.read(space, set_)
    from explorer.estimate import describe

    console.print(describe(checked, cluster))


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

    table = Table(box=None, header_style="bold")
    table.add_column("file", no_wrap=True)  # to be copied
    for title in ("grid", "seeds", "what it shows"):
        table.add_column(title)
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

    where = "" if storage == "runs" else f" --storage {storage}"
    go_on = f"Go on with:\n  {_program()} resume {run}{where}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Display(console) as display:
            done = work(display)
            stopped = done.info["sessions"][-1].get("stopped")
            display.stage("drawing", 0)
            with _drawn(done):
                _report(done, reports, {})
        if stopped:
            _print(f"Stopped {stopped}. What is finished is kept. {go_on}")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the goodbye short
        _print(f"\nStopped. What is finished is kept. {go_on}")
        raise typer.Exit(130) from None
    except OSError as error:  # a full disk, a folder that became read-only
        errors.print(
            f"Error: {error}\nWhat is finished is kept. When this is mended, go on. {go_on}", **PLAIN
        )
        raise typer.Exit(3) from None


@contextmanager
def _drawn(run: Run) -> Iterator[None]:
    """Adds the seconds of drawing to the record of the run's last session."""
    from explorer.engine.session import add_stage
    from explorer.store import Store

    mark = time.perf_counter()
    try:
        yield
    finally:
        add_stage(Store(run.folder), run.info["sessions"][-1], "pages", time.perf_counter() - mark)


def _warm() -> None:
    from explorer import report as pages

    pages.warm()


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


def _watch(run: str, storage: str, reports: Path, cuts: dict[str, float]) -> None:
    """Draw the page of a run under way again whenever records were added, until none is missing."""
    from explorer import report as pages
    from explorer.results import load
    from explorer.status import describe
    from explorer.store import locate

    store, seen = locate(run, storage), None
    _print("Watching; Ctrl-C ends it.")
    try:
        while not describe(store)[1]:
            loaded = load(run, storage)
            state = tuple(len(t) for t in (loaded.models, loaded.pairs, loaded.curves))
            if state != seen:
                index = pages.write(
                    loaded, reports / _name(loaded.name), cuts=cuts or None, images=False, refresh_s=WATCH_S
                )
                _print(f"{time.strftime('%H:%M:%S')}  {state[0]} models, {state[1]} pairs: {index}")
                seen = state
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        _print("")


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
