"""What a space would cost, from a short calibration on this machine. Starts no Ray, writes nothing."""

from __future__ import annotations

import functools
import math
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import explorer.data
from explorer.data.base import Arrays, prepare
from explorer.engine import plan
from explorer.engine.calibrate import best_time, step_time
from explorer.engine.stacks import shape_of, sizes
from explorer.engine.subjects import pairs_of
from explorer.engine.suited import check_data
from explorer.engine.work import Stack, architecture_key, data_source
from explorer.estimate.cluster import makespan
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows
from explorer.settings import plugin
from explorer.space import Cell, Space
from explorer.training import Split

COUNTED = ("hessian", "connectivity", "similarity")  # measures whose time is estimated
MAX_ARCHITECTURES = 8  # measured; the rest are interpolated by their number of parameters
# On two cores. From the command to the first model that trains: ``benchmarks/run_start.py``, first_model_s.
START_S = 2.5
# From the last measurement to the end: ``stages`` of sessions/*.yaml of the digits run, shut_down + tables +
# pages.
END_S = 2.0
# A worker that is started for measuring alone, by a fork: from the kill of one to the work of the next.
WORKER_S = 0.5
# What a trial and a task take beside their work: wall seconds of training and measuring in the same sessions
# less ``workers`` divided by their number.
TRIAL_S, TASK_S = 0.04, 0.02


@dataclass(frozen=True)
class Cost:
    """Seconds of one worker for one cell, and bytes."""

    training_s: float
    measuring_s: float
    parameters: int


@dataclass(frozen=True)
class Estimate:
    """Cost of a whole space on this machine: wall seconds, bytes of memory and of disk."""

    workers: int
    training_s: float
    measuring_s: float
    memory_bytes: float
    disk_bytes: float

    @property
    def wall_s(self) -> float:
        return START_S + self.training_s + self.measuring_s + END_S


def estimate(space: Space) -> Estimate:
    """Measure a few steps of the smallest and the largest batch of up to eight architectures, and add up."""
    import torch

    for cell in {data_source(cell): cell for cell in space.cells}.values():
        check_data(cell, _clean(cell.data_name, cell.data))
    workers = max(1, int((os.cpu_count() or 1) / space.resources.cpus_per_trial))
    stacks = plan.stacks(
        space, sizes=sizes(space, lambda cell: shape_of(_clean(cell.data_name, cell.data), cell))
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(space.resources.cpus_per_trial)))
    try:
        costs = _costs(space, stacks)
    finally:
        torch.set_num_threads(threads)
    cells, counts = space.cells, plan.count(space)
    workers, trials = min(workers, len(cells)), len(stacks)
    per_cell = [costs[cell.id] for cell in cells]
    replicates = space.seeds
    # A training is paid once, by the cell at its end, whatever checkpoints are taken on the way.
    training = makespan(
        (
            sum(costs[part.cell.id].training_s * len(part.seeds) / replicates for part in stack.parts)
            for stack in stacks
        ),
        workers,
    )
    measuring = max(sum(c.measuring_s for c in per_cell) / workers, max(c.measuring_s for c in per_cell))
    points = space.measures.get("connectivity", {}).get("points", 0)
    disk = (
        sum(4 * c.parameters * replicates for c in per_cell)
        + counts["curves"] * points * 2 * 40
        + counts["models"] * 1500
    )
    data_bytes = max(_data_bytes(cell) for cell in {c.data_name: c for c in cells}.values())
    largest = max(c.parameters for c in per_cell)
    memory = workers * (
        350e6 + 2 * data_bytes + 4 * largest * max(replicates * 6, counts["pairs"] // len(cells) * 8)
    )
    # Trials measure what they complete, but the last ones leave it to workers of the pool.
    pool_s = 0.0 if space.resources.overlap and trials > 2 * workers else WORKER_S
    return Estimate(
        workers,
        training + trials * TRIAL_S / workers,
        (pool_s + measuring + len(cells) * len(space.measures) * TASK_S / workers) if space.measures else 0.0,
        600e6 + memory,
        disk,
    )


def _costs(space: Space, stacks: list[Stack]) -> dict[str, Cost]:
    """Cost of each cell, by cell id."""
    together: dict[str, int] = {}  # models of a stack, at most
    for stack in stacks:
        key = architecture_key(stack.cell)
        together[key] = max(together.get(key, 0), len(stack.rows))
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in space.cells:
        groups[architecture_key(cell)].append(cell)
    sizes = {key: _parameters(cells[0]) for key, cells in groups.items()}
    by_size = sorted(groups, key=lambda key: sizes[key])
    last = len(by_size) - 1
    chosen = sorted(
        {round(i * last / max(1, MAX_ARCHITECTURES - 1)) for i in range(MAX_ARCHITECTURES)}
        & set(range(last + 1))
    )
    measured = {place: _measured(space, groups[by_size[place]], together[by_size[place]]) for place in chosen}
    costs = {}
    for place, key in enumerate(by_size):
        below = max(p for p in chosen if p <= place)
        above = min(p for p in chosen if p >= place)
        low, high = measured[below], measured[above]
        span = sizes[by_size[above]] - sizes[by_size[below]]
        share = (sizes[key] - sizes[by_size[below]]) / span if span else 0.0
        for cell in groups[key]:
            a, b = low(cell), high(cell)
            costs[cell.id] = Cost(a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), sizes[key])
    return costs


