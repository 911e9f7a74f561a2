"""Subjects of the measures: models, pairs and cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from explorer.measures.base import Kind, Pair, pair_name
from explorer.plan.units import Member, architecture_key
from explorer.runs.store import Store
from explorer.settings import digest
from explorer.space.model import Cell, CheckedSpace

AT_ONCE = 64  # maximum number of models or pairs of a cell per task


@dataclass(frozen=True)
class CellMembers:
    """Locations of trained models, in the order of their seeds."""

    model_ids: list[str]
    members: list[Member]


@dataclass(frozen=True)
class Group:
    """Subjects that are measured together. Groups depend on the space, not on the work that is left.

    If each replicate has its own data, all ``subjects`` are measured on the data of replicate ``seed``: a
    model on its own data, a pair on the data of its first model, a cell on the data of its first replicate.
    """

    cell: Cell
    trained: CellMembers
    subjects: list[Any]
    seed: int = 0


def all_models(space: CheckedSpace) -> dict[str, CellMembers]:
    """Return all models of each cell, by cell id, without their locations."""
    return {cell.id: CellMembers([cell.model_id(i) for i in cell.seeds], []) for cell in space.cells}


def trained_cells(space: CheckedSpace, store: Store) -> dict[str, CellMembers]:
    """Return the models with status ``ok`` of each cell, by cell id."""
    columns = ["model_id", "cell_id", "stack", "weights_sha256", "seed", "status"]
    return trained_of(space.cells, store.read_records("models", columns).to_pylist())


def trained_of(cells: list[Cell], rows: list[dict[str, Any]]) -> dict[str, CellMembers]:
    """Return the models with status ``ok`` of some cells, from the complete records of their stacks."""
    last_row: dict[str, int] = {}  # row of a model in its stack
    for row in rows:
        row["place"] = last_row[row["stack"]] = last_row.get(row["stack"], -1) + 1
    wanted = {cell.id: {cell.model_id(seed) for seed in cell.seeds} for cell in cells}
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda r: r["seed"]):
        if row["status"] == "ok" and row["model_id"] in wanted.get(row["cell_id"], ()):
            by_cell.setdefault(row["cell_id"], []).append(row)
    result = {}
    for cell_id, models in by_cell.items():
        runs = itertools.groupby(models, lambda r: (r["stack"], r["weights_sha256"]))
        members = [Member(*which, [r["place"] for r in group]) for which, group in runs]
        result[cell_id] = CellMembers([r["model_id"] for r in models], members)
    return result


def groups(kind: Kind, space: CheckedSpace, cells: dict[str, CellMembers], options: Any) -> Iterator[Group]:
    """Yield the subjects of a measure in groups."""
    if not within_cell(kind, options):
        yield from _beyond(space, cells, options.pairs)
        return
    for cell in space.cells:
        if cell.id in cells:
            yield from cell_groups(kind, cell, cells[cell.id], options)


def cell_groups(kind: Kind, cell: Cell, trained: CellMembers, options: Any) -> Iterator[Group]:
    """Yield the subjects of a measure within one cell in groups."""
    if kind == "cell":
        first = next(seed for seed in cell.seeds if cell.model_id(seed) == trained.model_ids[0])
        yield Group(cell, trained, [(cell.id, digest(trained.model_ids))], first)
        return
    if kind == "model":
        subjects: list[Any] = list(trained.model_ids)
    else:
        subjects = pairs_of(trained.model_ids, getattr(options, "pairs", "all"))
    yield from _parts(cell, trained, subjects)


def _parts(cell: Cell, trained: CellMembers, subjects: list[Any]) -> Iterator[Group]:
    """Split subjects whose first model is in this cell by size and by the data they are measured on."""
    by_seed: dict[int, list[Any]] = {0: subjects}
    if cell.data_per_seed:
        seeds, by_seed = {cell.model_id(seed): seed for seed in cell.seeds}, {}
        for subject in subjects:
            first = subject if isinstance(subject, str) else subject[0]
            by_seed.setdefault(seeds[first], []).append(subject)
    for seed, some in by_seed.items():
        for start in range(0, len(some), AT_ONCE):
            yield Group(cell, trained, some[start : start + AT_ONCE], seed)


def within_cell(kind: Kind, options: Any) -> bool:
    """Return whether the measure compares models of the same cell only."""
    pairs = getattr(options, "pairs", "all")
    return kind != "pair" or isinstance(pairs, int | str) or hasattr(pairs, "within")


def pairs_of(model_ids: list[str], wanted: Any) -> list[Pair]:
    """Return all pairs of a cell's models, or ``wanted`` of them, drawn by content hash."""
    pairs = list(itertools.combinations(model_ids, 2))
    return _drawn(pairs, wanted) if isinstance(wanted, int) else pairs


def _drawn(pairs: list[Pair], wanted: int) -> list[Pair]:
    chosen = set(sorted(pairs, key=lambda pair: digest(["drawn", pair_name(pair)]))[:wanted])
    return [pair for pair in pairs if pair in chosen]


def _beyond(space: CheckedSpace, cells: dict[str, CellMembers], wanted: Any) -> Iterator[Group]:
    """Yield pairs of models of different cells, grouped by the cell of the first model."""
    by_first: dict[str, list[Pair]] = {}
    cell_of = {model: cell_id for cell_id, trained in cells.items() for model in trained.model_ids}
    by_id = {cell.id: cell for cell in space.cells}
    if hasattr(wanted, "along"):
        pairs = list(_neighbours(space, cells, wanted.along))
    else:
        kinds: dict[str, list[str]] = {}
        for cell in space.cells:
            kinds.setdefault(architecture_key(cell), []).extend(
                cells[cell.id].model_ids if cell.id in cells else []
            )
        everything = [pair for ids in kinds.values() for pair in itertools.combinations(ids, 2)]
        pairs = _drawn(everything, wanted.count)
    for a, b in pairs:
        by_first.setdefault(cell_of[a], []).append((a, b))
    for cell_id, subjects in by_first.items():
        for part in _parts(by_id[cell_id], cells[cell_id], subjects):
            cell_ids = dict.fromkeys([cell_id, *(cell_of[b] for _, b in part.subjects)])
            trained = CellMembers(
                [model for cell_id in cell_ids for model in cells[cell_id].model_ids],
                [member for cell_id in cell_ids for member in cells[cell_id].members],
            )
            yield replace(part, trained=trained)


def _neighbours(space: CheckedSpace, cells: dict[str, CellMembers], axis: str) -> Iterator[Pair]:
    """Yield pairs with the same seed at neighbouring values of an axis, all else equal.

    Numbers are sorted first. Other values keep their order in the space.
    """
    values = space.axes[axis]
    numbers = all(isinstance(value, int | float) for value in values)
    order = {value: place for place, value in enumerate(sorted(values) if numbers else values)}
    lines: dict[str, list[Cell]] = {}
    for cell in space.cells:
        lines.setdefault(digest({k: v for k, v in cell.at.items() if k != axis}), []).append(cell)
    for line in lines.values():
        line.sort(key=lambda cell: order[cell.at[axis]])
        for left, right in itertools.pairwise(line):
            if left.id in cells and right.id in cells:
                for seed in left.seeds:
                    pair = (left.model_id(seed), right.model_id(seed))
                    if pair[0] in cells[left.id].model_ids and pair[1] in cells[right.id].model_ids:
                        yield pair
