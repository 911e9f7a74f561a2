"""What is to be done: the grid minus the records."""

from __future__ import annotations

import math

import explorer.measures
from explorer.engine.subjects import Trained, groups, trained_cells
from explorer.engine.work import Stack, Task
from explorer.settings import plugin
from explorer.space import Cell, Space, trials
from explorer.store import Store

IDS = {"model": ["model_id"], "pair": ["model_a", "model_b"], "cell": ["cell_id", "members"]}


def stacks(space: Space, done: frozenset[str] = frozenset()) -> list[Stack]:
    """The stacks of the space less the models that are ``done``, the longest first.

    So no worker is left with a long one at the end. Stacks follow from the space alone, since a stack is
    recorded whole; only in a space that has grown by some seeds are old and new models apart.
    """
    found = []
    for cells, seeds in trials(space.cells, space.resources.replicates_per_trial):
        left = {seed: {c.model_id(seed) for c in cells} - done for seed in seeds} if done else None
        if left is None:
            found.append(Stack(cells, seeds))
        elif any(left.values()):
            wanted = frozenset().union(*left.values())
            found.append(Stack(cells, [seed for seed in seeds if left[seed]], wanted))
    return sorted(found, key=lambda s: -s.cell.steps * s.cell.training.batch_size * _width(s.cell))


def missing_stacks(space: Space, store: Store) -> list[Stack]:
    """The stacks of models that have no record."""
    known = store.read_records("models", ["model_id"]).to_pydict().get("model_id", [])
    return stacks(space, frozenset(known))


def missing_tasks(space: Space, store: Store) -> list[Task]:
    """The measures that have no record, of the models that are trained."""
    cells = trained_cells(space, store)
    tasks: list[Task] = []
    for name, values in space.measures.items():
        module = plugin(explorer.measures, name, "measure")
        options = module.Options.model_validate(values)
        done = {tuple(row.values()) for row in store.read_records(name, IDS[module.KIND]).to_pylist()}
        for group in groups(module.KIND, space, cells, options):
            rest = [s for s in group.subjects if (s if isinstance(s, tuple) else (s,)) not in done]
            if rest:
                where = group.trained
                tasks.append(
                    Task(name, options, group.cell, where.members, where.model_ids, rest, group.seed)
                )
    return sorted(tasks, key=lambda t: -len(t.subjects) * _width(t.cell) * getattr(t.options, "steps", 1))


def _width(cell: Cell) -> int:
    width = cell.columns.get("width", 1)
    return width if isinstance(width, int) else 1


def count(space: Space) -> dict[str, int]:
    """Cells, models and pairs of the whole grid, and the curves that are fitted."""
    cells, pairs = len(space.cells), math.comb(space.seeds, 2)
    curves = 0
    if "connectivity" in space.measures:
        module = plugin(explorer.measures, "connectivity", "measure")
        options = module.Options.model_validate(space.measures["connectivity"])
        everything = {
            cell.id: Trained([cell.model_id(seed) for seed in range(cell.seeds)], []) for cell in space.cells
        }
        curves = sum(len(g.subjects) for g in groups("pair", space, everything, options))
    return {"cells": cells, "models": cells * space.seeds, "pairs": cells * pairs, "curves": curves}
