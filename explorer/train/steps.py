"""One training step of all models."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from explorer.models.draws import seeded_one_by_one
from explorer.models.rows import Bound, LossAndGradient, Rows
from explorer.train.optimisers.base import PerRowOptimiser, optimiser
from explorer.train.stopping import LossMonitor
from explorer.users.functions import user_function

Each = float | Sequence[float]  # the same for all models, or one per model
RowGroup = tuple[slice, tuple[float, ...]]
Rates = Sequence[float] | Sequence[Sequence[float]]  # per step; with several groups, also per group
Batch = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # (indices, step) -> inputs and targets of all models


def row_groups(rows: int, *settings: Each) -> list[RowGroup]:
    """Return slices of consecutive models with equal settings, together with these settings."""
    columns = [[s] * rows if isinstance(s, float | int) else s for s in settings]
    groups, first = [], 0
    for values, same in itertools.groupby(zip(*columns, strict=True)):
        last = first + len(list(same))
        groups.append((slice(first, last), values))
        first = last
    return groups


def optimiser_of(optimizer: str, groups: Sequence[RowGroup]) -> Any:
    """Return the optimiser of groups with settings (learning rate, momentum, weight decay, rho).

    Raises:
        ValueError: a user's optimiser has several groups.
    """
    if ":" not in optimizer:
        optimisers = [(rows, optimiser(optimizer, *settings)) for rows, (_, *settings) in groups]
        return optimisers[0][1] if len(groups) == 1 else PerRowOptimiser(optimisers)
    if len(groups) > 1:
        raise ValueError("the settings of a user's optimiser must be the same for all models")
    _, (_, momentum, decay, _) = groups[0]
    return user_function(optimizer)(momentum=momentum, weight_decay=decay)


def loss_gradient_of(network: Rows, loss: str | None, precision: str, compiled: bool) -> LossAndGradient:
    """Return the function that computes losses (models,) of a batch in training mode and their gradients."""
    if loss is None and precision == "float32" and not compiled:
        return network.loss_gradient
    minimised = network.task.loss if loss is None else user_function(loss)

    def loss_of(theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor) -> Tensor:
        with torch.autocast(theta.device.type, torch.bfloat16, enabled=precision == "bf16"):
            outputs = network(theta, x, buffers, training=True)
        return minimised(outputs.float() if precision == "bf16" else outputs, y)

    run = torch.compile(loss_of) if compiled else loss_of

    def gradient(theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor) -> tuple[Tensor, Tensor]:
        leaf = theta.detach().requires_grad_()
        losses = run(leaf, x, y, buffers)
        return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]

    return gradient


def make_step(
    theta: Tensor,
    buffers: Tensor,
    memory: dict[str, Tensor],
    optimiser: Any,
    rates: Rates,
    batch: Batch,
    loss_gradient: LossAndGradient,
    *,
    watch: LossMonitor | None = None,
    seeds: Sequence[int] | None = None,
    bound: Bound | None = None,
) -> Callable[[Tensor, int], None]:
    """Return a function that takes step number ``step`` on the inputs at ``index`` (models, batch).

    The function changes ``theta``, ``buffers``, the optimiser's ``memory`` and the sums of ``watch`` in
    place.

    Args:
        optimiser: see :func:`optimiser_of`.
        seeds: seeds of the models, for a network that draws random numbers; models then run one by one.
        bound: the same gradient as ``loss_gradient``, at ``theta``. Not allowed for a user's optimiser, which
            may keep a gradient while the next one overwrites it.
    """

    def take(index: Tensor, step: int) -> None:
        x, y = batch(index, step)
        seeded = loss_gradient if seeds is None else seeded_one_by_one(loss_gradient, seeds, step)

        def gradient(point: Tensor) -> Tensor:
            if bound is not None and point is theta:
                losses, slope = bound.step(x, y, watch is not None), bound.gradient
            else:
                losses, slope = seeded(point, x, y, buffers)
            if watch is not None and losses is not None and point is theta:
                watch.add_losses(losses)
            return slope

        optimiser.step(theta, gradient, memory, rates[step], step)

    # Inference mode avoids the bookkeeping of automatic differentiation, a tenth of a small network's step.
    return take if bound is None else torch.inference_mode()(take)
