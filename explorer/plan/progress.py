"""Progress of a run: what is trained and measured, of all that its space asks for, and who works on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from explorer.measures.base import ids_of
from explorer.measures.tables import MODELS
from explorer.plan.plan import measured_ids, measures_of
from explorer.plan.refinement import is_open, rounds_of, space_of_rounds
from explorer.plan.subjects import CellMembers, all_models, groups
from explorer.runs.lock import holder
from explorer.runs.store import Store
from explorer.settings import listed
from explorer.space.model import CheckedSpace
from explorer.units import axis_value


@dataclass(frozen=True)
class Count:
    """Number of models or measurements that are done, of those that the space asks for."""

    done: int
    wanted: int
    noun: str = "models"

    @property
    def missing(self) -> int:
        return self.wanted - self.done

    def __str__(self) -> str:
        return f"{self.done:,} of {self.wanted:,} {self.noun}"


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Args:
        models: trained models; those that diverged count, and nothing of them is measured.
        diverged: number of models that diverged.
        untrained: axis values of which no model is trained, as ``batch_size 64, 128``.
        measures: by name.
        planned: the axes, and the columns of the tables with their measure.
        choosing: a refined run is still to choose cells. What is wanted are the cells chosen so far.
        cells: chosen cells, of those of the grid.
        holder: the process that works on the run now; empty if none does.
    """

    models: Count
    diverged: int = 0
    untrained: str = ""
    measures: dict[str, Count] = field(default_factory=dict)
    planned: dict[str, str] = field(default_factory=dict)
    holder: str = ""
    choosing: bool = False
    cells: Count = Count(0, 0, "cells")

    @property
    def complete(self) -> bool:
        return not (
            self.choosing or self.models.missing or any(count.missing for count in self.measures.values())
        )

    @property
    def measured(self) -> str:
        """The measures that are not complete, in words; empty if there are none."""
        return listed(f"{name} of {count}" for name, count in self.measures.items() if count.missing)

    @property
    def unfinished(self) -> str:
        """What an unfinished run lacks, and who works on it; empty for a complete run."""
        if self.complete:
            return ""
        measured = f" Measured: {self.measured}." if self.measured else ""
        who = (
            f"{self.holder} works on it now"
            if self.holder
            else "Nobody works on it now; `resume` does the rest"
        )
        more = ", and more cells are to be chosen" if self.choosing else ""
        return f"This run is not finished: {self.models} are trained{more}.{measured} {who}."

    @property
    def lacking(self) -> dict[str, str]:
        """What a claim about a column still needs, by column; under ``models`` what all claims need."""
        counts = {column: (name, self.measures.get(name)) for column, name in self.planned.items()}
        needs = {
            column: f"{name} of {count.missing:,} {count.noun}"
            for column, (name, count) in counts.items()
            if count and count.missing
        }
        if self.models.missing:
            which = f" (no model of {self.untrained} is)" if self.untrained else ""
            needs["models"] = f"the {self.models.missing:,} models that are not trained yet{which}"
        return needs


def progress(space: CheckedSpace, store: Store) -> Progress:
    """Return how far a run is, from its records."""
    whole, rounds = space, rounds_of(store)
    space = space_of_rounds(space, rounds)
    rows = store.read_records("models", ["model_id", "status"]).to_pylist()
    status = {row["model_id"]: row["status"] for row in rows}
    every = all_models(space)
    trained = {cell: [i for i in members.model_ids if i in status] for cell, members in every.items()}
    usable = {
        cell: CellMembers(ids, [])
        for cell, members in every.items()
        if (ids := [i for i in members.model_ids if status.get(i, "ok") == "ok"])
    }
    measures, planned = {}, dict.fromkeys([*space.axes, *MODELS], "")
    for name, module, options in measures_of(space.measures):
        done = measured_ids(store, name, module.KIND)
        subjects = [s for group in groups(module.KIND, space, usable, options) for s in group.subjects]
        counted = sum(ids_of(subject) in done for subject in subjects)
        measures[name] = Count(counted, len(subjects), f"{module.KIND}s")
        planned |= dict.fromkeys(module.COLUMNS, name)
    models = Count(sum(map(len, trained.values())), space.n_models)
    diverged = list(status.values()).count("diverged")
    cells = Count(len(space.cells), len(whole.cells), "cells")
    now = (diverged, _untrained(space, trained), measures, planned, holder(store.files))
    return Progress(models, *now, is_open(whole, rounds), cells)


def _untrained(space: CheckedSpace, trained: dict[str, list[str]]) -> str:
    """Return the axis values of which no model is trained; empty if no model is trained at all."""
    with_models = [cell for cell in space.cells if trained[cell.id]]
    lacking = []
    for axis, values in space.axes.items() if with_models else ():
        without = {cell.at[axis] for cell in space.cells} - {cell.at[axis] for cell in with_models}
        if without:
            lacking.append(f"{axis} {', '.join(axis_value(v) for v in values if v in without)}")
    return ", ".join(lacking)
