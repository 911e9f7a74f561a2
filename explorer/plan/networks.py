"""Whether the data and the networks of a space go together. Tried before a record is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import explorer.data
from explorer.data.dataset import Arrays
from explorer.plan.stacks import shape_of
from explorer.plan.units import architecture_key, data_source
from explorer.settings import InputError, plugin
from explorer.space.model import Cell, Space

if TYPE_CHECKING:
    from torch import Tensor

    from explorer.models.rows import Rows


def check_data(cell: Cell, clean: Arrays) -> None:
    """Whether the cell's task and settings are for such data.

    Raises:
        InputError: its targets are of another kind, or its inputs are no images.
    """
    numbers = clean.y_train.dtype.kind == "f"
    if numbers != (cell.task == "regression"):
        kind, fits = ("numbers", "regression") if numbers else ("class numbers", "classification")
        raise InputError(
            f"{cell.data_name} has {kind} as targets, which is task: {fits}; "
            f"the space is learnt as {cell.task}"
        )
    if numbers and getattr(cell.data, "balanced", False):
        raise InputError(f"balanced: {cell.data_name} has numbers as targets, not classes")
    if cell.training.augment and len(clean.shape) != 3:
        raise InputError(
            f"training.augment shifts and mirrors images (channels, height, width); inputs of "
            f"{cell.data_name} have the shape {clean.shape}"
        )


def check_networks(space: Space) -> None:
    """Try the user's own architectures, each of them with all its settings, on two inputs.

    Takes torch and the data; nothing where the architecture is one of this package. One that fails is left
    to the run, where its models become failures, as long as there is another that does not.

    Raises:
        InputError: the task is not for the data; outputs are not what they should be; all fail.
    """
    own = {(architecture_key(c), data_source(c)): c for c in space.cells if ":" in c.model_name}
    failed: list[InputError] = []
    for cell in own.values():
        import torch

        from explorer.models.base import network

        clean = plugin(explorer.data, cell.data_name, "data set").load(cell.data)
        check_data(cell, clean)
        shape, classes = shape_of(clean, cell)
        _, rows = network(cell.model_name, cell.model, shape, classes, task=cell.task)
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
    """Whether a network takes inputs (inputs, *shape) and gives what its task is scored by.

    Raises:
        InputError: it fails, and its error is the cause of this one; or its outputs are not
            (inputs, classes), of sequences (inputs, length, classes).
    """
    import torch

    from explorer.models.rows import seeded

    called = f"{cell.model_name!r} with {cell.model}" if cell.model else repr(cell.model_name)
    try:
        with torch.no_grad(), seeded(0):
            outputs = rows.module(x)
    except Exception as error:
        raise InputError(
            f"{called} fails for two inputs {tuple(x.shape)}: {type(error).__name__}: {error}"
        ) from error
    length = () if cell.task == "regression" else tuple(y.shape[1:])
    needed = (len(x), *length, classes)
    given = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if given != needed:
        raise InputError(f"{called} gives {given} for two inputs {tuple(x.shape)}; it should give {needed}")
