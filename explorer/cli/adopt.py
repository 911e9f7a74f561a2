"""The command ``import``: models that were trained elsewhere become a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from explorer.cli.options import (
    Address,
    ColumnsOption,
    Gpus,
    LogicalGpus,
    MaxHours,
    Overrides,
    Reports,
    Storage,
    Workers,
)
from explorer.cli.work import show


def import_models(
    folder: Annotated[Path, typer.Argument(help="folder of the checkpoints", show_default=False)],
    model: Annotated[
        str, typer.Option(help="architecture, by name or as module:function", show_default=False)
    ],
    data: Annotated[
        str,
        typer.Option(
            help="data set, by name, file (.npz, .csv, .parquet), folder of images or module:function",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="name of the run", show_default=False)],
    settings: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with settings, seed and file of each checkpoint; default: settings in --files, or "
            "those that Ray Tune or Lightning have written"
        ),
    ] = None,
    files: Annotated[
        str | None, typer.Option(help="pattern of file names, such as w{width}_b{batch_size}/seed{seed}.pt")
    ] = None,
    set_: Overrides = None,
    columns: ColumnsOption = None,
    storage: Storage = "runs",
    reports: Reports = "reports",
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    logical_gpus: LogicalGpus = False,
    max_hours: MaxHours = None,
) -> None:
    """Import models that were trained elsewhere, measure them and write the report."""
    from explorer.engine.cluster import RunOptions
    from explorer.engine.imported import adopt
    from explorer.space.model import checked_name

    run_name = checked_name("--name", name)
    where = RunOptions(
        address=address, workers=workers, gpus=gpus, logical_gpus=logical_gpus, max_hours=max_hours
    )
    theirs = {"settings": settings, "files": files, "columns": columns or []}
    start = partial(
        adopt, folder, model=model, data=data, name=run_name, overrides=set_ or [], storage=storage, **theirs
    )
    show(start, run_name, where, storage, reports)
