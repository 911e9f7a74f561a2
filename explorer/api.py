"""The public Python functions: ``run``, ``adopt``, ``load`` and ``study``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer import results
from explorer.interface import Run, Space
from explorer.report.outcome import diverged, failures, first_lines
from explorer.runs.files import Files, join
from explorer.settings import InputError, shown
from explorer.space.model import checked_name
from explorer.space.reading import read, with_refine

if TYPE_CHECKING:
    import pandas as pd

    from explorer.engine.display import Display
    from explorer.engine.session import Observer

__all__ = ["Run", "Space", "adopt", "load", "run", "study"]


def run(
    space: Space | str | Path | Mapping[str, Any],
    *,
    set: str | Sequence[str] = (),
    refine: float | None = None,
    name: str | None = None,
    storage: str | Path = "runs",
    reports: str | Path | None = None,
    progress: bool = False,
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    logical_gpus: bool = False,
    max_hours: float | None = None,
    profile: bool = False,
    callbacks: Any = (),
    accept_source_change: bool = False,
    observer: Observer | None = None,
) -> Run:
    """Train and measure the grid of a space. Continue the run of this name if there is one.

    Args:
        space: an :class:`explorer.Space`, a space file, or a dict with the sections of one.
        set: overrides such as ``"training.steps=500"``.
        refine: run this share or number of the cells, and predict the phases of the others
            (``refine.budget`` of the space).
        name: name of the run; by default the name of the space.
        storage: folder or URI (``s3://bucket/runs``) that holds the runs, each in a folder of its name.
        reports: folder or URI for report pages; by default ``reports`` with ``progress``, and no pages
            without it.
        progress: show the display of the command line, or plain lines in a notebook, and write the pages.
        address: address of a Ray cluster, or ``auto``. By default, the run uses the Ray that this process is
            connected to (and leaves it running), or starts its own on this machine and stops it at the end.
        workers: maximum number of concurrent trials or measuring actors; by default as many as fit.
        gpus: number of GPUs of a Ray that the run starts; by default those that Ray finds.
        logical_gpus: GPUs are only counted, and CPUs compute: to try a space without a GPU.
        max_hours: stop cleanly after this many hours.
        profile: record a trace of what each worker did when, in the run folder.
        callbacks: tools that follow the trials while they train: ``tensorboard``, ``mlflow``, ``wandb``,
            ``module:Class``, or objects with methods of ``ray.tune.Callback``; a list, or one alone.
        accept_source_change: continue a run although your source files or functions have changed since.
            Trained models are kept; new ones are trained with the changed code.
        observer: receives progress in place of the display (:class:`explorer.engine.session.Observer`).

    Raises:
        explorer.settings.InputError: the input is wrong; nothing was started.

    >>> explorer.run("spaces/tiny.yaml", workers=1)
    Run 'tiny': 4 cells, 12 models, 12 pairs
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
    if name is not None:
        checked_name("name", name)
    if not isinstance(space, Space | str | Path | Mapping):
        raise InputError(f"space is {shown(space)}; give an explorer.Space, a space file or a dict")
    given = Space.of(dict(space)) if isinstance(space, Mapping) else space
    set = [set] if isinstance(set, str) else set
    set = with_refine(set, refine)
    checked = given.changed(set) if isinstance(given, Space) else read(given, set)

    def made(observer: Observer | None) -> Run:
        done = start(
            checked,
            name=name,
            storage=storage,
            accept_source_change=accept_source_change,
            observer=observer,
            where=where,
        )
        return Run.of(done, given if isinstance(given, Space) else None)

    return _followed(made, name or checked.name, reports, progress, observer)


def adopt(
    folder: str | Path,
    *,
    model: str | Callable[..., Any],
    data: Any,
    name: str,
    settings: str | Path | None = None,
    files: str | None = None,
    set: str | Sequence[str] = (),
    columns: str | Sequence[str] | Mapping[str, str] = (),
    storage: str | Path = "runs",
    reports: str | Path | None = None,
    progress: bool = False,
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    logical_gpus: bool = False,
    max_hours: float | None = None,
    observer: Observer | None = None,
) -> Run:
    """Import models that were trained elsewhere as a run, and measure them. They are never trained.

    A checkpoint is a ``.safetensors`` file, or a state dict that ``torch.save`` has written, also under the
    key ``state_dict``. Nothing else is unpickled. Losses (nats) and errors (percent) are computed from the
    models on the data, whose inputs are used as they are unless ``set`` standardises them.

    Args:
        folder: folder of the checkpoints.
        model: architecture: its name, ``module:function``, or a function as :class:`Space` takes it.
        data: data set: its name, a file (``.npz``, ``.csv``, ``.parquet``), a folder of images,
            ``module:function``, or arrays, data sets of torch or a function as :class:`Space` takes them.
        name: name of the run. If it exists, checkpoints that it does not have are added.
        settings: CSV file with a row for each checkpoint: its settings, ``seed`` and ``file``. Without it,
            settings are in ``files``, or in the files that Ray Tune or Lightning have written.
        files: pattern of file names, such as ``"w{width}_b{batch_size}/seed{seed}.pt"``.
        set: overrides of the space, such as ``"measures.connectivity.steps=500"``.
        columns: our names of settings by theirs, such as ``"bs=batch_size"``; an empty name leaves one out.

    The other arguments are those of :func:`run`; with ``progress`` or ``reports``, pages are drawn.

    Returns:
        the run: ``run.models`` has a row for each checkpoint, whose file is in the column ``imported``.

    Raises:
        explorer.settings.InputError: settings, checkpoints or data are wrong; the message names all wrong
            files, and nothing was started.

    >>> import explorer
    >>> explorer.adopt(                                              # doctest: +SKIP
    ...     "checkpoints", settings="settings.csv", model="mynets:make", data="d.npz", name="mine"
    ... )
    Run 'mine': 4 cells, 12 models, 12 pairs
    """
    from explorer.engine.cluster import RunOptions
    from explorer.engine.imported import adopt as start

    if not isinstance(settings, str | Path | None):
        raise InputError(
            f"settings is a {type(settings).__name__}; write it to a CSV file first: "
            "table.to_csv('settings.csv', index=False)"
        )
    if not isinstance(folder, str | Path):
        raise InputError(f"folder is {shown(folder)}; name the folder of the checkpoints")
    if data is None:
        raise InputError("data is None; give the data that the models were trained and tested on")
    given = Space.unchecked({"model": model, "data": str(data) if isinstance(data, Path) else data})

    def made(observer: Observer | None) -> Run:
        done = start(
            folder,
            model=given["model"] if isinstance(model, str) else given["model"]["name"],
            data=given["data"],
            name=name,
            settings=settings,
            files=files,
            overrides=[set] if isinstance(set, str) else set,
            columns=columns,
            storage=storage,
            observer=observer,
            where=RunOptions(
                address=address, workers=workers, gpus=gpus, logical_gpus=logical_gpus, max_hours=max_hours
            ),
        )
        return Run.of(done, holding=given)

    return _followed(made, name, reports, progress, observer)


def load(
    name_or_folder: str | Path,
    storage: str | Path = "runs",
    *,
    columns: str | Sequence[str] | Mapping[str, str] = (),
) -> Run:
    """Load a run by name, folder or URI, or any folder with some of the tables as Parquet or CSV.

    Works during a sweep and then returns the finished part.

    Args:
        columns: our names of columns of tables by theirs, such as ``"bs=batch_size"``. An empty name leaves a
            column out; ``load`` or ``temperature`` makes it an axis.

    Raises:
        explorer.settings.InputError: the argument is neither a run nor a folder of tables, or ``columns``
            does not fit.

    >>> explorer.load("tiny")
    Run 'tiny': 4 cells, 12 models, 12 pairs
    """
    if not isinstance(name_or_folder, str | Path):
        raise InputError(f"load takes the name or the folder of a run, not {shown(name_or_folder)}")
    return Run.of(results.load(name_or_folder, storage, columns=columns))


def study(
    spaces: str | Path | Sequence[str | Path] = (),
    *,
    set: str | Sequence[str] = (),
    storage: str | Path = "runs",
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    logical_gpus: bool = False,
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

    >>> table = explorer.study(["tiny"])
    >>> sorted(table["space"].unique())
    ['all spaces', 'tiny']
    """
    from explorer import studies
    from explorer.engine.cluster import RunOptions

    set = [set] if isinstance(set, str) else set
    members, target = studies.members(spaces, set, storage), studies.target(out)
    where = RunOptions(address=address, workers=workers, gpus=gpus, logical_gpus=logical_gpus)
    studies.check(members, storage, where)
    one = studies.Study([studies.run_of(member, storage, observer, where) for member in members])
    if target:
        studies.write(one, target)
    return one.table


def _followed(
    made: Callable[[Observer | None], Run],
    name: str,
    reports: str | Path | None,
    progress: bool,
    observer: Observer | None,
) -> Run:
    """Return a run that ``made`` makes under a display with ``progress``, and write its pages."""
    if reports is None and progress:
        reports = "reports"
    if reports is not None:
        Files(join(reports, name)).check_writable("reports")
    with _display() if progress and observer is None else nullcontext() as display:
        run = made(observer or display)
        if reports is None:
            return run
        if display:
            display.stage("drawing", 0)
        index = run.report(reports)
    if display:
        _tell(run, display, index)
    return run


def _display() -> Display:
    """Return the display of the command line: live bars in a terminal, plain lines in a notebook."""
    from rich.console import Console

    from explorer.engine.display import Display

    # Kernels of notebooks set FORCE_COLOR, which rich takes for a terminal.
    return Display(Console(file=sys.stdout, force_jupyter=False, force_terminal=sys.stdout.isatty()))


def _tell(run: Run, display: Display, index: Path | str) -> None:
    """Say where the pages are, and what failed."""
    display.say(f"Report: {index}")
    if stopped := any(run.info["sessions"]) and run.info["sessions"][-1].get("stopped"):
        display.say(f"Stopped {stopped}. The same call continues the run.")
    if lost := diverged(run):
        display.say(lost)
    failed, lines = failures(run)
    if failed:
        display.say("\n  ".join([f"Failures: {failed}.", *first_lines(lines)]))
