"""Check that the networks of a space accept its data, can take a step, and have the layers to compare.

Runs before any record changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import explorer.measures
from explorer.data.dataset import Arrays
from explorer.measures import own
from explorer.plan.stacks import shape_of
from explorer.plan.units import architecture_key, data_source
from explorer.settings import Disagreement, InputError, digest, in_a_line, listed, plugin
from explorer.space.model import Cell, CheckedSpace
from explorer.users import user_process
from explorer.users.functions import place_of, user_function, users_code

if TYPE_CHECKING:
    from torch import Tensor, nn

    from explorer.models.rows import Rows


TWICE = {"hessian", "density"}  # measures that need second derivatives
TRIED = 16  # inputs on which a user's network, loss and optimiser are tried


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


def check_networks(space: CheckedSpace) -> None:
    """Try each of the user's own architectures, losses and optimisers, with each setting, on a few inputs.

    Does nothing for a space without them. Otherwise it loads the data, and works in the process for users'
    code (:mod:`explorer.users.user_process`). If some settings fail and others do not, the run records
    models of the failing ones as failures.

    Raises:
        InputError: the task does not suit the data, outputs have the wrong shape, the network is not a
            function of its parameters, buffers and one input, it cannot be aligned (if the space asks for
            that), a loss is not one number for each model, or all settings fail.
    """
    own = {
        (architecture_key(c), data_source(c), c.training.loss, c.training.optimizer): c
        for c in space.cells
        if ":" in f"{c.model_name}{c.training.loss}{c.training.optimizer}"
    }
    failed: list[InputError] = []
    for cell in own.values():
        clean = cell.load_data()
        check_data(cell, clean)
        inputs = clean.x_train[:TRIED], clean.y_train[:TRIED]
        try:
            said = user_process.call(
                f"{__name__}:try_network",
                *(cell, *shape_of(clean, cell), *inputs, space.measures),
                what=f"the check of {_called(cell)}",
                patience_s=min(user_process.CHECK_S, 60 * space.resources.stuck_minutes),
            )
        except InputError as error:
            if error.__cause__ is None:
                raise
            said = str(error)  # its process ended
        if said:
            failed.append(InputError(said))
    if own and len(failed) == len(own):
        raise failed[0]


def try_network(
    cell: Cell, shape: tuple[int, ...], classes: int, x: Any, y: Any, measures: dict[str, Any]
) -> str:
    """Try the architecture, loss and optimiser of a cell on inputs and targets; return the user's error.

    Raises:
        InputError: they cannot be used; see :func:`check_networks`.
    """
    import torch

    from explorer.models.base import network

    x, y = torch.as_tensor(x), torch.as_tensor(y)
    try:
        build, rows = network(cell.model_name, cell.model, shape, classes, task=cell.task)
        if ":" in cell.model_name:
            check_outputs(rows, cell, x[:2], y[:2], classes)
            check_function(build, rows, cell, x, y, measures)
        check_step(build, rows, cell, x, y)
    except InputError as error:
        if error.__cause__ is None:
            raise
        return str(error)
    return ""


def check_step(build: Callable[[], nn.Module], rows: Rows, cell: Cell, x: Tensor, y: Tensor) -> None:
    """Check that two models can take a training step with the user's own loss and optimiser.

    Raises:
        InputError: the loss or the optimiser fails (its error is the cause of this one), or the loss returns
            something else than the losses (models,), which depend on the outputs.
    """
    import torch

    from explorer.models.rows import initial_rows
    from explorer.train.steps import optimiser_of

    training = cell.training
    theta, buffers = initial_rows(build, rows, [1, 2])
    x, y = (values[None].expand(2, *values.shape) for values in (x, y))

    def gradient(point: Tensor) -> Tensor:
        leaf = point.detach().requires_grad_()
        losses = loss_of(rows(leaf, x, buffers.clone(), training=True), y)
        return torch.autograd.grad(losses.sum(), leaf)[0]

    loss_of = rows.task.loss
    if training.loss and ":" in training.loss:
        loss_of = user_function(training.loss)
        outputs = rows(theta, x, buffers.clone(), training=True).detach().requires_grad_()
        with users_code(
            training.loss,
            f"fails on outputs {tuple(outputs.shape)} (models, inputs, …) and targets {tuple(y.shape)}",
        ):
            losses: Any = loss_of(outputs, y)
        given = tuple(losses.shape) if isinstance(losses, torch.Tensor) else type(losses).__name__
        if given != (2,) or not losses.requires_grad:
            said = "losses that do not depend on the outputs" if given == (2,) else given
            raise InputError(
                f"{training.loss!r} returns {said} for outputs {tuple(outputs.shape)} and targets "
                f"{tuple(y.shape)}; it should return (2,), a loss for each model"
            )
    if ":" in training.optimizer:
        settings = (training.learning_rate, training.momentum, training.weight_decay, training.rho)
        made = user_function(training.optimizer)
        if isinstance(made, type) and issubclass(made, torch.optim.Optimizer):
            raise InputError(
                f"{training.optimizer!r} is an optimizer of torch, which steps one model; name sgd, "
                "adamw or sam, or a class of yours with start and step"
            )
        with users_code(training.optimizer, "fails in a step of two models"):
            optimiser = optimiser_of(training.optimizer, [(slice(None), settings)])
            memory, moved = optimiser.start(theta), theta.clone()
            optimiser.step(moved, gradient, memory, training.learning_rate, 0)
        if not (isinstance(memory, dict) and all(isinstance(v, torch.Tensor) for v in memory.values())):
            raise InputError(f"{training.optimizer!r}: start should return a dict of tensors, its state")


def check_function(
    build: Callable[[], nn.Module], rows: Rows, cell: Cell, x: Tensor, y: Tensor, measures: dict[str, Any]
) -> None:
    """Check that a network can be trained and measured as a function of its parameters and buffers.

    Raises:
        InputError: it cannot; the message says why.
    """
    from explorer.models.agreement import (
        check_evaluation,
        check_gradient,
        check_order,
        check_reloading,
        check_statistics,
        runs_by_itself,
    )
    from explorer.models.rows import initial_rows

    with users_code(cell.model_name, f"with {cell.model} fails on {len(x)} inputs {tuple(x.shape)}"):
        try:
            check_reloading(build, x)
            theta, buffers = initial_rows(build, rows, [1, 2])
            try:
                check_gradient(rows, theta, buffers, x, y)
            except RuntimeError as error:
                if not runs_by_itself(rows, theta[0], buffers[0], x, y):
                    raise
                raise InputError(
                    "it runs by itself, and fails where its parameters are parts of one matrix, as in "
                    f"training: {in_a_line(error)} ({place_of(error, cell.model_name)}); copy what the "
                    "operation needs, as in torch.view_as_complex(p.clone())"
                ) from None
            check_evaluation(rows, theta[0], buffers[0], x, y)
            if rows.task.by_token:
                check_order(rows, theta[0], buffers[0], x)
            if twice := TWICE & measures.keys():
                check_second_derivatives(rows, theta, buffers, x, y, min(twice))
            ours = [plugin(explorer.measures, name, "measure") for name in measures if ":" not in name]
            if any(hasattr(measure, "NO_PATH") for measure in ours):
                check_statistics(rows, theta[0], buffers[0], x)
            if "alignment" in measures:
                check_alignment(rows, theta, buffers, x)
        except (InputError, Disagreement) as error:
            raise InputError(f"{_called(cell)}: {error}") from None


def check_second_derivatives(
    rows: Rows, theta: Tensor, buffers: Tensor, x: Tensor, y: Tensor, measure: str
) -> None:
    """Check that a network can be differentiated twice in evaluation mode, for ``measure``.

    Raises:
        InputError: it cannot.
    """
    import torch

    from explorer.landscape.operator import HessianOperator
    from explorer.models.agreement import check_hessian

    try:
        product = HessianOperator(rows, theta[:1], x, y, buffers[:1])(torch.ones_like(theta[:1]))
        check_hessian(rows, theta[0], buffers[0], x, y, product[0])
    except Disagreement as error:
        raise InputError(
            f"{error}; measures.{measure} needs them. Usual causes: weight_norm of PyTorch (whose second "
            "derivatives are wrong), detach, .item(), a straight-through estimator, padding_idx of an "
            "embedding, a forward pass that changes parameters, or a backward pass of its own. Leave the "
            "measure out, or change the network"
        ) from None
    except RuntimeError as error:
        raise InputError(
            f"it cannot be differentiated twice in evaluation mode, which measures.{measure} needs "
            f"({in_a_line(error)}); switch no gradients off there and use other operations, or leave the "
            "measure out"
        ) from None


def check_alignment(rows: Rows, theta: Tensor, buffers: Tensor, x: Tensor) -> None:
    """Check that two models can be aligned; raise InputError with the reason if not."""
    from explorer.landscape.alignment import align

    try:
        align(rows, theta[:1], theta[1:], buffers[:1], buffers[1:], x, seeds=[0])
    except ValueError as error:
        raise InputError(str(error)) from None


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
    with (
        users_code(cell.model_name, f"with {cell.model} fails on two inputs {tuple(x.shape)}"),
        torch.no_grad(),
        seeded(0),
    ):
        outputs = rows.module(x)
    length = () if cell.task == "regression" else tuple(y.shape[1:])
    needed = (len(x), *length, classes)
    given = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if given != needed:
        raise InputError(
            f"{called} returns {given} for two inputs {tuple(x.shape)}; it should return {needed}"
        )


def check_measures(space: CheckedSpace) -> None:
    """Try the user's own measures on two untrained models and a few inputs.

    Raises:
        InputError: a measure fails, or returns something else than its columns.
    """
    names = [name for name in space.measures if ":" in name]
    if names:
        cell = space.cells[0]
        clean = cell.load_data()
        inputs = clean.x_train[:TRIED], clean.y_train[:TRIED]
        for name in names:
            user_process.call(
                f"{__name__}:try_measure",
                *(name, space.measures[name], cell, *shape_of(clean, cell), *inputs),
                what=f"the check of {name!r}",
                patience_s=min(user_process.CHECK_S, 60 * space.resources.stuck_minutes),
            )


def try_measure(
    name: str, values: dict[str, Any], cell: Cell, shape: tuple[int, ...], classes: int, x: Any, y: Any
) -> None:
    """Take a user's measure of two untrained models. Raise InputError if it fails."""
    import torch

    from explorer.measures.base import CellModels, take
    from explorer.models.base import network
    from explorer.models.rows import initial_rows
    from explorer.train.loop import Split

    own.check(name, values)
    build, rows = network(cell.model_name, cell.model, shape, classes, task=cell.task)
    theta, buffers = initial_rows(build, rows, [1, 2])
    inputs, targets = torch.as_tensor(x), torch.as_tensor(y)
    data, ids = Split(inputs, targets, inputs, targets, classes), ["a", "b"]
    models = CellModels("tried", rows, theta, buffers, ids, data, build)
    measure = plugin(explorer.measures, name, "measure")
    try:
        take(name, models, [("a", "b")] if measure.KIND == "pair" else ids, own.OwnMeasureOptions(**values))
    except ValueError as error:
        raise InputError(str(error)) from error


