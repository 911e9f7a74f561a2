"""Check that the networks of a space accept its data and have the layers to compare.

Runs before any record changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from explorer.data.dataset import Arrays
from explorer.plan.stacks import shape_of
from explorer.plan.units import architecture_key, data_source
from explorer.settings import Disagreement, InputError, digest, in_a_line
from explorer.space.model import Cell, Space

if TYPE_CHECKING:
    from torch import Tensor, nn

    from explorer.models.rows import Rows


TRIED = 16  # inputs on which a user's network is tried


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
    """Try each of the user's own architectures, with each of its settings, on a few inputs.

    Does nothing for an architecture of this package. Otherwise it loads torch and the data. If some
    architectures fail and others do not, the run records models of the failing ones as failures.

    Raises:
        InputError: the task does not suit the data, outputs have the wrong shape, the network is not a
            function of its parameters, buffers and one input, it cannot be aligned (if the space asks for
            that), or all architectures fail.
    """
    own = {(architecture_key(c), data_source(c)): c for c in space.cells if ":" in c.model_name}
    failed: list[InputError] = []
    for cell in own.values():
        import torch

        from explorer.models.base import network

        clean = cell.load_data()
        check_data(cell, clean)
        shape, classes = shape_of(clean, cell)
        build, rows = network(cell.model_name, cell.model, shape, classes, task=cell.task)
        x, y = torch.as_tensor(clean.x_train[:TRIED]), torch.as_tensor(clean.y_train[:TRIED])
        try:
            check_outputs(rows, cell, x[:2], y[:2], classes)
            check_function(build, rows, cell, x, y, space.measures)
        except InputError as error:
            if error.__cause__ is None:
                raise
            failed.append(error)
    if own and len(failed) == len(own):
        raise failed[0]


def check_function(
    build: Callable[[], nn.Module], rows: Rows, cell: Cell, x: Tensor, y: Tensor, measures: dict[str, Any]
) -> None:
    """Check that a network can be trained and measured as a function of its parameters and buffers.

    Raises:
        InputError: it cannot; the message says why.
    """
    from explorer.models.agreement import check_gradient, check_reloading
    from explorer.models.rows import initial_rows

    try:
        check_reloading(build, x)
        theta, buffers = initial_rows(build, rows, [1, 2])
        check_gradient(rows, theta, buffers, x, y)
        if "alignment" in measures:
            from explorer.landscape.alignment import align

            align(rows, theta[:1], theta[1:], buffers[:1], buffers[1:], x, seeds=[0])
    except (InputError, Disagreement, ValueError) as error:
        raise InputError(f"{_called(cell)}: {error}") from None
    except Exception as error:
        raise InputError(
            f"{_called(cell)} fails on {len(x)} inputs {tuple(x.shape)}: {in_a_line(error)}"
        ) from error


def _called(cell: Cell) -> str:
    return f"{cell.model_name!r} with {cell.model}" if cell.model else repr(cell.model_name)


def check_outputs(rows: Rows, cell: Cell, x: Tensor, y: Tensor, classes: int) -> None:
    """Check that a network accepts inputs (inputs, *shape) and returns outputs of the right shape.

    Raises:
        InputError: the network fails (its error is the cause of this one), or its outputs are not
            (inputs, classes) or, for sequences, (inputs, length, classes).
    """
    import torch

    from explorer.models.rows import seeded

    called = _called(cell)
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
        known = [name for name, _ in _rows(cell, cell.load_data()).module.named_modules() if name]
        if missing := [name for name in layers if name not in known]:
            raise InputError(
                f"measures.similarity.layers: {cell.model_name} has no layer {missing[0]!r}; "
                f"it has {', '.join(known)}"
            )


def _rows(cell: Cell, clean: Arrays) -> Rows:
    from explorer.models.base import network

    return network(cell.model_name, cell.model, *shape_of(clean, cell), task=cell.task)[1]
