"""What is to be done: the grid minus the records."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import explorer.measures
from explorer.engine.stacks import NONE, Sizes, parts
from explorer.engine.subjects import (
    Group,
    Trained,
    cell_groups,
    groups,
    trained_cells,
    trained_of,
    within_cell,
)
from explorer.engine.work import Part, Stack, Task
from explorer.settings import plugin
from explorer.space import Cell, Space
from explorer.store import Store

IDS = {"model": ["model_id"], "pair": ["model_a", "model_b"], "cell": ["cell_id", "members"]}


def stacks(
    space: Space,
    done: frozenset[str] = frozenset(),
    sizes: Sizes = NONE,
) -> list[Stack]:
    """The stacks of the space less the models that are ``done``, the longest first.

    So no worker is left with a long one at the end. Stacks follow from the space and the sizes alone, since
    a stack is recorded whole; only in a space that has grown are old and new models apart.
    """
    found = []
    for whole in parts(space, sizes):
        if not done:
            found.append(Stack(whole))
        elif left := [part for part in (_left(part, done) for part in whole) if part.seeds]:
            ids = (cell.model_id(seed) for part in left for cell in part.cells for seed in part.seeds)
            found.append(Stack(left, frozenset(ids) - done))
    return sorted(found, key=_work, reverse=True)


def _left(part: Part, done: frozenset[str]) -> Part:
    """The seeds of which a model is missing."""
    return Part(part.cells, [s for s in part.seeds if not done.issuperset(c.model_id(s) for c in part.cells)])


def _work(stack: Stack) -> int:
    cell = stack.cell
    return len(stack.rows) * cell.steps * cell.training.batch_size * _width(cell)


def drop_halves(space: Space, store: Store, *, train: bool) -> None:
    """Take back the records whose other half is lost: stacks without histories, measures without points.

    What belongs to a record is written before it, under the same key; so it is missing only after damage.
    """
    wholes = {name: module.EXTRA for name, module, _ in _measures(space.measures)}
    if train:
        wholes["models"] = ("epochs",)
    for kind, others in wholes.items():
        for other in others:
            for key in store.by_key(kind).keys() - store.by_key(other).keys():
                store.drop_record(kind, key)


def drop_settled(space: Space, store: Store) -> None:
    """Take back the failures of what has been done since as a part of other work: the space had grown."""
    failures = store.by_key("failures")
    if not failures:
        return
    done = {("models", row["model_id"]) for row in store.read_records("models", ["model_id"]).to_pylist()}
    for name, module, _ in _measures(space.measures):
        if module.KIND != "cell":  # of a cell's models there may be more now
            done |= {(name, *row.values()) for row in store.read_records(name, IDS[module.KIND]).to_pylist()}
    for key, table in failures.items():
        rows = table.to_pylist()
        rest = [row for row in rows if _failed(row) not in done]
        if len(rest) < len(rows):
            store.drop_record("failures", key)
        if rest and len(rest) < len(rows):
            store.write_record("failures", key, rest)


def _failed(row: dict[str, Any]) -> tuple[str, ...]:
    """Of a row of ``failures``: the measure (or ``models``) and what it is of."""
    ids = [row[name] for name in ("model_a", "model_b", "model_id") if row.get(name)]
    return ("models" if row["kind"] == "models" else row["error"].partition(":")[0], *ids)


def missing_stacks(space: Space, store: Store, sizes: Sizes = NONE) -> list[Stack]:
    """The stacks of models that have no record."""
    return stacks(space, _recorded(store), sizes)


def untrained(space: Space, store: Store) -> bool:
    """Whether a model has no record."""
    done = _recorded(store)
    return any(cell.model_id(seed) not in done for cell in space.cells for seed in range(cell.seeds))


def _recorded(store: Store) -> frozenset[str]:
    return frozenset(store.read_records("models", ["model_id"]).to_pydict().get("model_id", []))


def missing_tasks(space: Space, store: Store) -> list[Task]:
    """The measures that have no record, of the models that are trained."""
    cells = trained_cells(space, store)
    tasks: list[Task] = []
    for name, module, options in _measures(space.measures):
        done = {tuple(row.values()) for row in store.read_records(name, IDS[module.KIND]).to_pylist()}
        for group in groups(module.KIND, space, cells, options):
            rest = [s for s in group.subjects if (s if isinstance(s, tuple) else (s,)) not in done]
            if rest:
                tasks.append(_task(name, options, group, rest))
    return sorted(tasks, key=lambda t: -len(t.subjects) * _width(t.cell) * getattr(t.options, "steps", 1))


def together(stacks: list[Stack]) -> list[list[int]]:
    """For each stack the places of those that hold all models of its cells, its own among them.

    Empty where some of the models were trained before, in a stack that is not one of these.
    """
    found: dict[str, list[int]] = {}
    for place, stack in enumerate(stacks):
        found.setdefault(stack.cell.id, []).append(place)
    whole = {}
    for cell_id, places in found.items():
        some = [stacks[place] for place in places]
        whole[cell_id] = sum(len(s.models) for s in some) == sum(cell.seeds for cell in _cells(some))
    return [found[stack.cell.id] if whole[stack.cell.id] else [] for stack in stacks]


def tasks_of(stacks: list[Stack], measures: dict[str, Any], store: Store) -> list[Task]:
    """What is to be measured within the cells of these stacks, which hold all of their models.

    The same tasks as :func:`missing_tasks` finds, from the records of these stacks alone. None while one
    of these is missing, or lies in a folded file.
    """
    rows = []
    for stack in stacks:
        record = store.read_record("models", stack.id)
        if not record:
            return []
        rows += record
    cells = _cells(stacks)
    trained = trained_of(cells, rows)
    tasks = [
        _task(name, options, group, group.subjects)
        for name, module, options in _measures(measures)
        if within_cell(module.KIND, options)
        for cell in cells
        if cell.id in trained
        for group in cell_groups(module.KIND, cell, trained[cell.id], options)
    ]
    return [task for task in tasks if not store.has_record(task.measure, task.id)]


def expected(stacks: list[Stack], measures: dict[str, Any]) -> int:
    """Measurements within the cells of these stacks, if every model is trained."""
    cells = _cells(stacks)
    return sum(
        len(group.subjects)
        for _, module, options in _measures(measures)
        if within_cell(module.KIND, options)
        for cell in cells
        for group in cell_groups(
            module.KIND, cell, Trained([cell.model_id(seed) for seed in range(cell.seeds)], []), options
        )
    )


def _cells(stacks: list[Stack]) -> list[Cell]:
    """The different cells of these stacks."""
    return list({cell.id: cell for stack in stacks for cell in stack.cells}.values())


def _measures(measures: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, file and checked options of each measure of a space."""
    for name, values in measures.items():
        module = plugin(explorer.measures, name, "measure")
        yield name, module, module.Options.model_validate(values)


def _task(name: str, options: Any, group: Group, subjects: list[Any]) -> Task:
    where = group.trained
    return Task(name, options, group.cell, where.members, where.model_ids, subjects, group.seed)


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