def check_layers(space: CheckedSpace) -> None:
    """Check that one network of each kind has the ``layers`` of ``similarity``. Width does not change names.

    Does nothing if no layers are given. Otherwise it loads the data and builds the networks.

    Raises:
        InputError: a network of the space lacks one of the layers.
    """
    layers = space.measures.get("similarity", {}).get("layers")
    if not layers:
        return
    kinds = {digest({**cell.settings["model"], "width": None}): cell for cell in space.cells}
    for cell in kinds.values():
        shape, what = shape_of(cell.load_data(), cell), f"the check of {_called(cell)}"
        names = partial(
            user_process.call, f"{__name__}:layer_names", what=what, patience_s=user_process.CHECK_S
        )
        known = (names if ":" in cell.model_name else layer_names)(cell, *shape)
        if missing := [name for name in layers if name not in known]:
            raise InputError(
                f"measures.similarity.layers: {cell.model_name} has no layer {missing[0]!r}; "
                f"it has {listed(known)}"
            )


def layer_names(cell: Cell, shape: tuple[int, ...], classes: int) -> list[str]:
    """Return the names of all layers of a cell's network."""
    from explorer.models.base import network

    rows = network(cell.model_name, cell.model, shape, classes, task=cell.task)[1]
    return [name for name, _ in rows.module.named_modules() if name]
