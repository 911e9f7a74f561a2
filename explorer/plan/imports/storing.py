"""Checkpoints become models of a run: their weights are checked, and written to its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from explorer.data.dataset import Arrays
from explorer.data.formats.reading import content_hashes
from explorer.plan.imports.checkpoints import Checkpoint
from explorer.plan.imports.reading import SHOWN, load_weights
from explorer.plan.stacks import shape_of
from explorer.plan.units import Part, Stack, data_source
from explorer.runs.store import Store
from explorer.settings import InputError, digest, listed
from explorer.space.model import Cell, CheckedSpace
from explorer.users import user_process
from explorer.users.objects import content_of

if TYPE_CHECKING:
    from torch import nn

LISTED = 20  # wrong files that a message lists
PER_STACK = 16  # models of a cell whose weights share a file


def check_files(space: CheckedSpace, files: Mapping[str, Checkpoint]) -> list[str]:
    """Check that each checkpoint holds the weights of its network. Runs in the process for users' code.

    Return sentences about weights that are left out, and about files with the same weights.

    Raises:
        InputError: some do not; the message has a line for each, with the file's name.
    """
    readings: dict[str, Reading] = {}
    clean: dict[str, Arrays] = {}
    for cell in space.cells:
        source = data_source(cell)
        if source not in clean:
            clean = {source: cell.load_data()}
        paths = [str(files[cell.model_id(seed)].file) for seed in cell.seeds]
        arguments = (cell, *shape_of(clean[source], cell), paths)
        read = user_process.call(f"{__name__}:readings_of", *arguments, what="the check of checkpoints")
        readings |= dict(zip(paths, read, strict=True))
    if problems := [one.problem for one in readings.values() if one.problem]:
        more = [f"… and {len(problems) - LISTED} more files"] if problems[LISTED:] else []
        raise InputError("\n".join([*problems[:LISTED], *more]))
    remarks = []
    if beside := {path: one.left_out for path, one in readings.items() if one.left_out}:
        first = next(iter(beside))
        remarks.append(
            f"WARNING: {len(beside)} of {len(readings)} checkpoints have weights beside those of the "
            f"network, which are left out; in {first}: {listed(beside[first], most=SHOWN)}."
        )
    of_weights: dict[str, str] = {}
    same = [
        (other, path)
        for path, one in readings.items()
        if (other := of_weights.setdefault(one.content, path)) != path
    ]
    if same:
        more = f", and so do {len(same) - 1} more pairs" if len(same) > 1 else ""
        remarks.append(
            f"WARNING: {' and '.join(same[0])} hold the same weights{more}; if one is a copy, two models are "
            "compared that are one."
        )
    return remarks


class Reading(NamedTuple):
    """Content of a checkpoint: a problem or "", weights that are left out, and a hash of the others."""

    problem: str
    left_out: list[str]
    content: str


def readings_of(cell: Cell, shape: tuple[int, ...], classes: int, paths: list[str]) -> list[Reading]:
    """Return what each checkpoint of a cell holds."""
    try:
        module = _module(cell, shape, classes)
    except InputError as error:
        return [Reading(f"{path}: {error}", [], "") for path in paths]
    readings = []
    for path in paths:
        try:
            left_out = load_weights(module, Path(path), f"the network with {_options(cell)}")
        except InputError as error:
            readings.append(Reading(str(error), [], ""))
        else:
            content = {name: content_of(value) for name, value in module.state_dict().items()}
            readings.append(Reading("", left_out, digest(content)))
    return readings


def write(space: CheckedSpace, store: Store, files: Mapping[str, Checkpoint], folder: Path) -> int:
    """Write the weights of models that the run does not have yet, and return their number.

    Raises:
        InputError: the checkpoint of a model that the run has is another one now.
    """
    kept = {row["model_id"]: row for row in store.read_records("imports").to_pylist()}
    count = 0
    for cell in space.cells:
        ids = {seed: cell.model_id(seed) for seed in cell.seeds}
        for seed, model_id in ids.items():
            path = files[model_id].file
            if model_id in kept and content_hashes([path])[0] != kept[model_id]["file_sha256"]:
                raise InputError(
                    f"{path} has changed since the model of seed {seed} at {cell.at} was imported; import "
                    "under another --name"
                )
        left = [seed for seed, model_id in ids.items() if model_id not in kept]
        size = 1 if cell.data_per_seed else PER_STACK
        shape = shape_of(cell.load_data(), cell) if left else ((), 0)
        for start in range(0, len(left), size):
            stack = Stack([Part([cell], left[start : start + size])])
            paths = [str(files[model_id].file) for model_id in stack.model_ids]
            arguments = (store.files.absolute, stack, *shape, paths, str(folder))
            user_process.call(f"{__name__}:write_stack", *arguments, what="the import of checkpoints")
            count += stack.size
    return count


def write_stack(
    location: str, stack: Stack, shape: tuple[int, ...], classes: int, paths: list[str], folder: str
) -> None:
    """Write the weights of a stack and the record of its files."""
    import torch

    from explorer.models.base import network

    store, cell = Store(location), stack.cell
    store.begun = True
    _, rows = network(cell.model_name, cell.model, shape, classes, task=cell.task)
    models = []
    for path in paths:
        module = _module(cell, shape, classes)
        load_weights(module, Path(path), f"the network with {_options(cell)}")
        models.append(rows.row(module))
    arrays = {
        name: torch.stack([model[place] for model in models]).numpy()
        for place, name in enumerate(("theta", "buffers"))
    }
    layers = [[name, list(shape)] for name, shape in rows.layers]
    written = store.write_weights(stack.id, arrays, {"model_ids": stack.model_ids, "layers": layers})
    records = [
        {
            "model_id": model.id,
            "cell_id": cell.id,
            "seed": model.seed,
            "stack": stack.id,
            "file": _below(Path(path), Path(folder)),
            "file_sha256": content_hash,
            "sha256": written.sha256,
        }
        for model, path, content_hash in zip(stack.models, paths, content_hashes(paths), strict=True)
    ]
    store.write_record("imports", stack.id, records)


def _below(path: Path, folder: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _module(cell: Cell, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a new module of a cell, with parameters of no model."""
    from explorer.models.base import builder
    from explorer.models.rows import seeded

    with seeded(0):
        return builder(cell.model_name, cell.model, shape, classes)()


def _options(cell: Cell) -> dict[str, Any]:
    """Return the options of a cell's network that a message names."""
    return cell.model if isinstance(cell.model, dict) else cell.model.model_dump(exclude_defaults=True)
