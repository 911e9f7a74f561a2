"""The public Python functions: ``run``, ``load`` and ``study``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.results import Run, load
from explorer.space.reading import parse, read

if TYPE_CHECKING:
    import pandas as pd

    from explorer.engine.session import Observer

__all__ = ["load", "run", "study"]


def run(
    space: str | Path | dict[str, Any],
    *,
    set: Sequence[str] = (),
    name: str | None = None,
    storage: str | Path = "runs",
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    max_hours: float | None = None,
    profile: bool = False,
    callbacks: Sequence[str] = (),
    accept_source_change: bool = False,
    observer: Observer | None = None,
) -> Run:
    """Train and measure the grid of a space file, or of the same content as a dict. Resume an existing run.

    Args:
        set: overrides such as ``"training.steps=500"``.
        name: name of the run; by default the name of the space.
        storage: folder or URI (``s3://bucket/runs``) that holds the runs, each in a folder of its name.
        address: address of a Ray cluster, or ``auto``. By default, the run uses the Ray that this process is
            connected to (and leaves it running), or starts its own on this machine and stops it at the end.
        workers: maximum number of concurrent trials or measuring actors; by default as many as fit.
        gpus: number of GPUs (may be logical) of a Ray that the run starts; by default those that Ray finds.
        max_hours: stop cleanly after this many hours.
        profile: record a trace of what each worker did when, in the run folder.
        callbacks: tools that log the trials: ``tensorboard``, ``mlflow``, ``wandb`` or ``module:Class``.
        accept_source_change: continue a run although your source files have changed since. Trained models are
            kept; new ones are trained with the changed code.
        observer: receives progress (:class:`explorer.engine.session.Observer`).

    Raises:
        explorer.settings.InputError: the input is wrong; nothing was started.
    """
    from explorer.engine.cluster import RunOptions
    from explorer.engine.run import run as start

    where = RunOptions(
        address=address,
        workers=workers,
        gpus=gpus,
        max_hours=max_hours,
        profile=profile,
        callbacks=callbacks,
    )
    checked = parse(space, set) if isinstance(space, dict) else read(space, set)
    return start(
        checked,
        name=name,
        storage=storage,
        accept_source_change=accept_source_change,
        observer=observer,
        where=where,
    )


def study(
    spaces: Sequence[str | Path] = (),
    *,
    set: Sequence[str] = (),
    storage: str | Path = "runs",
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    out: str | Path | None = None,
    observer: Observer | None = None,
) -> pd.DataFrame:
    """Run several spaces one after another, and check the claims of the paper over all of them.

    Runs that exist are continued, so the same call continues a study that was interrupted.

    Args:
        spaces: space files, folders of them, and runs by name or folder; by default ``spaces/study``.
        set: overrides for every space file.
        out: CSV file to write the table to; a summary in Markdown is put beside it.

    Returns:
        A row for each claim and space, and one for each claim with the space ``all spaces``: ``claim``,
        ``space``, ``verdict``, ``effect``, ``low``, ``high`` (the ends of a 95 % interval), ``p``, ``n``
        (cells or lines; for all spaces, the spaces that can test the claim), ``unit`` and ``would_decide``.

    Raises:
        explorer.settings.InputError: the input is wrong; nothing was started.
    """
    from explorer import studies
    from explorer.engine.cluster import RunOptions

    members, target = studies.members(spaces, set, storage), studies.target(out)
    where = RunOptions(address=address, workers=workers, gpus=gpus)
    one = studies.Study([studies.run_of(member, storage, observer, where) for member in members])
    if target:
        studies.write(one, target)
    return one.table
