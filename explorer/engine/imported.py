"""Import of models that were trained elsewhere: they become a run, which is measured and never trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.columns import renames
from explorer.engine.cluster import RunOptions
from explorer.engine.run import check_code, complete, continue_run, start
from explorer.engine.session import Observer, SilentObserver
from explorer.plan.imports.checkpoints import RESULTS, Checkpoint, checkpoints_of, plain_space, space_of
from explorer.plan.imports.listing import rows_of_folder
from explorer.plan.imports.storing import check_files, write
from explorer.plan.networks import check_data
from explorer.runs.files import join
from explorer.runs.lock import RunLock
from explorer.runs.store import Store
from explorer.space.model import CheckedSpace

if TYPE_CHECKING:
    from explorer.results import RunTables

AGREES = 2e-3  # difference between a result in the settings and ours that is not worth a word
GUESSING = 0.98  # of the loss of guessing: a best model above it has probably seen other inputs


def adopt(
    folder: str | Path,
    *,
    model: str,
    data: str | dict[str, Any],
    name: str,
    settings: str | Path | None = None,
    files: str | None = None,
    overrides: Sequence[str] = (),
    columns: str | Sequence[str] | Mapping[str, str] = (),
    storage: str | Path = "runs",
    observer: Observer | None = None,
    where: RunOptions = RunOptions(),  # noqa: B008 (frozen)
) -> RunTables:
    """Import checkpoints as a run, compute their losses and errors, measure them and write the tables.

    See :func:`explorer.api.adopt` for the arguments. If a run of this name exists, checkpoints that it does
    not have are added.

    Raises:
        InputError: settings, checkpoints or data are wrong; nothing was started.
    """
    observer = observer or SilentObserver()
    place = Path(folder).expanduser()
    raw = plain_space(name, model, data, overrides)
    new = renames(columns)
    rows = rows_of_folder(place, Path(settings).expanduser() if settings else None, files, new)
    checkpoints, known = checkpoints_of(rows, place, raw, new)
    space, by_id = space_of(checkpoints, known, raw, overrides)
    for cell in space.cells:
        check_data(cell, cell.load_data())
    check_code(space)
    for remark in check_files(space, by_id):
        observer.say(remark)
    store = Store(join(storage, name), warn=observer.say)
    with RunLock(store.files, store.has_work) as lock:
        if store.exists():
            space, _ = continue_run(store, space, accept_source_change=False)
            by_id = dict(zip(_ids(space), by_id.values(), strict=True))
        start(store, space, name)
        count = write(space, store, by_id, place)
        observer.say(f"Imported {count} models from {place}; inputs {_scaling(space)}.")
        run = complete(lock, store, space, name, observer, where)
    for remark in _remarks(run, by_id):
        observer.say(remark)
    return run


def _ids(space: CheckedSpace) -> list[str]:
    return [cell.model_id(seed) for cell in space.cells for seed in cell.seeds]


def _scaling(space: CheckedSpace) -> str:
    if "standardise" not in space.data:
        return "are those of the data set"
    return "are standardised" if space.data["standardise"] else "are used as they are in the data"


def _remarks(run: RunTables, by_id: Mapping[str, Checkpoint]) -> list[str]:
    """Return sentences about results in the settings that the models do not have, and models that guess."""
    models = run.models.set_index("model_id")
    found = []
    for result in RESULTS:
        theirs = {i: one.results[result] for i, one in by_id.items() if result in one.results}
        apart = {i: abs(models.at[i, result] - value) for i, value in theirs.items() if i in models.index}
        apart = {i: far for i, far in apart.items() if far > AGREES * max(1.0, abs(theirs[i]))}
        if apart:
            worst = max(apart, key=lambda i: apart[i])
            found.append(
                f"WARNING: {result} of {len(apart)} of {len(theirs)} models is not what the settings say; "
                f"that of {by_id[worst].file} is {models.at[worst, result]:.4g}, not {theirs[worst]:.4g}. "
                "Were they trained on inputs with another scale (--set data.standardise=true), or in percent?"
            )
    ok = models[models["status"] == "ok"]
    if run.task.name == "classification" and len(ok) and not found:
        guessing = math.log(run.data(str(ok.index[0]), trust=True).classes)
        if ok["train_loss"].min() > GUESSING * guessing:
            found.append(
                f"WARNING: no model is better than guessing (training loss {ok['train_loss'].min():.3g}, "
                f"guessing {guessing:.3g}); were they trained on inputs with another scale "
                "(--set data.standardise=true), or on other labels?"
            )
    return found
