"""What a worker does, be it a Tune trial or an actor of the pool: train a stack, measure a cell.

A worker writes its records itself, so that a finished piece of work is known even if nobody is left to
hear of it. Nothing here imports Ray.
"""

from __future__ import annotations

import functools
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

import explorer.measures
from explorer.data.base import Arrays, prepare
from explorer.measures.base import Cell as MeasuredCell
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.settings import digest, plugin, stream
from explorer.space import Cell
from explorer.store import Store
from explorer.training import Split, train


@dataclass(frozen=True)
class Stack:
    """Replicates of one cell that are trained together, and the name of their record."""

    cell: Cell
    seeds: list[int]

    @functools.cached_property
    def model_ids(self) -> list[str]:
        return [self.cell.model_id(seed) for seed in self.seeds]

    @functools.cached_property
    def id(self) -> str:
        return digest(self.model_ids)

    def rows(self) -> list[dict[str, Any]]:
        """Ids and settings of its models, as the first columns of the ``models`` table."""
        return [
            {"model_id": name, "cell_id": self.cell.id, **self.cell.columns, "seed": seed}
            for name, seed in zip(self.model_ids, self.seeds, strict=True)
        ]


@dataclass(frozen=True)
class Task:
    """One measure of one cell: the models or pairs that are still to be measured.

    ``members`` are the stacks that hold the cell's models, with the rows to take from each.
    """

    measure: str
    options: Any
    cell: Cell
    members: list[tuple[str, list[int]]]
    model_ids: list[str]
    subjects: list[Any] = field(hash=False)

    @functools.cached_property
    def id(self) -> str:
        return digest([self.measure, self.subjects])

    def subject_rows(self) -> list[dict[str, Any]]:
        """Ids of what it measures."""
        if isinstance(self.subjects[0], str):
            return [{"model_id": name} for name in self.subjects]
        return [{"model_a": a, "model_b": b} for a, b in self.subjects]


class Worker:
    """Holds the store, the clean data and what it prepared last.

    Args:
        clean: gives the clean arrays of a data source (:func:`data_source`), from the object store.
        execution: how rows of an architecture are run, by :func:`architecture_key`.
    """

    def __init__(
        self,
        location: str,
        clean: Callable[[str], Arrays],
        execution: dict[str, str],
        threads: int,
        gpu: bool,
    ):
        torch.set_num_threads(threads)
        self.store = Store(location)
        self.clean, self.execution = clean, execution
        self.device = torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")
        self._held: tuple[str, Split | None] = ("", None)

    def split(self, cell: Cell) -> Split:
        """The prepared data of a cell, on the device. The last one is kept."""
        key = digest([cell.data_name, cell.data.model_dump()])
        if self._held[0] != key:
            arrays = prepare(self.clean(data_source(cell)), cell.data, cell.data_name)
            self._held = (key, Split.of(arrays, self.device))
        assert self._held[1] is not None
        return self._held[1]

    def train(self, stack: Stack) -> None:
        """Train a stack and write its record, unless the record is there (a retry after a late fault)."""
        if self.store.has_record("models", stack.id):
            return
        cell, data = stack.cell, self.split(stack.cell)
        build, rows = network_of(cell, data, self.execution)
        theta, buffers = initial_rows(build, rows, [stream("init", name) for name in stack.model_ids])
        rows.to(self.device)
        t = cell.training
        trained = train(
            rows,
            theta,
            buffers,
            data,
            seeds=[stream("order", name) for name in stack.model_ids],
            batch_size=t.batch_size,
            steps=cell.steps,
            learning_rate=t.learning_rate,
            momentum=t.momentum,
            weight_decay=t.weight_decay,
            schedule=t.schedule,
            history_points=t.history_points,
        )
        self.store.write_weights(
            stack.id,
            trained.theta.cpu().numpy(),
            trained.buffers.cpu().numpy(),
            {"model_ids": stack.model_ids, "layers": [[name, list(shape)] for name, shape in rows.layers]},
        )
        history = [{"model_id": stack.model_ids[h.pop("row")], **h} for h in trained.history]
        self.store.write_record("epochs", stack.id, history)
        cost = {
            "parameters": rows.parameters,
            "wall_s": trained.wall_s / len(stack.seeds),
            "peak_memory_mb": self._peak_mb(),
            "stack": stack.id,
        }
        # Last: the stack is complete when this record is there.
        self.store.write_record(
            "models",
            stack.id,
            [{**row, **final, **cost} for row, final in zip(stack.rows(), trained.final, strict=True)],
        )

    def measure(self, task: Task) -> None:
        """Measure a cell and write the record."""
        cell, data = task.cell, self.split(task.cell)
        _, rows = network_of(cell, data, self.execution)
        rows.to(self.device)
        weights = [(self.store.read_weights(stack), take) for stack, take in task.members]
        theta, buffers = (
            torch.cat([torch.tensor(w[name][take]) for w, take in weights]).to(self.device)
            for name in ("theta", "buffers")
        )
        subject = MeasuredCell(cell.id, rows, theta, buffers, task.model_ids, data)
        module = plugin(explorer.measures, task.measure, "measure")
        measured = module.measure(subject, task.subjects, task.options)
        for kind, extra in measured.extra.items():
            self.store.write_record(kind, task.id, extra)
        self.store.write_record(task.measure, task.id, measured.rows)

    def _peak_mb(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)


def data_source(cell: Cell) -> str:
    """Name of the clean arrays a cell starts from: data set and the settings that are not corruption."""
    return json.dumps([cell.data_name, cell.data.source()], sort_keys=True)


def architecture_key(cell: Cell) -> str:
    """What decides how rows are run best: the architecture with its options."""
    return digest([cell.model_name, cell.settings["model"]], 8)


def network_of(cell: Cell, data: Split, execution: dict[str, str]) -> Any:
    """Builder and rows of a cell's architecture."""
    chosen = execution.get(architecture_key(cell))
    return network(cell.model_name, cell.model, tuple(data.x_train.shape[1:]), data.classes, chosen)  # pyright: ignore[reportArgumentType]
