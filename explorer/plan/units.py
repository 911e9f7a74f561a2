"""Units of work: a stack of models to train, a measure of a cell to take. No torch, no Ray."""

from __future__ import annotations

import functools
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import explorer.measures
from explorer.settings import digest, plugin
from explorer.space.model import Cell


@dataclass(frozen=True)
class Part:
    """Replicates of one training, taken at one or more checkpoints (a cell each)."""

    cells: list[Cell]
    seeds: list[int]

    @property
    def cell(self) -> Cell:
        """The cell at the end of the training."""
        return self.cells[-1]


class Model(NamedTuple):
    """A model of a stack, and its row there."""

    id: str
    cell: Cell
    seed: int
    row: int


@dataclass(frozen=True)
class Stack:
    """Models of one shape that are trained side by side, each part with its own settings.

    ``wanted`` are the models that have no record yet.
    """

    parts: list[Part]
    wanted: frozenset[str] | None = None
    kind = "training"

    @property
    def size(self) -> int:
        """Number of its models."""
        return len(self.models)

    @property
    def cell(self) -> Cell:
        """One of its cells: all have the shapes, the steps and the inputs in common."""
        return self.parts[0].cell

    @property
    def steps(self) -> int:
        """Optimiser steps until its last checkpoint."""
        return self.cell.checkpoint_step

    @property
    def cells(self) -> list[Cell]:
        return [cell for part in self.parts for cell in part.cells]

    @functools.cached_property
    def rows(self) -> list[tuple[Part, int]]:
        """Training and seed of each row."""
        return [(part, seed) for part in self.parts for seed in part.seeds]

    @functools.cached_property
    def models(self) -> list[Model]:
        """Its models, in the order of parts, checkpoints, seeds."""
        every, first = [], 0
        for part in self.parts:
            every += [
                Model(cell.model_id(seed), cell, seed, first + row)
                for cell in part.cells
                for row, seed in enumerate(part.seeds)
            ]
            first += len(part.seeds)
        return [m for m in every if self.wanted is None or m.id in self.wanted]

    @functools.cached_property
    def model_ids(self) -> list[str]:
        return [model.id for model in self.models]

    @functools.cached_property
    def streams(self) -> list[str]:
        """What seeds the random streams of each row: the model at the end of its training."""
        return [part.cell.whole.model_id(seed) for part, seed in self.rows]

    @functools.cached_property
    def id(self) -> str:
        return digest(self.model_ids)

    @functools.cached_property
    def at(self) -> dict[str, Any]:
        """Where it is in the grid: the value of each axis, or its first and last."""
        cells = self.cells
        found = {}
        for axis in cells[0].at:
            values = list(dict.fromkeys(cell.at[axis] for cell in cells))
            found[axis] = values[0] if len(values) == 1 else f"{values[0]}…{values[-1]}"
        return found

    def records(self) -> list[dict[str, Any]]:
        """Ids and settings of its models, as the first columns of the ``models`` table."""
        return [
            {"model_id": m.id, "cell_id": m.cell.id, **m.cell.columns, "seed": m.seed} for m in self.models
        ]

    def failure_rows(self, what: dict[str, str]) -> list[dict[str, Any]]:
        """Return rows of kind ``failures`` with the error and traceback of ``what``."""
        return [{"kind": "models", **row, **what} for row in self.records()]


@dataclass(frozen=True)
class Member:
    """Where some models of a cell are: rows of a stack's weights, whose file has this checksum."""

    stack: str
    sha256: str | None
    rows: list[int]


@dataclass(frozen=True)
class MeasureTask:
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

    @property
    def kind(self) -> str:
        return self.measure

    @property
    def size(self) -> int:
        """Number of its measurements."""
        return len(self.subjects)

    @property
    def at(self) -> dict[str, Any]:
        """Where it is in the grid: the value of each axis."""
        return self.cell.at

    def subject_rows(self) -> list[dict[str, Any]]:
        """Ids of what it measures."""
        if isinstance(self.subjects[0], str):
            return [{"model_id": name} for name in self.subjects]
        if plugin(explorer.measures, self.measure, "measure").KIND == "cell":
            return [{"cell_id": cell_id} for cell_id, _ in self.subjects]
        return [{"model_a": a, "model_b": b} for a, b in self.subjects]

    def failure_rows(self, what: dict[str, str]) -> list[dict[str, Any]]:
        """Return rows of kind ``failures`` with the error and traceback of ``what``."""
        rows = self.subject_rows()
        kind = "pairs" if "model_a" in rows[0] else "measures"
        named = {**what, "error": f"{self.measure}: {what['error']}"}
        return [{"kind": kind, **row, **named} for row in rows]


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
