"""Check that the networks of a space accept its data and have the layers to compare.

Runs before any record changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import explorer.data
from explorer.data.dataset import Arrays
from explorer.plan.stacks import shape_of
from explorer.plan.units import architecture_key, data_source
from explorer.settings import InputError, digest, plugin
from explorer.space.model import Cell, Space

if TYPE_CHECKING:
    from torch import Tensor

    from explorer.models.rows import Rows


def check_data(cell: Cell, clean: Arrays) -> None:
    """Check that the data suit the task and the settings of a cell.

    Raises:
        InputError: the targets are of the wrong kind, or the inputs should be images and are not.
    """
    numbers = clean.y_train.dtype.kind == "f"
    if numbers != (cell.task == "regression"):
        kind, fits = ("numbers", "regression") if numbers else ("class numbers", "classification")
        raise InputError(
            f"{cell.data_name} has {kind} as targets, which is task: {fits}; "
            f"the task of the space is {cell.task}"
        )
    if numbers and getattr(cell.data, "balanced", False):
        raise InputError(f"balanced: {cell.data_name} has numbers as targets, not classes")
    if cell.training.augment and len(clean.shape) != 3:
        raise InputError(
            f"training.augment shifts and mirrors images (channels, height, width); inputs of "
            f"{cell.data_name} have the shape {clean.shape}"
        )


def check_networks(space: Space) -> None:
    """Try each of the user's own architectures, with each of its settings, on two inputs.

    Does nothing for an architecture of this package. Otherwise it loads torch and the data. If some
    architectures fail and others do not, the run records models of the failing ones as failures.

    Raises:
        InputError: the task does not suit the data, outputs have the wrong shape, or all architectures fail.
    """
    own = {(architecture_key(c), data_source(c)): c for c in space.cells if ":" in c.model_name}
    failed: list[InputError] = []
    for cell in own.values():
        import torch

        clean = _load(cell)
        check_data(cell, clean)
        rows, (_, classes) = _rows(cell, clean), shape_of(clean, cell)
        x, y = torch.as_tensor(clean.x_train[:2]), torch.as_tensor(clean.y_train[:2])
        try:
            check_outputs(rows, cell, x, y, classes)
        except InputError as error:
            if error.__cause__ is None:
                raise
            failed.append(error)
    if own and len(failed) == len(own):
        raise failed[0]


def check_outputs(rows: Rows, cell: Cell, x: Tensor, y: Tensor, classes: int) -> None:
    """Check that a network accepts inputs (inputs, *shape) and returns outputs of the right shape.

    Raises:
        InputError: the network fails (its error is the cause of this one), or its outputs are not
            (inputs, classes) or, for sequences, (inputs, length, classes).
    """
    import torch

    from explorer.models.rows import seeded

    called = f"{cell.model_name!r} with {cell.model}" if cell.model else repr(cell.model_name)
    try:
        with torch.no_grad(), seeded(0):
            outputs = rows.module(x)
    except Exception as error:
        raise InputError(
            f"{called} fails on two inputs {tuple(x.shape)}: {type(error).__name__}: {error}"
        ) from error
    length = () if cell.task == "regression" else tuple(y.shape[1:])
    needed = (len(x), *length, classes)
    given = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if given != needed:
        raise InputError(
            f"{called} returns {given} for two inputs {tuple(x.shape)}; it should return {needed}"
        )


def check_layers(space: Space) -> None:
    """Check that one network of each kind has the ``layers`` of ``similarity``. Width does not change names.

    Does nothing if no layers are given. Otherwise it loads torch and the data and builds the networks.

    Raises:
        InputError: a network of the space lacks one of the layers.
    """
    layers = space.measures.get("similarity", {}).get("layers")
    if not layers:
        return
    kinds = {digest({**cell.settings["model"], "width": None}): cell for cell in space.cells}
    for cell in kinds.values():
        known = [name for name, _ in _rows(cell, _load(cell)).module.named_modules() if name]
        if missing := [name for name in layers if name not in known]:
            raise InputError(
                f"measures.similarity.layers: {cell.model_name} has no layer {missing[0]!r}; "
                f"it has {', '.join(known)}"
            )


def _load(cell: Cell) -> Arrays:
    return plugin(explorer.data, cell.data_name, "data set").load(cell.data)


def _rows(cell: Cell, clean: Arrays) -> Rows:
    from explorer.models.base import network

    return network(cell.model_name, cell.model, *shape_of(clean, cell), task=cell.task)[1]
