"""The public Python functions: ``run`` and ``load``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.results import Run, load
from explorer.space.reading import parse, read

if TYPE_CHECKING:
    from explorer.engine.session import Observer

__all__ = ["load", "run"]


def run(
    space: str | Path | dict[str, Any],
    *,
    set: Sequence[str] = (),
    name: str | None = None,
    storage: str | Path = "runs",
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    logical_gpus: bool = False,
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
        gpus: number of GPUs of a Ray that the run starts; by default those that Ray finds.
        logical_gpus: GPUs are only counted, and CPUs compute: to try a space without a GPU.
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
        logical_gpus=logical_gpus,
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
