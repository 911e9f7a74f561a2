"""Peak memory of an architecture: of a few steps of its training and of all of its measures."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
from dataclasses import replace
from typing import Any

import torch

from explorer.engine import plan
from explorer.engine.packing import Peaks
from explorer.engine.stacks import parts
from explorer.engine.work import MakeWorker, Part, Stack
from explorer.engine.worker import Worker
from explorer.space import Cell, Space
from explorer.store import Store

# Of the training and of each path: later ones need no more memory.
STEPS = 3


def peaks(make_worker: MakeWorker, cells: list[Cell], space: Space, gpus: int) -> Peaks:
    """Bytes that each cell needs at most, and what a card of this node has.

    Without CUDA the GPUs are logical: each of the ``gpus`` of the node then stands for its share of the
    machine's memory, and what is measured is the memory of the whole process.
    """
    worker = make_worker(1.0)
    return Peaks(_card(worker.device, gpus), [_peak(worker, cell, space) for cell in cells])


def _peak(worker: Worker, cell: Cell, space: Space) -> int | None:
    """Bytes, or None where the card was not enough."""
    # Beside the neighbours that it is trained with, all as short.
    stacks = [
        Stack([Part([_brief(part.cell)], part.seeds) for part in stack])
        for stack in parts(space)
        if any(cell.whole.id == part.cell.whole.id for part in stack)
    ]
    store = worker.store
    with tempfile.TemporaryDirectory(prefix="explorer-peak-") as folder:
        worker.store = Store(folder)
        _reset(worker.device)
        try:
            for stack in stacks:
                worker.train(stack)
            for task in plan.tasks_of(stacks, _short(space.measures), worker.store):
                if task.cell.id == _brief(cell).id:
                    worker.measure(task)
            return _used(worker.device)
        except (MemoryError, torch.cuda.OutOfMemoryError):
            return None
        except Exception:
            return _used(worker.device)  # the trial fails in the same way, and leaves a row with the error
        finally:
            worker.store = store


def _brief(cell: Cell) -> Cell:
    """The cell with a training of a few steps, and all else as it is."""
    training = cell.training.model_copy(
        update={"steps": STEPS, "epochs": None, "checkpoint": 1.0, "early_stop": None, "history_points": 2}
    )
    return replace(cell, training=training)


def _short(measures: dict[str, Any]) -> dict[str, Any]:
    """The measures with few steps and all else as it is: inputs, pairs and Lanczos vectors take memory."""
    return {
        name: {**values, **({"steps": min(STEPS, values["steps"])} if "steps" in values else {})}
        for name, values in measures.items()
    }


def _card(device: torch.device, gpus: int) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // max(1, gpus)


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # Linux: forget the peak


def _used(device: torch.device) -> int:
    """Peak bytes since the reset: on a card, of the allocator and of the CUDA context beside it."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        context = max(0, total - free - torch.cuda.memory_reserved(device))
        return torch.cuda.max_memory_reserved(device) + context
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
