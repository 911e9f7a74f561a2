"""Arguments and options shared by several commands."""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from explorer.engine.cluster import RunOptions
else:
    RunOptions = Any  # commands import the engine when they are called


def _runs(incomplete: str) -> list[str]:
    """Return the names of runs for the completion of a shell."""
    return sorted(file.parent.name for file in Path("runs").glob(f"{incomplete}*/run.yaml"))


SpaceFile = Annotated[
    Path, typer.Argument(help="a space file, such as spaces/digits.yaml", show_default=False)
]
RunName = Annotated[
    str, typer.Argument(help="a run, by name, folder or URI", show_default=False, autocompletion=_runs)
]
RunOrTables = Annotated[
    str,
    typer.Argument(
        help="a run, or a folder of tables (Parquet or CSV)", show_default=False, autocompletion=_runs
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="override a setting of the space, such as training.steps=500; repeatable"),
]
Refine = Annotated[
    float | None,
    typer.Option(
        help="run a part of the grid, chosen in rounds, and predict the rest: a share such as 0.35, "
        "or a number of cells"
    ),
]
Storage = Annotated[str, typer.Option(help="folder of the runs, or a URI such as s3://bucket/runs")]
Reports = Annotated[str, typer.Option(help="folder for report pages, or a URI")]
# The options of RunOptions, with their types.
RUN_OPTIONS = {
    "address": Annotated[
        str | None,
        typer.Option(help="address of a Ray cluster, or auto; default: start Ray on this machine"),
    ],
    "workers": Annotated[
        int | None,
        typer.Option(min=1, help="maximum number of workers at a time; default: as many as fit"),
    ],
    "gpus": Annotated[int | None, typer.Option(min=0, help="GPUs of this machine; default: those Ray finds")],
    "logical_gpus": Annotated[
        bool, typer.Option("--logical-gpus", help="GPUs are only counted, and CPUs compute: to try a space")
    ],
    "max_hours": Annotated[float | None, typer.Option(min=0, help="stop cleanly after this many hours")],
    "callbacks": Annotated[
        list[str] | None,
        typer.Option(
            "--callback", help="log trials to tensorboard, mlflow, wandb or module:Class; repeatable"
        ),
    ],
    "profile": Annotated[
        bool,
        typer.Option("--profile", help="record a trace of the workers: profile/trace.json in the run folder"),
    ],
}
AcceptSourceChange = Annotated[
    bool,
    typer.Option(
        "--accept-source-change",
        help="continue the run although your source files have changed; trained models are kept",
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="run your own code that the run names although the run folder is not yours"),
]
CutOption = Annotated[
    list[str] | None,
    typer.Option("--cut", help="cut (threshold) between phases: train_loss=0.01, connected=1 or cka=0.65"),
]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        help="our names of columns by theirs, such as bs=batch_size,acc=test_accuracy_percent; an empty name "
        "leaves a column out, and in tables load or temperature makes it an axis; repeatable",
    ),
]


def takes_run_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator of commands: these of the ``RUN_OPTIONS`` become the argument ``where``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            from explorer.engine.cluster import RunOptions

            chosen = {name: given.pop(name) for name in names}
            where = RunOptions(**{name: value for name, value in chosen.items() if value is not None})
            command(**given, where=where)

        parameters = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            if parameter.name != "where":
                parameters.append(parameter)
                continue
            for name in names:
                kind = RUN_OPTIONS[name]
                default = False if get_args(kind)[0] is bool else None
                parameters.append(parameter.replace(name=name, annotation=kind, default=default))
        with_options.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
        return with_options

    return decorate


def program() -> list[str]:
    """Return the words with which this program was called."""
    called = Path(sys.argv[0])
    return ["python", str(called)] if called.suffix == ".py" else [called.name]


def to_resume(
    run: str, *, storage: str = "runs", reports: str = "reports", where: RunOptions | None = None
) -> str:
    """Return the shell command that resumes a run, in the form in which this program was called."""
    words = [*program(), "resume", run]
    options: list[tuple[str, Any]] = []
    if storage != "runs":
        options.append(("--storage", storage))
    if reports != "reports":
        options.append(("--reports", reports))
    if where:
        options += [("--address", where.address), ("--workers", where.workers), ("--gpus", where.gpus)]
        options += [("--callback", name) for name in where.callbacks]
    words += [word for name, value in options if value is not None for word in (name, str(value))]
    words += ["--logical-gpus"] * bool(where and where.logical_gpus)
    return shlex.join(words)
