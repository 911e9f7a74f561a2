"""What is to be done: the grid minus the records."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import explorer.measures
from explorer.plan.stacks import NO_SIZES, Sizes, parts
from explorer.plan.subjects import CellMembers, Group, groups, trained_cells
from explorer.plan.units import MeasureTask, Part, Stack
from explorer.runs.store import Store
from explorer.settings import plugin
from explorer.space.model import Cell, Space

IDS = {"model": ["model_id"], "pair": ["model_a", "model_b"], "cell": ["cell_id", "members"]}


def stacks(
    space: Space,
    done: frozenset[str] = frozenset(),
    sizes: Sizes = NO_SIZES,
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
    wholes = {name: module.EXTRA for name, module, _ in measures_of(space.measures)}
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
    for name, module, _ in measures_of(space.measures):
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


@dataclass(frozen=True)
class Plan:
    """What is to be done: stacks of models without a record, or measures of trained models without one."""

    stacks: list[Stack]
    tasks: list[MeasureTask]

    def __bool__(self) -> bool:
        return bool(self.stacks or self.tasks)


def missing(
    space: Space,
    store: Store,
    sizes: Sizes = NO_SIZES,
    *,
    train: bool = True,
    given_up: frozenset[str] = frozenset(),
) -> Plan:
    """Return what has no record: the stacks or, once no stack is left, the measures.

    Args:
        train: whether models without a record are to be trained.
        given_up: ids of stacks and tasks that are not to be tried again.
    """
    stacks = (
        [stack for stack in missing_stacks(space, store, sizes) if stack.id not in given_up] if train else []
    )
    tasks = [] if stacks else [task for task in missing_tasks(space, store) if task.id not in given_up]
    return Plan(stacks, tasks)


def missing_stacks(space: Space, store: Store, sizes: Sizes = NO_SIZES) -> list[Stack]:
    """The stacks of models that have no record."""
    return stacks(space, _recorded(store), sizes)


def _recorded(store: Store) -> frozenset[str]:
    return frozenset(store.read_records("models", ["model_id"]).to_pydict().get("model_id", []))


def missing_tasks(space: Space, store: Store) -> list[MeasureTask]:
    """The measures that have no record, of the models that are trained."""
    cells = trained_cells(space, store)
    tasks: list[MeasureTask] = []
    for name, module, options in measures_of(space.measures):
        done = {tuple(row.values()) for row in store.read_records(name, IDS[module.KIND]).to_pylist()}
        for group in groups(module.KIND, space, cells, options):
            rest = [s for s in group.subjects if (s if isinstance(s, tuple) else (s,)) not in done]
            if rest:
                tasks.append(task_of(name, options, group, rest))
    return sorted(tasks, key=lambda t: -len(t.subjects) * _width(t.cell) * getattr(t.options, "steps", 1))


def measures_of(measures: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, file and checked options of each measure of a space."""
    for name, values in measures.items():
        module = plugin(explorer.measures, name, "measure")
        yield name, module, module.Options.model_validate(values)


def task_of(name: str, options: Any, group: Group, subjects: list[Any]) -> MeasureTask:
    where = group.trained
    return MeasureTask(name, options, group.cell, where.members, where.model_ids, subjects, group.seed)


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
            cell.id: CellMembers([cell.model_id(seed) for seed in range(cell.seeds)], [])
            for cell in space.cells
        }
        curves = sum(len(g.subjects) for g in groups("pair", space, everything, options))
    return {"cells": cells, "models": cells * space.seeds, "pairs": cells * pairs, "curves": curves}
