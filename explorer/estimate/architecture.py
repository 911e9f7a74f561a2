"""What an architecture's training steps, evaluations and Hessian products take, counted without data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from explorer.engine.suited import check_outputs
from explorer.estimate.counting import Ops, count, on_meta
from explorer.estimate.inputs import Inputs
from explorer.landscape.operator import HessianOperator, graph_inputs, outputs_per_input
from explorer.models import memory
from explorer.models.base import has_choice, network
from explorer.models.rows import MEMORY, Rows
from explorer.optimisers import Optimiser
from explorer.settings import InputError
from explorer.space import Cell, TrainingOptions
from explorer.steps import advancing
from explorer.training import taken

# Batch sizes at which networks without a stacked forward are counted. All others follow, since each operation
# grows linearly with the batch.
LOW, HIGH = 64, 1024


class Architecture:
    """One architecture of rows on the meta device.

    Rows are taken to run one after the other where a run tries whether ``vmap`` is faster, and then takes
    less.

    Args:
        cell: any cell that has it.
        inputs: what it is given.
        room: bytes of a card that a process may use, by which it sizes chunks; None on a processor.

    Raises:
        InputError: its shapes depend on numbers, so that it cannot be counted.
    """

    def __init__(self, cell: Cell, inputs: Inputs, room: float | None = None):
        self.inputs, self.name, self.room = inputs, cell.model_name, room
        execution = "loop" if has_choice(cell.model_name, cell.model, gpus=True) else None
        self.real = lambda: network(
            cell.model_name, cell.model, inputs.shape, inputs.classes, execution, cell.task
        )[1]  # with numbers
        if ":" in self.name:
            check_outputs(self.real(), cell, *self.example(2), inputs.classes)
        self.rows = self.real().to("meta")
        if inputs.tokens:
            # A sequence model's own gradient leaves padding out, which needs numbers: all places are counted.
            self.rows.gradient = None
        self.stacked = self.rows.execution == "stacked"
        self.parameters = self.rows.parameters
        self.buffers = self.rows.row()[1].numel()
        with self._counting():
            self.activations = self.rows.activations(self._x(1))
            self.outputs = outputs_per_input(self.rows, self._x(1))
        self.step = functools.cache(self._step)
        self.evaluation = functools.cache(self._evaluation)
        self.products = functools.cache(self._products)
        self._counted_step = functools.cache(self._count_step)
        self._counted_forward = functools.cache(self._count_forward)
        self._row_growth = functools.cache(self._growth_of_a_row)
        self._graph_and_product = functools.cache(self._count_product)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        try:
            with memory.used(self.room):
                yield
        except (RuntimeError, NotImplementedError) as error:
            raise InputError(
                f"{self.name!r} cannot be counted: its shapes depend on numbers ({error})"
            ) from error

    def _x(self, *batch: int, device: str = "meta") -> Tensor:
        """Inputs (*batch, *shape)."""
        dtype = torch.long if self.inputs.tokens else torch.float32
        return torch.zeros(*batch, *self.inputs.shape, dtype=dtype, device=device)

    def _y(self, *batch: int, device: str = "meta") -> Tensor:
        """What is learnt for them (*batch, *target)."""
        dtype = torch.float32 if self.inputs.numeric else torch.long
        return torch.zeros(*batch, *self.inputs.target, dtype=dtype, device=device)

    def example(self, batch: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels with numbers."""
        return self._x(batch, device="cpu"), self._y(batch, device="cpu")

    def _state(self, rows: int) -> tuple[Tensor, Tensor]:
        return on_meta(rows, self.parameters), on_meta(rows, self.buffers)

    def _step(self, rows: int, batch: int, optimizer: str = "sgd") -> Ops:
        """An optimiser step of so many rows: batch by index, gradient, update."""
        if self.stacked:
            return self._counted_step(rows, batch, optimizer)
        one = self._affine(lambda size: self._counted_step(1, size, optimizer), batch)
        # Of the memory, some is there once and some for each row.
        growth = self._row_growth(optimizer) if rows > 1 else 0.0
        return one.times(rows, one.peak * (1 + (rows - 1) * growth))

    def _growth_of_a_row(self, optimizer: str) -> float:
        """Memory of a second row as a share of the first one's."""
        one, two = (self._counted_step(rows, HIGH, optimizer).peak for rows in (1, 2))
        return two / one - 1

    def _count_step(self, rows: int, batch: int, optimizer: str) -> Ops:
        theta, buffers = self._state(rows)
        rule = Optimiser(optimizer, weight_decay=1e-4)
        memory = rule.start(theta)
        inputs, labels = self._x(2), self._y(2)
        index = on_meta(rows, batch, dtype=torch.long)

        step = training_step(self.rows, theta, buffers, memory, rule, inputs, labels)
        with self._counting():
            return count(lambda: step(index), theta, buffers, *memory.values())

    def _affine(self, make: Callable[[int], Ops], batch: int) -> Ops:
        low, high = make(LOW), make(HIGH)
        if len(low.kind) != len(high.kind):  # a network that does other things with other batches
            return make(batch)
        return low.between(high, (batch - LOW) / (HIGH - LOW))

    def _evaluation(self, rows: int, inputs: int) -> Ops:
        """Outputs of so many rows for so many inputs, in blocks as :meth:`Rows.blocks` takes them."""
        budget = memory.numbers(self.room, MEMORY, memory.EVALUATION)
        return self._forward(rows, inputs, budget // self.activations, budget // self.activations)

    def statistics(self, rows: int, inputs: int) -> Ops:
        """BatchNorm's statistics of so many rows anew, as :meth:`Rows.estimate_buffers` takes them."""
        budget = memory.numbers(self.room, MEMORY, memory.EVALUATION)
        return self._forward(rows, inputs, MEMORY // self.activations, budget // self.activations)

    def _forward(self, rows: int, inputs: int, size: int, together: int) -> Ops:
        """Outputs in chunks of about ``size`` inputs, of ``together`` for all rows that see one at once."""
        chunks = -(-inputs // min(max(1, size), inputs))
        at_once = -(-inputs // chunks)
        if self.stacked:
            some = min(rows, max(1, together // at_once))
            return self._counted_forward(some, at_once).times(chunks * rows / some)
        one = self._affine(lambda batch: self._counted_forward(1, batch), at_once)
        return one.times(rows * chunks, one.peak + 4 * rows * self.parameters)

    def _count_forward(self, rows: int, batch: int) -> Ops:
        theta, buffers = self._state(rows)
        x = self._x(1, batch)
        with torch.no_grad(), self._counting():
            return count(lambda: self.rows(theta, x, buffers), theta, buffers, x)

    def _products(self, rows: int, inputs: int, number: int) -> list[Ops]:
        """``number`` Hessian-vector products of so many rows, as :class:`HessianOperator` does them."""
        chunks, together = self.graph_blocks(rows, inputs)
        some = together if self.stacked else 1
        graph, product = self._graph_and_product(some, -(-inputs // chunks))
        each, held = rows / some, together / some
        if chunks == 1 and together == rows:
            return [graph.times(each, held * graph.peak), product.times(each * number, held * product.peak)]
        return [ops.times(each * number * chunks, held * ops.peak) for ops in (graph, product)]

    def graph_blocks(self, rows: int, inputs: int) -> tuple[int, int]:
        """How many chunks of inputs gradients are taken in, and of how many of the rows at once."""
        size = graph_inputs(self.room, self.outputs)
        chunks = -(-inputs // min(inputs, size))
        return chunks, min(rows, max(1, size // min(inputs, size)))

    def _count_product(self, rows: int, inputs: int) -> tuple[Ops, Ops]:
        theta, buffers = self._state(rows)
        x, y = self._x(inputs), self._y(inputs)
        made: list[HessianOperator] = []
        with self._counting():
            graph = count(
                lambda: made.append(HessianOperator(self.rows, theta, x, y, buffers)), theta, buffers
            )
            product = count(lambda: made[0](on_meta(rows, self.parameters)), theta)
        held = graph.peak  # the graph is kept while products are taken
        return graph, product.times(1, held + product.peak)


def optimizer_of(training: TrainingOptions) -> str:
    """The optimiser that is counted: a user's own is taken for SGD."""
    return "sgd" if ":" in training.optimizer else training.optimizer


def training_step(
    rows: Rows,
    theta: Tensor,
    buffers: Tensor,
    memory: dict[str, Tensor],
    rule: Optimiser,
    inputs: Tensor,
    targets: Tensor,
) -> Callable[[Tensor], None]:
    """A step as a training takes it, on the ``inputs`` at given places (rows, batch)."""
    advance = advancing(
        theta,
        buffers,
        memory,
        rule,
        lambda index, _: (taken(inputs, index), taken(targets, index)),
        rows.loss_gradient,
        watch=None,
        bound=rows.bound(theta),
    )
    return lambda index: advance(index, rule.numbers(1e-6, 0))
