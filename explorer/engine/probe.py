"""Short measurements on a worker before training: the time of a step and the peak memory of a trial."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from explorer.engine.card import CONTEXT
from explorer.engine.worker import Worker, peak_process_bytes
from explorer.models.agreement import INPUTS, check_gradient
from explorer.models.base import network, stacked_function
from explorer.models.rows import Execution, Rows, initial_rows
from explorer.plan import plan
from explorer.plan.stacks import NO_SIZES, Sizes, parts
from explorer.plan.subjects import cell_groups, trained_of, within_cell
from explorer.plan.units import Part, Stack
from explorer.runs.store import Store
from explorer.space.model import Cell, CheckedSpace
from explorer.space.training import TrainingOptions, Use, names_of
from explorer.train.loop import Split

CLEARLY = 0.8  # an alternative must take less than this share of the time of the default
STEPS = 3  # of training and of each curve when measuring peak memory; later steps need no more


def fastest(worker: Worker, cell: Cell, batch_size: int, replicates: int) -> Execution:
    """Choose ``vmap``, ``loop`` or ``stacked`` for a cell and a batch size, by timing a training step.

    If vmap does not support an operation of the architecture, or PyTorch's rule for it is wrong (padding of
    an embedding, for example), the choice is ``loop``. ``stacked`` is tried
    if the architecture implements it, but not on a GPU, where cuDNN is faster for large convolutions.
    """
    data = worker.split(cell)
    ways: list[Execution] = ["loop", "vmap"]
    if worker.device.type == "cpu" and stacked_function(cell.model_name, cell.model, "stacked_forward"):
        ways.append("stacked")
    times: dict[Execution, float] = {}
    for way in ways:
        shape = tuple(data.x_train.shape[1:])
        try:
            build, rows = network(cell.model_name, cell.model, shape, data.classes, way, cell.task)
            theta, buffers = initial_rows(build, rows, range(replicates))
            if way == "vmap":
                x, y = data.x_train[:INPUTS], data.y_train[:INPUTS]
                check_gradient(
                    rows.to(worker.device), theta.to(worker.device), buffers.to(worker.device), x, y
                )
            with worker.kernels(set()):
                times[way] = step_time(rows.to(worker.device), theta, buffers, data, batch_size)
        except Exception:  # without vmap, or training will fail in the same way and record the error
            continue
    # Require a clear gain: the noise of a short measurement should not decide.
    if "loop" not in times:
        return "loop"
    best = min(times, key=lambda way: times[way])
    return best if times[best] < CLEARLY * times["loop"] else "loop"


def step_time(rows: Rows, theta: torch.Tensor, buffers: torch.Tensor, data: Split, batch_size: int) -> float:
    """Return the seconds of a training step (gradient only) of all rows."""
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
    """Return the seconds of the fastest of up to 50 calls within the budget, after a warm-up call."""
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


def peak_bytes(worker: Worker, cell: Cell, space: CheckedSpace, sizes: Sizes = NO_SIZES) -> int | None:
    """Return the peak bytes of a trial of this cell, or None if the GPU's memory was not enough.

    Trains the cell for a few steps, together with the cells that share its stack, and takes all its measures.
    """
    stacks = [
        Stack([Part([_brief(part.cell)], part.seeds) for part in stack])
        for stack in parts(space, sizes)
        if any(cell.final.id == part.cell.final.id for part in stack)
    ]
    brief, store = _brief(cell), worker.store
    with tempfile.TemporaryDirectory(prefix="explorer-peak-") as folder:
        worker.store = Store(folder)
        rows, peaks = [], []  # each training and measurement starts a new peak
        _reset_peak(worker.device)
        try:
            for stack in stacks:
                rows += worker.train(stack)
                peaks.append(_peak(worker.device))
            trained = trained_of([brief], rows)
            for name, module, options in plan.measures_of(_short(space.measures)):
                if brief.id in trained and within_cell(module.KIND, options):
                    for group in cell_groups(module.KIND, brief, trained[brief.id], options):
                        worker.measure(plan.task_of(name, options, group, group.subjects))
                        peaks.append(_peak(worker.device))
            return max(peaks)
        except (MemoryError, torch.cuda.OutOfMemoryError):
            return None
        except Exception:  # the trial will fail in the same way and record the error
            return max([*peaks, _peak(worker.device)])
        finally:
            worker.store = store


def _brief(cell: Cell) -> Cell:
    """Return the cell with a training of a few steps. Settings that change its memory stay."""
    default = names_of(Use.LENGTH | Use.STOP | Use.HISTORY) - names_of(Use.MEMORY)
    changed = {name: TrainingOptions.model_fields[name].default for name in default}
    changed |= {"steps": STEPS, "history_points": 2}
    return replace(cell, training=cell.training.model_copy(update=changed))


def _short(measures: dict[str, Any]) -> dict[str, Any]:
    """Return the measures with few steps and all else unchanged: inputs, pairs and vectors take memory."""
    return {
        name: {**values, **({"steps": min(STEPS, values["steps"])} if "steps" in values else {})}
        for name, values in measures.items()
    }


def card_bytes(worker: Worker, gpus: int) -> int:
    """Return the bytes of a GPU. A logical GPU has one of ``gpus`` equal parts of the machine's memory."""
    if worker.device.type == "cuda":
        return torch.cuda.get_device_properties(worker.device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // max(1, gpus)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # Linux: forget the peak


def _peak(device: torch.device) -> int:
    """Return the peak bytes since the reset. On a GPU, they are the allocator's and those of CUDA itself."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) + CONTEXT
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return peak_process_bytes()
