"""Finds out, in a moment, how rows of an architecture run fastest on this machine, and how their steps do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from explorer import graphs
from explorer.engine.work import Stack
from explorer.engine.worker import Worker
from explorer.models.base import network, own
from explorer.models.rows import Execution, Rows, initial_rows
from explorer.settings import in_a_line
from explorer.space import Cell
from explorer.steps import NO_GRAPHS
from explorer.stopping import Stopping
from explorer.training import Split, Trained, train

CLEARLY = 0.8  # of the time of what is usual: what takes more is not chosen
SHORT = graphs.WARM_UP + 1  # steps, with the capture of a graph
BUDGET_S = 0.1  # of the steps that are compared
LEAST, MOST = 8, 200  # so many of them
WORTH_S = 5.0  # of all trainings of a kind; to find out takes up to a second
BATCHES = 8  # inputs that they are taken on: evaluating more would take longer than the steps


def fastest(worker: Worker, steps: dict[str, tuple[Cell, int]], replicates: int) -> dict[str, str]:
    """How rows run for each cell and batch size: ``vmap``, ``loop`` or ``stacked``, by the training step.

    ``loop`` where vmap does not know an operation of the architecture. ``stacked`` is tried where the
    architecture has it, but not on a GPU, whose library knows large convolutions better.
    """
    chosen = {}
    for key, (cell, batch_size) in steps.items():
        data = worker.split(cell)
        times: dict[Execution, float] = {}
        tried: list[Execution] = ["loop", "vmap"]
        if worker.device.type == "cpu" and own(cell.model_name, cell.model, "stacked_forward"):
            tried.append("stacked")
        for execution in tried:
            shape = tuple(data.x_train.shape[1:])
            build, rows = network(cell.model_name, cell.model, shape, data.classes, execution, cell.task)
            theta, buffers = initial_rows(build, rows, range(replicates))
            try:
                times[execution] = step_time(rows.to(worker.device), theta, buffers, data, batch_size)
            except RuntimeError:
                if execution == "loop":
                    raise
        # Others have to win clearly: a draw should not hang on the noise of a short measurement.
        best = min(times, key=lambda way: times[way])
        chosen[key] = best if times[best] < CLEARLY * times["loop"] else "loop"
    return chosen


def step_time(rows: Rows, theta: torch.Tensor, buffers: torch.Tensor, data: Split, batch_size: int) -> float:
    """Seconds of a training step (gradient only) of all rows."""
    device = data.device
    theta, buffers = theta.to(device), buffers.to(device)
    x = data.x_train[None, :batch_size].to(device).expand(len(theta), *[-1] * data.x_train.dim()).contiguous()
    y = data.y_train[None, :batch_size]

    def step() -> None:
        rows.loss_gradient(theta, x, y, buffers)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return best_time(step)


def best_time(call: Callable[[], object], budget_s: float = 0.1) -> float:
    """Seconds of the fastest call of some within the budget, after one that warms up."""
    call()
    best, spent = float("inf"), 0.0
    for _ in range(50):
        started = time.perf_counter()
        call()
        took = time.perf_counter() - started
        best, spent = min(best, took), spent + took
        if spent > budget_s:
            break
    return best


def graphs_of(worker: Worker, stacks: dict[str, tuple[Stack, int]]) -> dict[str, dict[str, Any]]:
    """When the steps of these kinds of training are replayed as graphs: by a stack, and how many it is for.

    The same steps are taken both ways, and must give the same bits. Of each kind there are ``eager_us`` and
    ``graph_us`` a step, ``capture_ms``, and ``from_step``: the length of a training from which on it is
    faster by a fifth, the capture included. Or ``why`` it never is.
    """
    return {
        key: {**_described(stack), **_both_ways(worker, stack, count)}
        for key, (stack, count) in stacks.items()
    }


def _both_ways(worker: Worker, stack: Stack, trainings: int) -> dict[str, Any]:
    if not graphs.known(worker.device):
        return {"why": NO_GRAPHS}
    try:
        run = _short_training(worker, stack)
        tried = run(SHORT, True)  # warms up, too
        if tried.hindered:
            return {"why": tried.hindered}
        step_s = run(SHORT, False).wall_s / SHORT  # at most: both ends are in it
        if step_s * stack.steps * trainings < WORTH_S:
            return {"why": "its trainings are shorter than finding out would be"}
        longer = SHORT + max(LEAST, min(MOST, round(BUDGET_S / step_s)))
        if not _same(run(longer, False), run(longer, True)):
            return {"why": "replayed steps gave other numbers"}
        took = {
            (steps, graph): min(run(steps, graph).wall_s for _ in range(2))
            for steps in (SHORT, longer)
            for graph in (False, True)
        }
    # Whatever it was, training without graphs is left; where that fails too, it says why.
    except Exception as error:
        return {"why": in_a_line(error)}
    eager, graph = ((took[longer, way] - took[SHORT, way]) / (longer - SHORT) for way in (False, True))
    capture = max(0.0, took[SHORT, True] - took[SHORT, False])
    found = {"eager_us": 1e6 * eager, "graph_us": 1e6 * graph, "capture_ms": 1e3 * capture}
    rounded: dict[str, Any] = {name: round(value, 1) for name, value in found.items()}
    if graph >= CLEARLY * eager:
        return {**rounded, "why": "it is not clearly faster"}
    return {**rounded, "from_step": max(SHORT, math.ceil(capture / (CLEARLY * eager - graph)))}


def _short_training(worker: Worker, stack: Stack) -> Callable[[int, bool], Trained]:
    """The training of a stack for so many steps on a few batches, with a graph or without."""
    recipe = worker.recipe(stack)
    rows, theta, buffers, data = worker.start(stack)
    some = slice(BATCHES * recipe["batch_size"])
    few = replace(
        data,
        x_train=data.x_train[some],
        y_train=data.y_train[some],
        x_test=data.x_test[:1],
        y_test=data.y_test[:1],
    )
    recipe |= {
        "checkpoints": (),
        "history_points": 2,
        "targets": None if recipe["targets"] is None else recipe["targets"][:, some],
        "stopping": Stopping(best=bool(recipe["stopping"])),  # as much to do, and no end before the last step
    }
    return lambda steps, graph: train(rows, theta, buffers, few, **{**recipe, "steps": steps}, graph=graph)


def _same(one: Trained, other: Trained) -> bool:
    return torch.equal(one.theta, other.theta) and torch.equal(one.buffers, other.buffers)


def _described(stack: Stack) -> dict[str, Any]:
    cell = stack.cell
    width = {"width": cell.columns["width"]} if cell.columns.get("width") is not None else {}
    batch_size = cell.training.batch_size
    return {"architecture": cell.model_name, **width, "batch_size": batch_size, "models": len(stack.rows)}
