"""What is to be done: the grid minus the records."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import explorer.measures
from explorer.engine.work import Member, Stack, Task
from explorer.measures.base import pair_name
from explorer.settings import digest, plugin
from explorer.space import Cell, Space, trials
from explorer.store import Store

PAIRS_PER_TASK = 64  # more pairs of a cell than these are measured in several stacks


def stacks(space: Space, done: Collection[str] = ()) -> list[Stack]:
    """The stacks of the space less the models that are ``done``, the longest first.

    So no worker is left with a long one at the end. Stacks follow from the space alone, since a stack is
    recorded whole; only in a space that has grown by some seeds are old and new models apart.
    """
    found = []
    for cell, seeds in trials(space.cells, space.resources.replicates_per_trial):
        left = [seed for seed in seeds if cell.model_id(seed) not in done] if done else seeds
        if left:
            found.append(Stack(cell, left))
    return sorted(found, key=lambda s: -s.cell.steps * s.cell.training.batch_size * _width(s.cell))


def _width(cell: Cell) -> int:
    width = cell.columns.get("width", 1)
    return width if isinstance(width, int) else 1


def missing_stacks(space: Space, store: Store) -> list[Stack]:
    """The stacks of models that have no record."""
    return stacks(space, set(store.read_records("models", ["model_id"]).to_pydict().get("model_id", [])))


@dataclass(frozen=True)
class Trained:
    """Where the models of a cell are that can be measured: in the order of their seeds."""

    model_ids: list[str]
    members: list[Member]


def trained_cells(space: Space, store: Store) -> dict[str, Trained]:
    """The models with status ``ok`` of each cell, by cell id."""
    columns = ["model_id", "cell_id", "stack", "weights_sha256", "seed", "status"]
    rows = store.read_records("models", columns).to_pylist()
    place: dict[str, int] = {}  # row of a model in its stack
    for row in rows:
        row["place"] = place[row["stack"]] = place.get(row["stack"], -1) + 1
    wanted = {cell.id: {cell.model_id(seed) for seed in range(cell.seeds)} for cell in space.cells}
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda r: r["seed"]):
        if row["status"] == "ok" and row["model_id"] in wanted.get(row["cell_id"], ()):
            by_cell.setdefault(row["cell_id"], []).append(row)
    result = {}
    for cell_id, models in by_cell.items():
        groups = itertools.groupby(models, lambda r: (r["stack"], r["weights_sha256"]))
        members = [Member(*which, [r["place"] for r in group]) for which, group in groups]
        result[cell_id] = Trained([r["model_id"] for r in models], members)
    return result


def pairs_of(model_ids: list[str], wanted: Any) -> list[tuple[str, str]]:
    """All pairs of a cell's models, or ``wanted`` of them drawn by content."""
    pairs = list(itertools.combinations(model_ids, 2))
    if wanted == "all" or wanted >= len(pairs):
        return pairs
    chosen = set(sorted(pairs, key=lambda pair: digest(["drawn", pair_name(pair)]))[:wanted])
    return [pair for pair in pairs if pair in chosen]


def missing_tasks(space: Space, store: Store) -> list[Task]:
    """The measures that have no record, of the models that are trained."""
    cells = trained_cells(space, store)
    tasks: list[Task] = []
    for name, values in space.measures.items():
        module = plugin(explorer.measures, name, "measure")
        options = module.Options.model_validate(values)
        ids = ["model_id"] if module.KIND == "model" else ["model_a", "model_b"]
        done = {tuple(row.values()) for row in store.read_records(name, ids).to_pylist()}
        for cell in space.cells:
            trained = cells.get(cell.id)
            if trained is None:
                continue
            for subjects in _stacked(module.KIND, trained, options):
                rest = [s for s in subjects if ((s,) if isinstance(s, str) else s) not in done]
                if rest:
                    tasks.append(Task(name, options, cell, trained.members, trained.model_ids, rest))
    return sorted(tasks, key=lambda t: -len(t.subjects) * _width(t.cell) * getattr(t.options, "steps", 1))


def _stacked(kind: str, trained: Trained, options: Any) -> list[list[Any]]:
    """What is measured side by side: it follows from the cell alone, not from what is still missing."""
    if kind == "model":
        subjects: list[Any] = list(trained.model_ids)
    else:
        subjects = pairs_of(trained.model_ids, getattr(options, "pairs", "all"))
    return [subjects[i : i + PAIRS_PER_TASK] for i in range(0, len(subjects), PAIRS_PER_TASK)]


def count(space: Space) -> dict[str, int]:
    """Cells, models and pairs of the whole grid."""
    pairs = math.comb(space.seeds, 2)
    wanted = space.measures.get("connectivity", {}).get("pairs", "all")
    curves = pairs if wanted == "all" else min(pairs, wanted)
    cells = len(space.cells)
    return {
        "cells": cells,
        "models": cells * space.seeds,
        "pairs": cells * pairs,
        "curves": cells * curves if "connectivity" in space.measures else 0,
    }
