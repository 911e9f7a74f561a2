"""Whether a space goes on with a run: the same, grown, or another one."""

from __future__ import annotations

from typing import Any

from explorer.plan import provenance
from explorer.runs.store import Store
from explorer.settings import InputError
from explorer.space.model import Space
from explorer.space.reading import parse

FREE = ("name", "description", "phases", "skip", "load", "temperature", "seeds")  # these may change, or grow

CHOSEN = {"replicates_per_trial": "all", "cells_per_trial": 1}  # what ``auto`` gives the same numbers as


def grown(info: dict[str, Any], space: Space, store: Store) -> bool:
    """Whether the space has grown since ``run.yaml`` was written: more values, seeds or measures.

    Everything that the run was to have must be in the space still, with the same stacks and budgets: then
    old and new models can be compared, and no old one is trained again.

    Raises:
        InputError: it is another space; the message shows the differences.
    """
    same_sources(info, space, store)
    old = parse(info["space"])
    differences = _differences(old, space)
    if differences:
        raise InputError(
            f"{store.location} exists with another space:\n  "
            + "\n  ".join(differences)
            + f"\nGive this one its own --name, or resume the old one: run_explore.py resume {info['name']}"
        )
    return old.frozen() != space.frozen()


def same_sources(info: dict[str, Any], space: Space, store: Store) -> None:
    """Raises InputError when the data file or the user's model is not what the run began with."""
    if not set(info.get("sources", [])) <= set(provenance.sources(space)):
        raise InputError(
            f"{store.location} began with another data file or another source of the model; what is trained "
            "already and what would be trained now could not be compared. Start a run of another --name."
        )


def _differences(old: Space, new: Space) -> list[str]:
    before, after = old.frozen(), new.frozen()
    # Where it runs, and in what order, does not matter; which models share a stack does, unless Explorer
    # chose so because it makes no difference.
    for frozen in (before, after):
        chosen = {name: frozen["resources"][name] for name in CHOSEN}
        frozen["resources"] = {name: CHOSEN[name] if v == "auto" else v for name, v in chosen.items()}
    for name in new.axes:  # the axis decides, not the value it replaces
        for section in ("data", "model", "training"):
            for frozen in (before, after):
                frozen[section].pop(name, None)
    measures = {**after["measures"], **{n: None for n in before["measures"] if n not in after["measures"]}}
    after["measures"] = {n: v for n, v in measures.items() if n in before["measures"]}  # more are welcome
    found = _compared(
        {k: v for k, v in before.items() if k not in FREE}, {k: v for k, v in after.items() if k not in FREE}
    )
    for kind in ("load", "temperature"):
        axes, others = getattr(old, kind), getattr(new, kind)
        for name in axes:
            lost = [value for value in axes[name] if value not in others.get(name, [])]
            if lost:
                found.append(f"{kind}.{name}: {lost} in the run, not now")
    if new.seeds < old.seeds:
        found.append(f"seeds: {old.seeds} in the run, {new.seeds} now")
    if not found and not {cell.id for cell in old.cells} <= {cell.id for cell in new.cells}:
        found.append("cells of the run are no longer in the grid (an axis or a skip has changed)")
    return found


def _compared(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            d for k in {**old, **new} for d in _compared(old.get(k), new.get(k), f"{path}.{k}" if path else k)
        ]
    return [] if old == new else [f"{path}: {old!r} in the run, {new!r} now"]
