"""Plan of a run: the work of the grid that has no record yet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import explorer.measures
from explorer.measures.base import IDS, Kind, ids_of
from explorer.plan.stacks import NO_SIZES, Sizes, parts
from explorer.plan.subjects import Group, all_models, groups, trained_cells
from explorer.plan.units import MeasureTask, Part, Stack
from explorer.runs.store import Store
from explorer.settings import plugin
from explorer.space.model import Cell, CheckedSpace


def stacks(
    space: CheckedSpace,
    done: frozenset[str] = frozenset(),
    sizes: Sizes = NO_SIZES,
) -> list[Stack]:
    """Return the stacks of the space without the models that are ``done``, the longest first.

    This order avoids a long stack at the end. The stacks depend only on the space and the sizes, because a
    stack is recorded as a whole. Only in a space that has grown are old and new models in different stacks.
    """
    result = []
    for whole in parts(space, sizes):
        if not done:
            result.append(Stack(whole))
        elif left := [part for part in (_left(part, done) for part in whole) if part.seeds]:
            ids = (cell.model_id(seed) for part in left for cell in part.cells for seed in part.seeds)
            result.append(Stack(left, frozenset(ids) - done))
    return sorted(result, key=_work, reverse=True)


def _left(part: Part, done: frozenset[str]) -> Part:
    """Return the part with only those seeds that lack a model."""
    return Part(part.cells, [s for s in part.seeds if not done.issuperset(c.model_id(s) for c in part.cells)])


def _work(stack: Stack) -> int:
    cell = stack.cell
    return len(stack.rows) * cell.steps * cell.training.batch_size * _width(cell)


def drop_incomplete_records(space: CheckedSpace, store: Store, *, train: bool) -> None:
    """Delete records that lost their companion: stacks without histories, measures without points.

    The companion of a record is written first, under the same key, and so is missing only after damage.
    """
    wholes = {name: module.EXTRA for name, module, _ in measures_of(space.measures)}
    if train and space.imported is None:
        wholes["models"] = ("epochs",)
    for kind, others in wholes.items():
        for other in others:
            for key in store.by_key(kind).keys() - store.by_key(other).keys():
                store.drop_record(kind, key)


def drop_outdated(space: CheckedSpace, store: Store) -> list[str]:
    """Delete the records of measures whose numerics have changed since they were taken; return their names.

    ``run.yaml`` keeps the versions of the measures. Before it did, all were 1.
    """
    if not store.exists():
        return []
    now, kept = measure_versions(space), store.read_info().get("measure_versions", {})
    outdated = [
        name for name, version in now.items() if version != kept.get(name, 1) and store.read_records(name)
    ]
    for name in outdated:
        drop_measure(store, name)
    if now != kept:
        store.update_info(measure_versions={**kept, **now})
    return outdated


def drop_measure(store: Store, name: str) -> None:
    """Delete the records of a measure and of its extra tables."""
    for kind in (name, *plugin(explorer.measures, name, "measure").EXTRA):
        store.drop_records(kind)


def measure_versions(space: CheckedSpace) -> dict[str, int | str]:
    """Return the version of the numerics of each measure of the space: 1 if its file states none.

    The version of a user's measure is the fingerprint of its source files.
    """
    return {name: getattr(module, "VERSION", 1) for name, module, _ in measures_of(space.measures)}


def drop_settled(space: CheckedSpace, store: Store) -> None:
    """Delete failure records of work that has since been done in other stacks, after the space grew."""
    failures = store.by_key("failures")
    if not failures:
        return
    done = {("models", row["model_id"]) for row in store.read_records("models", ["model_id"]).to_pylist()}
    for name, module, _ in measures_of(space.measures):
        if module.KIND != "cell":  # a cell may have more models now
            done |= {(name, *ids) for ids in measured_ids(store, name, module.KIND)}
    for key, table in failures.items():
        rows = table.to_pylist()
        rest = [row for row in rows if _failed_work(row) not in done]
        if len(rest) < len(rows):
            store.drop_record("failures", key)
        if rest and len(rest) < len(rows):
            store.write_record("failures", key, rest)


def _failed_work(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the measure (or ``models``) of a row of ``failures``, and the ids of its subject.

    In older run folders, the measure stands only at the beginning of the error.
    """
    ids = [row[name] for name in ("model_a", "model_b", "model_id") if row.get(name)]
    if row["kind"] == "models":
        return ("models", *ids)
    return (row.get("measure") or row["error"].partition(":")[0], *ids)


