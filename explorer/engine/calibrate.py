"""Finds out, in a moment, how rows of an architecture run fastest on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from explorer.engine.worker import Worker
from explorer.models.base import network, own
from explorer.models.rows import Execution, Rows, initial_rows
from explorer.space import Cell
from explorer.training import Split

CLEARLY = 0.8  # of the time of what is usual: what takes more is not chosen


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