def _measured(space: Space, cells: list[Cell], together: int) -> Callable[[Cell], tuple[float, float]]:
    """Training and measuring seconds of any cell of one architecture, from steps at two batch sizes.

    Args:
        together: models that are trained side by side.
    """
    batch_sizes = sorted({cell.training.batch_size for cell in cells})
    cell = cells[0]
    data = _data(cell)
    build, rows = network(
        cell.model_name, cell.model, tuple(data.x_train.shape[1:]), data.classes, task=cell.task
    )
    theta, buffers = initial_rows(build, rows, range(max(together, space.seeds)))
    ends = (batch_sizes[0], batch_sizes[-1])
    low, high = (step_time(rows, theta[:together], buffers[:together], data, b) for b in ends)
    # The optimiser's update, the batch's indices, the history; and a cell's share of its stacks.
    share = space.seeds / together
    overhead = 1.15 * (share if share < 1 else math.ceil(share))
    measuring = _measuring(space, rows, theta[: space.seeds], buffers[: space.seeds], data)

    def cost(cell: Cell) -> tuple[float, float]:
        weight = (cell.training.batch_size - ends[0]) / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.0
        return overhead * cell.checkpoint_step * (low + weight * (high - low)), measuring

    return cost


def _measuring(space: Space, rows: Rows, theta: Any, buffers: Any, data: Split) -> float:
    """Seconds to take the ``COUNTED`` measures of one cell."""
    import torch

    from explorer.landscape.hessian import HessianOperator
    from explorer.training import evaluate

    total = 0.0
    hessian = space.measures.get("hessian")
    if hessian:
        n = None if hessian["inputs"] == "all" else hessian["inputs"]
        operator = HessianOperator(rows, theta, data.x_train[:n], data.y_train[:n], buffers)
        total += best_time(lambda: operator(torch.ones_like(theta))) * (
            hessian["lanczos_steps"] + hessian["probes"]
        )
    curve = space.measures.get("connectivity")
    wanted = curve["pairs"] if curve else None
    ends = pairs_of([str(i) for i in range(space.seeds)], wanted) if curve else []
    if curve and ends:
        first = [int(a) for a, _ in ends]
        step = step_time(
            rows, theta[first], buffers[first], data, min(curve["batch_size"], len(data.x_train))
        )
        total += 1.2 * step * curve["steps"]
        once = best_time(
            lambda: (
                rows.estimate_buffers(theta[first], buffers[first], data.x_train),
                evaluate(rows, theta[first], buffers[first], data.x_train, data.y_train),
                evaluate(rows, theta[first], buffers[first], data.x_test, data.y_test),
            )
        )
        total += once * 2 * curve["points"]
    if "similarity" in space.measures:
        total += best_time(lambda: rows.outputs(theta, data.x_train[:1000], buffers)) * 2
    return total


@functools.lru_cache(maxsize=4)
def _clean(name: str, options: Any) -> Arrays:
    return plugin(explorer.data, name, "data set").load(options)


def _data(cell: Cell) -> Split:
    return Split.of(prepare(_clean(cell.data_name, cell.data), cell.data.of_replicate(0), cell.data_name))


def _parameters(cell: Cell) -> int:
    clean = _clean(cell.data_name, cell.data)
    return network(cell.model_name, cell.model, clean.shape, clean.classes, task=cell.task)[1].parameters


def _data_bytes(cell: Cell) -> int:
    clean = _clean(cell.data_name, cell.data)
    return clean.x_train.nbytes + clean.x_test.nbytes
