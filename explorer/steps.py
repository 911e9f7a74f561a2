"""A training step of all rows, operation by operation or replayed as a graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from explorer import graphs
from explorer.models.draws import LossGradient, apart
from explorer.models.rows import Bound, Rows
from explorer.optimisers import Optimiser, Several, Theirs
from explorer.settings import user_function
from explorer.stopping import Watch

Each = float | Sequence[float]  # the same for all rows, or one a row
Part = tuple[slice, tuple[float, ...]]
Rule = Optimiser | Several | Theirs
Batch = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # of indices and step: inputs and targets of all rows
Advance = Callable[..., None]  # of indices (rows, batch), the optimiser's numbers, and the step

NO_GRAPHS = "there are no graphs on this device"


def parts(rows: int, *settings: Each) -> list[Part]:
    """Consecutive rows that have all of these settings in common, and the settings."""
    columns = [[s] * rows if isinstance(s, float | int) else s for s in settings]
    found, first = [], 0
    for values, same in itertools.groupby(zip(*columns, strict=True)):
        last = first + len(list(same))
        found.append((slice(first, last), values))
        first = last
    return found


def rule_of(optimizer: str, parts: Sequence[Part]) -> Rule:
    """The optimiser of parts whose settings are the learning rate, momentum, weight decay and rho.

    Raises:
        ValueError: it is a user's, and there are several parts.
    """
    if ":" not in optimizer:
        rules = [(rows, Optimiser(optimizer, *own)) for rows, (_, *own) in parts]
        return rules[0][1] if len(rules) == 1 else Several(rules)
    if len(parts) > 1:
        raise ValueError("the settings of a user's optimiser are the same for all rows")
    _, (_, momentum, decay, _) = parts[0]
    return Theirs(user_function(optimizer)(momentum=momentum, weight_decay=decay))


def bound_gradient(network: Rows, theta: Tensor, rule: Rule, loss_gradient: LossGradient) -> Bound | None:
    """The architecture's own gradient at ``theta``, where that is the ``loss_gradient`` of a training.

    Not for a user's optimiser, which may keep a gradient beyond the next one.
    """
    plain = loss_gradient == network.loss_gradient
    return network.bound(theta) if plain and not isinstance(rule, Theirs) else None


def loss_gradient_of(network: Rows, loss: str | None, precision: str, compiled: bool) -> LossGradient:
    """Losses (rows,) of a batch in training mode and their gradients (rows, parameters)."""
    if loss is None and precision == "float32" and not compiled:
        return network.loss_gradient

    measured = network.task.loss if loss is None else user_function(loss)

    def loss_of(theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor) -> Tensor:
        with torch.autocast(theta.device.type, torch.bfloat16, enabled=precision == "bf16"):
            outputs = network(theta, x, buffers, training=True)
        return measured(outputs.float() if precision == "bf16" else outputs, y)

    run = torch.compile(loss_of) if compiled else loss_of

    def gradient(theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor) -> tuple[Tensor, Tensor]:
        leaf = theta.detach().requires_grad_()
        losses = run(leaf, x, y, buffers)
        return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]

    return gradient


def hindrance(network: Rows, x: Tensor, device: torch.device, *, random: bool) -> str:
    """Why gradients on a device, of batches taken from ``x``, cannot be replayed in a graph; "" if they can.

    ``random``: whether the network draws random numbers.
    """
    hindrances = {
        NO_GRAPHS: not graphs.known(device),
        "the inputs are in host memory": x.device != device,
        "dropout draws from seeds that the host sets": random,
        "a user's network may do what a graph cannot": not _ours(network),
        # Those that cannot be differentiated: a graph would write to arrays that may be gone by then.
        "the architecture works in arrays of its own": network.by_hand and network.derived is not None,
        "the gradient counts the tokens of a batch on the host": network.by_hand and network.task.by_token,
    }
    return _first(hindrances)


def hindrance_of_training(rule: Rule, *, loss: str | None, augment: bool, compile: bool) -> str:
    """Why steps that are trained in this way cannot be replayed as a graph; "" if they can."""
    hindrances = {
        "augmentation draws its numbers on the host": augment,
        "torch.compile launches kernels in its own way": compile,
        "a user's loss may do what a graph cannot": loss is not None,
        "a user's optimiser may do what a graph cannot": isinstance(rule, Theirs),
    }
    return _first(hindrances)


def _first(hindrances: dict[str, bool]) -> str:
    return next((why for why, holds in hindrances.items() if holds), "")


def _ours(network: Rows) -> bool:
    kinds = {type(part).__module__ for part in network.module.modules()}
    return all(kind.startswith(("torch.nn.", "explorer.models.")) for kind in kinds)


def advancing(
    theta: Tensor,
    buffers: Tensor,
    memory: dict[str, Tensor],
    rule: Rule,
    batch: Batch,
    loss_gradient: LossGradient,
    watch: Watch | None,
    seeds: Sequence[int] | None = None,
    bound: Bound | None = None,
) -> Advance:
    """A step that changes ``theta``, ``buffers``, ``memory`` and what ``watch`` has summed up, all in place.

    ``seeds``: of the rows of a network that draws random numbers (:func:`~explorer.models.draws.apart`).
    ``bound``: the same gradient as ``loss_gradient``, at ``theta``.
    """
    watched = watch is not None

    def advance(index: Tensor, numbers: Any, step: int = 0) -> None:
        x, y = batch(index, step)
        here = loss_gradient if seeds is None else apart(loss_gradient, seeds, step)

        def gradient(at: Tensor) -> Tensor:
            if bound is not None and at is theta:
                losses, found = bound.step(x, y, watched), bound.gradient
            else:
                losses, found = here(at, x, y, buffers)
            if watch is not None and losses is not None and at is theta:
                watch.seen(losses)
            return found

        rule.advance(theta, gradient, memory, numbers)

    # Without what automatic differentiation keeps of every operation: a tenth of a small network's step.
    return advance if bound is None else torch.inference_mode()(advance)


class Steps:
    """The steps of a training.

    On a device with graphs, what changes from step to step is laid there at the start: steps are then the
    same operations on the same tensors, whether they are replayed or not, and give the same bits.

    Args:
        advance: a step (:func:`advancing`).
        rates: learning rates of each part, one a step.
        theta: what is trained.
        last: the step to end at.
        replay: replay them as a graph.
    """

    def __init__(
        self,
        advance: Advance,
        rule: Rule,
        rates: Sequence[Sequence[float]],
        theta: Tensor,
        *,
        last: int,
        replay: bool,
    ):
        self.advance, self.rule, self.rates = advance, rule, rates
        # No method of this object: a graph has memory of the card, which a cycle of references would keep.
        self.graph = graphs.Replayed(advance, theta.device) if replay else None
        self.table: Tensor | None = None  # (steps, numbers) or (steps, parts, numbers)
        if graphs.known(theta.device) and not isinstance(rule, Theirs):
            numbers = [self._numbers(step) for step in range(last)]
            self.table = torch.tensor(numbers, dtype=theta.dtype, device=theta.device)

    def __call__(self, index: Tensor, step: int) -> None:
        """Step number ``step`` on the inputs at ``index`` (rows, batch)."""
        numbers = self._numbers(step) if self.table is None else self.table[step]
        if self.graph is not None:
            self.graph(index, numbers)
        else:
            self.advance(index, numbers, step)

    def _numbers(self, step: int) -> Any:
        if isinstance(self.rule, Several):
            return self.rule.numbers([of_part[step] for of_part in self.rates], step)
        return self.rule.numbers(self.rates[0][step], step)
