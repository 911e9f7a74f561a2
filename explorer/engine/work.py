"""Units of work: a stack of models to train, a measure of a cell to take. No torch, no Ray."""

from __future__ import annotations

import functools
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import explorer.measures
from explorer.settings import digest, plugin
from explorer.space import Cell

if TYPE_CHECKING:
    from explorer.engine.worker import Worker

MakeWorker = Callable[[float], "Worker"]  # from the number of GPUs that it has


@dataclass(frozen=True)
class Stack:
    """Replicates that are trained together, taken at one or more checkpoints (a cell each).

    ``wanted`` are the models that have no record yet, in the order of cells, then seeds.
    """

    cells: list[Cell]
    seeds: list[int]
    wanted: frozenset[str] | None = None

    @property
    def cell(self) -> Cell:
        return self.cells[-1]

    @functools.cached_property
    def models(self) -> list[tuple[str, Cell, int]]:
        """Id, cell and seed of each of its models."""
        every = [(cell.model_id(seed), cell, seed) for cell in self.cells for seed in self.seeds]
        return [m for m in every if self.wanted is None or m[0] in self.wanted]

    @functools.cached_property
    def model_ids(self) -> list[str]:
        return [model_id for model_id, _, _ in self.models]

    @functools.cached_property
    def streams(self) -> list[str]:
        """What seeds the random streams of each replicate: the model at the end of its training."""
        return [self.cell.whole.model_id(seed) for seed in self.seeds]

    @functools.cached_property
    def id(self) -> str:
        return digest(self.model_ids)

    def rows(self) -> list[dict[str, Any]]:
        """Ids and settings of its models, as the first columns of the ``models`` table."""
        return [
            {"model_id": name, "cell_id": cell.id, **cell.columns, "seed": seed}
            for name, cell, seed in self.models
        ]


@dataclass(frozen=True)
class Member:
    """Where some models of a cell are: rows of a stack's weights, whose file has this checksum."""

    stack: str
    sha256: str | None
    rows: list[int]


@dataclass(frozen=True)
class Task:
    """One measure of one cell: the models or pairs that are still to be measured.

    ``members`` say where the cell's models are, in the order of ``model_ids``. ``seed`` is the replicate on
    whose data it is taken, where each has its own.
    """

    measure: str
    options: Any
    cell: Cell
    members: list[Member]
    model_ids: list[str]
    subjects: list[Any] = field(hash=False)
    seed: int = 0

    @functools.cached_property
    def id(self) -> str:
        return digest([self.measure, self.subjects])

    def subject_rows(self) -> list[dict[str, Any]]:
        """Ids of what it measures."""
        if isinstance(self.subjects[0], str):
            return [{"model_id": name} for name in self.subjects]
        if plugin(explorer.measures, self.measure, "measure").KIND == "cell":
            return [{"cell_id": cell_id} for cell_id, _ in self.subjects]
        return [{"model_a": a, "model_b": b} for a, b in self.subjects]


class Span(NamedTuple):
    """When a piece of work was done and by which process; ``began`` is in seconds since 1970."""

    began: float
    seconds: float
    host: str
    pid: int


def span_of(work: Callable[[], object]) -> Span:
    """Do it; returns when, how long, and by whom."""
    began, mark = time.time(), time.perf_counter()
    work()
    return Span(began, time.perf_counter() - mark, socket.gethostname(), os.getpid())


@dataclass(frozen=True)
class Done:
    """A piece of work that has ended: ``number`` models trained, or measurements taken.

    Args:
        kind: ``training``, or the name of the measure.
        at: where in the grid.
        span: None for what failed: there is nobody to say.
        error: what it failed with for good.
    """

    kind: str
    number: int
    at: dict[str, Any]
    span: Span | None
    error: str = ""


def data_source(cell: Cell) -> str:
    """Name of the clean arrays a cell starts from: data set and the settings that are not corruption."""
    return json.dumps([cell.data_name, cell.data.source()], sort_keys=True)


def architecture_key(cell: Cell) -> str:
    """The architecture with its options."""
    return digest([cell.model_name, cell.settings["model"]], 8)


def step_key(cell: Cell, batch_size: int) -> str:
    """What decides how the rows of a step are run best: the architecture, and the size of the batch."""
    return f"{architecture_key(cell)} {batch_size}"
