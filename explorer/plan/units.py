"""Units of work: a stack of models to train, or a measure of a cell. Imports neither torch nor Ray."""

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
from explorer.measures.base import IDS, ids_of
from explorer.settings import digest, plugin
from explorer.space.model import Cell
from explorer.space.training import TrainingOptions, Use, names_of


@dataclass(frozen=True)
class Part:
    """Replicates of one training, taken at one or more checkpoints. Each checkpoint is a cell."""

    cells: list[Cell]
    seeds: list[int]

    @property
    def cell(self) -> Cell:
        """The cell at the end of the training."""
        return self.cells[-1]


class Model(NamedTuple):
    """A model and its row in a stack."""

    id: str
    cell: Cell
    seed: int
    row: int


@dataclass(frozen=True)
class Stack:
    """Models of one shape that are trained together, each part with its own settings.

    ``wanted`` has the models without a record; None means all.
    """

    parts: list[Part]
    wanted: frozenset[str] | None = None

    @property
    def kind(self) -> str:
        """What is done with the models: ``training``, or ``importing`` if they were trained elsewhere."""
        return "importing" if self.cell.imported else "training"

    @property
    def size(self) -> int:
        """Number of models."""
        return len(self.models)

    @property
    def cell(self) -> Cell:
        """One of the cells. All cells of a stack share shapes, steps and inputs."""
        return self.parts[0].cell

    @property
    def steps(self) -> int:
        """Optimiser steps until the last checkpoint."""
        return self.cell.checkpoint_step

    @property
    def cells(self) -> list[Cell]:
        return [cell for part in self.parts for cell in part.cells]

    @functools.cached_property
    def rows(self) -> list[tuple[Part, int]]:
        """Part and seed of each row."""
        return [(part, seed) for part in self.parts for seed in part.seeds]

    @functools.cached_property
    def models(self) -> list[Model]:
        """The models, ordered by part, checkpoint and seed."""
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
        """Seed content of each row's random streams: the id of the model at the end of the training."""
        return [part.cell.final.model_id(seed) for part, seed in self.rows]

    @functools.cached_property
    def id(self) -> str:
        return digest(self.model_ids)

    @functools.cached_property
    def at(self) -> dict[str, Any]:
        """Location in the grid: the value of each axis, or the first and the last one."""
        cells = self.cells
        location = {}
        for axis in cells[0].at:
            values = list(dict.fromkeys(cell.at[axis] for cell in cells))
            location[axis] = values[0] if len(values) == 1 else f"{values[0]}…{values[-1]}"
        return location

    def records(self) -> list[dict[str, Any]]:
        """Return ids and settings of the models: the first columns of the ``models`` table."""
        return [
            {"model_id": m.id, "cell_id": m.cell.id, **m.cell.columns, "seed": m.seed} for m in self.models
        ]

    def failure_rows(self, error: str, traceback: str) -> list[dict[str, Any]]:
        """Return rows of kind ``failures``."""
        return [{"kind": "models", **row, "error": error, "traceback": traceback} for row in self.records()]


@dataclass(frozen=True)
class Member:
    """Location of some models of a cell: rows of a stack's weights, and the checksum of their file."""

    stack: str
    sha256: str | None
    rows: list[int]


@dataclass(frozen=True)
class MeasureTask:
    """One measure of one cell, for the models or pairs without a record.

    ``members`` has the locations of the cell's models, in the order of ``model_ids``. If each replicate has
    its own data, the measure uses the data of replicate ``seed``.
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
        """Number of measurements."""
        return len(self.subjects)

    @property
    def at(self) -> dict[str, Any]:
        """Location in the grid: the value of each axis."""
        return self.cell.at

    def failure_rows(self, error: str, traceback: str) -> list[dict[str, Any]]:
        """Return rows of kind ``failures``."""
        subject_kind = plugin(explorer.measures, self.measure, "measure").KIND
        rows = []
        for subject in self.subjects:
            row = {"kind": "pairs" if subject_kind == "pair" else "measures", "measure": self.measure}
            row |= dict(zip(IDS[subject_kind], ids_of(subject), strict=True))
            row.pop("members", None)
            rows.append({**row, "error": f"{self.measure}: {error}", "traceback": traceback})
        return rows


class Span(NamedTuple):
    """Time and process of a piece of work; ``began`` is in seconds since 1970."""

    began: float
    seconds: float
    host: str
    pid: int


def span_of(work: Callable[[], object]) -> Span:
    """Do the work and return its start, its duration and its process."""
    began, mark = time.time(), time.perf_counter()
    work()
    return Span(began, time.perf_counter() - mark, socket.gethostname(), os.getpid())


@dataclass(frozen=True)
class Outcome:
    """A finished or failed piece of work: ``number`` models or measurements.

    Args:
        kind: ``training``, ``importing``, or the name of the measure.
        at: location in the grid.
        span: time and process; None if the work failed, since no process reports it then.
        error: the error of the last try; empty if the work succeeded.
    """

    kind: str
    number: int
    at: dict[str, Any]
    span: Span | None
    error: str = ""


def settings_of_row(training: TrainingOptions) -> dict[str, float]:
    """Return the settings that may differ between the models of a stack, with the scaled learning rate."""
    names = names_of(Use.MODEL) - {"linear_scaling"}
    return {name: getattr(training, name) for name in names} | {"learning_rate": training.rate}


def data_source(cell: Cell) -> str:
    """Return the name of a cell's clean arrays: the data set and its settings except those of corruption."""
    return json.dumps([cell.data_name, cell.data.source()], sort_keys=True)


def architecture_key(cell: Cell) -> str:
    """Return a key of the architecture with its options."""
    return digest([cell.model_name, cell.settings["model"]], 8)


def step_key(cell: Cell, batch_size: int) -> str:
    """Return the key by which the execution of a step is chosen: architecture and batch size."""
    return f"{architecture_key(cell)} {batch_size}"