@dataclass(frozen=True)
class Plan:
    """The work to do: stacks of models without a record, or measures of trained models without one."""

    stacks: list[Stack]
    tasks: list[MeasureTask]

    def __bool__(self) -> bool:
        return bool(self.stacks or self.tasks)


def missing(
    space: CheckedSpace,
    store: Store,
    sizes: Sizes = NO_SIZES,
    *,
    train: bool = True,
    given_up: frozenset[str] = frozenset(),
) -> Plan:
    """Return the work without a record: the stacks or, if no stack is left, the measures.

    Args:
        train: whether to train models without a record.
        given_up: ids of stacks and tasks that must not be tried again.
    """
    stacks = (
        [stack for stack in missing_stacks(space, store, sizes) if stack.id not in given_up] if train else []
    )
    tasks = [] if stacks else [task for task in missing_tasks(space, store) if task.id not in given_up]
    return Plan(stacks, tasks)


def missing_stacks(space: CheckedSpace, store: Store, sizes: Sizes = NO_SIZES) -> list[Stack]:
    """Return the stacks of models without a record. Of imported models, those whose weights are there."""
    recorded = store.read_records("models", ["model_id"]).to_pydict()
    if space.imported is not None:
        return imported_stacks(space, store, frozenset(recorded.get("model_id", [])))
    return stacks(space, frozenset(recorded.get("model_id", [])), sizes)


def imported_stacks(space: CheckedSpace, store: Store, done: frozenset[str]) -> list[Stack]:
    """Return the stacks of imported models that are not ``done``: losses and errors are not computed yet."""
    cells = {cell.id: cell for cell in space.cells}
    by_stack: dict[str, Part] = {}
    for row in store.read_records("imports", ["model_id", "cell_id", "seed", "stack"]).to_pylist():
        if row["model_id"] not in done and row["cell_id"] in cells:
            part = by_stack.setdefault(row["stack"], Part([cells[row["cell_id"]]], []))
            part.seeds.append(row["seed"])
    return [Stack([part]) for part in by_stack.values()]


def missing_tasks(space: CheckedSpace, store: Store) -> list[MeasureTask]:
    """Return the measures of trained models that have no record."""
    cells = trained_cells(space, store)
    tasks: list[MeasureTask] = []
    for name, module, options in measures_of(space.measures):
        done = measured_ids(store, name, module.KIND)
        for group in groups(module.KIND, space, cells, options):
            if rest := [subject for subject in group.subjects if ids_of(subject) not in done]:
                tasks.append(task_of(name, options, group, rest))
    return sorted(tasks, key=lambda t: -len(t.subjects) * _width(t.cell) * _steps(t.options))


def measured_ids(store: Store, name: str, kind: Kind) -> set[tuple[str, ...]]:
    """Return the ids of each subject that has a record of a measure."""
    return {tuple(row.values()) for row in store.read_records(name, IDS[kind]).to_pylist()}


def measures_of(measures: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the module and the checked options of each measure of a space."""
    for name, values in measures.items():
        module = plugin(explorer.measures, name, "measure")
        yield name, module, module.Options.model_validate(values)


def task_of(name: str, options: Any, group: Group, subjects: list[Any]) -> MeasureTask:
    where = group.trained
    return MeasureTask(name, options, group.cell, where.members, where.model_ids, subjects, group.seed)


def _steps(options: Any) -> int:
    steps = getattr(options, "most_steps", getattr(options, "steps", 1))
    return steps if isinstance(steps, int) else 1


def _width(cell: Cell) -> int:
    width = cell.columns.get("width", 1)
    return width if isinstance(width, int) else 1


def count(space: CheckedSpace) -> dict[str, int]:
    """Return the numbers of cells, models and pairs of the whole grid, and of the curves to fit."""
    cells, pairs = len(space.cells), math.comb(len(space.seed_numbers), 2)
    curves = sum(
        len(group.subjects)
        for name, module, options in measures_of(space.measures)
        if name == "connectivity"
        for group in groups(module.KIND, space, all_models(space), options)
    )
    return {
        "cells": cells,
        "models": cells * len(space.seed_numbers),
        "pairs": cells * pairs,
        "curves": curves,
    }
