"""The public Python functions: ``run``, ``adopt`` and ``load``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.results import Run, load
from explorer.space.reading import parse, read

if TYPE_CHECKING:
    from explorer.engine.session import Observer

__all__ = ["adopt", "load", "run"]


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


def adopt(
    folder: str | Path,
    *,
    model: str,
    data: str,
    name: str,
    settings: str | Path | None = None,
    files: str | None = None,
    set: Sequence[str] = (),
    columns: Sequence[str] = (),
    storage: str | Path = "runs",
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    max_hours: float | None = None,
    observer: Observer | None = None,
) -> Run:
    """Import models that were trained elsewhere as a run, and measure them. They are never trained.

    A checkpoint is a ``.safetensors`` file, or a state dict that ``torch.save`` has written, also under the
    key ``state_dict``. Nothing else is unpickled. Losses (nats) and errors (percent) are computed from the
    models on the data, whose inputs are used as they are unless ``set`` standardises them.

    Args:
        folder: folder of the checkpoints.
        model: architecture, by name or as ``module:function``.
        data: data set, by name, file (``.npz``, ``.csv``, ``.parquet``), folder of images or
            ``module:function``.
        name: name of the run. If it exists, checkpoints that it does not have are added.
        settings: CSV file with a row for each checkpoint: its settings, ``seed`` and ``file``. Without it,
            settings are in ``files``, or in the files that Ray Tune or Lightning have written.
        files: pattern of file names, such as ``"w{width}_b{batch_size}/seed{seed}.pt"``.
        set: overrides of the space, such as ``"measures.connectivity.steps=500"``.
        columns: our names of settings by theirs, such as ``"bs=batch_size"``; an empty name leaves one out.

    The other arguments are those of :func:`run`.

    Returns:
        the run: ``run.models`` has a row for each checkpoint, whose file is in the column ``imported``.

    Raises:
        explorer.settings.InputError: settings, checkpoints or data are wrong; the message names all wrong
            files, and nothing was started.

    >>> import explorer
    >>> run = explorer.adopt(                     # doctest: +SKIP
    ...     "checkpoints", settings="settings.csv", model="mynets:make", data="d.npz", name="mine"
    ... )
    """
    from explorer.engine.cluster import RunOptions
    from explorer.engine.imported import adopt as start

    return start(
        folder,
        model=model,
        data=data,
        name=name,
        settings=settings,
        files=files,
        overrides=set,
        columns=columns,
        storage=storage,
        observer=observer,
        where=RunOptions(address=address, workers=workers, gpus=gpus, max_hours=max_hours),
    )
