"""What the cells of a space have to do: training, and each measure by its budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from explorer.estimate.architecture import Architecture, optimizer_of
from explorer.estimate.counting import Ops
from explorer.estimate.inputs import Inputs
from explorer.measures import connectivity, density, hessian, noise
from explorer.measures.base import at_once
from explorer.space import Cell
from explorer.training import milestones


@dataclass(frozen=True)
class Work:
    """Pieces of work and the most memory (bytes, beside the data) that any of them needs."""

    pieces: list[Ops]
    extra: float = 0.0  # bytes that are held beside them

    @property
    def peak(self) -> float:
        return self.extra + max((ops.peak for ops in self.pieces), default=0.0)


def training_of(net: Architecture, cells: list[Cell], inputs: Inputs, rows: int) -> Work:
    """Training so many replicates of a cell at all its checkpoints. Early stopping is not foreseen."""
    cell, training = cells[-1], cells[-1].training
    steps = cell.checkpoint_step
    looks = len({*milestones(steps, training.history_points), *(c.checkpoint_step for c in cells)})
    step = net.step(rows, training.batch_size, optimizer_of(training))
    model = 4.0 * rows * (net.parameters + net.buffers)
    return Work(
        [
            step.times(steps),
            net.evaluation(rows, inputs.train).times(looks + len(cells)),
            net.evaluation(rows, inputs.test).times(looks),
        ],
        extra=model * (len(cells) + (training.keep == "best")),
    )


def measuring_of(
    name: str, options: Any, net: Architecture, inputs: Inputs, subjects: int, models: int
) -> Work | None:
    """A measure of so many models or pairs of a cell that has ``models``; None for one that is not known."""
    make = MEASURES.get(name)
    if make is None:
        return None
    work = make(net, inputs, options, subjects, models)
    return replace(work, extra=work.extra + 4.0 * models * (net.parameters + net.buffers))


Make = Callable[[Architecture, Inputs, Any, int, int], Work]


def _hessian(net: Architecture, inputs: Inputs, options: Any, rows: int, models: int) -> Work:
    held = hessian.numbers(options, net.parameters)
    some = min(rows, at_once(held, net.room))
    n = inputs.train if options.inputs == "all" else min(options.inputs, inputs.train)
    products = min(options.lanczos_steps, net.parameters) + options.probes
    return Work([ops.times(rows / some) for ops in net.products(some, n, products)], 4.0 * some * held)


def _density(net: Architecture, inputs: Inputs, options: Any, rows: int, models: int) -> Work:
    held = density.numbers(options, net.parameters)
    some = min(rows, at_once(held, net.room))
    products = min(options.steps, net.parameters) * options.probes
    pieces = net.products(some, min(options.inputs, inputs.train), products)
    return Work([ops.times(rows / some) for ops in pieces], 4.0 * some * held)


def _connectivity(net: Architecture, inputs: Inputs, options: Any, pairs: int, models: int) -> Work:
    held = connectivity.numbers(options, net.parameters)
    some = min(pairs, at_once(held, net.room))
    step = net.step(some, min(options.batch_size, inputs.train)).times(options.steps)
    pieces = [step, *_profile(net, inputs, 2 * options.points, some)]
    return Work([ops.times(pairs / some) for ops in pieces], 4.0 * some * held)


def _profile(net: Architecture, inputs: Inputs, points: int, pairs: int) -> list[Ops]:
    """BatchNorm's statistics anew, then loss and error on all inputs, at so many points."""
    pieces = [net.evaluation(pairs, inputs.train), net.evaluation(pairs, inputs.test)]
    if net.rows.norms:
        pieces.append(net.statistics(pairs, inputs.train))
    return [ops.times(points) for ops in pieces]


def _similarity(net: Architecture, inputs: Inputs, options: Any, pairs: int, models: int) -> Work:
    return Work([net.evaluation(models, options.inputs), net.evaluation(models, inputs.test)])


def _alignment(net: Architecture, inputs: Inputs, options: Any, pairs: int, models: int) -> Work:
    held = 4.0 * (models + 4 * pairs) * net.parameters
    pieces = _profile(net, inputs, options.points, pairs)
    if options.method == "activations":  # both models of a pair, one after the other
        pieces.append(net.evaluation(1, min(options.inputs, inputs.train)).times(2 * pairs))
    return Work(pieces, held)


def _sharpness(net: Architecture, inputs: Inputs, options: Any, rows: int, models: int) -> Work:
    n = min(options.inputs, inputs.train)
    times = 2 * options.steps  # plain and adaptive
    chunks, some = net.graph_blocks(rows, n)
    gradient = net.step(some, -(-n // chunks)).times(times * chunks * rows / some)
    return Work([gradient, net.evaluation(rows, n).times(times + 2)])


def _noise(net: Architecture, inputs: Inputs, options: Any, rows: int, models: int) -> Work:
    held = noise.numbers(options, net.parameters)
    some = min(rows, at_once(held, net.room))
    step = net.step(some, min(options.batch_size, inputs.train // 2))
    return Work([step.times(options.batches * rows / some)], 4.0 * some * held)


def _bleu(net: Architecture, inputs: Inputs, options: Any, rows: int, models: int) -> Work:
    # Token by token with memory of those before, each hypothesis costs what reading a sentence does.
    return Work([net.evaluation(rows, min(options.inputs, inputs.test) * options.beam)])


def _perplexity(net: Architecture, inputs: Inputs, options: Any, rows: int, models: int) -> Work:
    return Work([net.evaluation(rows, inputs.train), net.evaluation(rows, inputs.test)])


def _ensemble(net: Architecture, inputs: Inputs, options: Any, cells: int, models: int) -> Work:
    return Work([net.evaluation(models, inputs.test)])


MEASURES: dict[str, Make] = {
    "hessian": _hessian,
    "density": _density,
    "connectivity": _connectivity,
    "similarity": _similarity,
    "alignment": _alignment,
    "sharpness": _sharpness,
    "noise": _noise,
    "ensemble": _ensemble,
    "bleu": _bleu,
    "perplexity": _perplexity,
}
