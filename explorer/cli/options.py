"""Arguments and options that several commands have."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

SpaceFile = Annotated[
    Path, typer.Argument(help="a space file, such as spaces/digits.yaml", show_default=False)
]
RunName = Annotated[str, typer.Argument(help="a run: its name, its folder or its URI", show_default=False)]
RunOrTables = Annotated[
    str, typer.Argument(help="a run, or a folder of tables (Parquet or CSV)", show_default=False)
]
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
    str | None, typer.Option(help="of a Ray cluster, or auto; left out: start Ray on this machine")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="at most so many at a time; left out: as many as fit"),
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


def to_resume(
    run: str,
    *,
    storage: str = "runs",
    reports: Path = Path("reports"),
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    callback: Sequence[str] = (),
) -> str:
    """Return the command that goes on with a run, to copy, as this program was called."""
    program = Path(sys.argv[0])
    words = ["python", str(program)] if program.suffix == ".py" else [program.name]
    words += ["resume", run]
    given = {
        "--storage": storage if storage != "runs" else None,
        "--reports": reports if reports != Path("reports") else None,
        "--address": address,
        "--workers": workers,
        "--gpus": gpus,
    }
    words += [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return shlex.join([*words, *(word for one in callback for word in ("--callback", one))])
