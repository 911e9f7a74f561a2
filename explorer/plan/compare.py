"""Comparison of a space with the space of an existing run: unchanged, extended, or different."""

from __future__ import annotations

from typing import Any

from explorer.plan import provenance
from explorer.runs.store import Store
from explorer.settings import InputError, listed, shown
from explorer.space import recorded
from explorer.space.model import CheckedSpace
from explorer.space.trust import users_functions

FREE = (
    "name",
    "description",
    "phases",
    "skip",
    "refine",
    "load",
    "temperature",
    "seeds",
)  # these may change or grow

CHOSEN = {"replicates_per_trial": "all", "cells_per_trial": 1}  # values with the same results as ``auto``


def has_grown(info: dict[str, Any], space: CheckedSpace, store: Store) -> bool:
    """Return whether the space has grown since ``run.yaml`` was written: more values, seeds or measures.

    The space must still contain everything that the run contains, with the same stacks and budgets. Old and
    new models are then comparable, and no old model is trained again.

    Raises:
        InputError: the space is a different one; the message shows the differences.
    """
    require_same_data(info, space, store)
    old = _old_space(info, space)
    differences = _differences(old, space)
    if differences:
        raise InputError(
            f"{store.location} exists with a different space:\n  "
            + "\n  ".join(differences)
            + f"\nUse another --name for this space, or resume the run: run_explore.py resume {info['name']}"
        )
    return old.to_dict() != space.to_dict()


def _old_space(info: dict[str, Any], space: CheckedSpace) -> CheckedSpace:
    """Return the space of an existing run. Runs no functions but those of the new space."""
    if "data_sets" in info:
        return recorded.space_of(info)
    other = set(users_functions(info["space"]).values()) - space.sources.keys()
    if other:  # of a run that an earlier version wrote
        raise InputError(
            f"the run uses {listed(sorted(other))}, which the space does not; use another --name"
        )
    return recorded.working_space_of(info)


def require_same_data(info: dict[str, Any], space: CheckedSpace, store: Store) -> None:
    """Raise InputError if the user's data files have changed since the start.

    In the run of a version that kept no sources, also raise it if a user's function has changed.
    """
    if not set(info.get("sources", [])) <= set(provenance.sources(space)):
        files = "data" if space.data["name"] == "memory" else "data files"
        other = files if "kept_sources" in info else f"{files} or sources"
        raise InputError(
            f"{store.location} started with different {other}; its trained models would not be comparable "
            f"with new ones. Restore the {other}, or start a new run with another --name."
        )


def _differences(old: CheckedSpace, new: CheckedSpace) -> list[str]:
    before, after = old.to_dict(), new.to_dict()
    # Resources and order do not matter. The models that share a stack do matter, except where Explorer
    # chooses them, because its choice does not change the results.
    free = [*FREE, "imported"] if old.imported and new.imported else FREE
    for frozen in (before, after):
        for name in free:
            frozen.pop(name, None)
        chosen = {name: frozen["resources"][name] for name in CHOSEN}
        frozen["resources"] = {name: CHOSEN[name] if v == "auto" else v for name, v in chosen.items()}
    for name in new.axes:  # the axis replaces this value
        for section in ("data", "model", "training"):
            for frozen in (before, after):
                frozen[section].pop(name, None)
    # Added measures are allowed.
    after["measures"] = {name: after["measures"].get(name) for name in before["measures"]}
    differences = _compared(before, after)
    for kind in ("load", "temperature"):
        axes, others = getattr(old, kind), getattr(new, kind)
        for name in axes:
            lost = [value for value in axes[name] if value not in others.get(name, [])]
            if lost:
                differences.append(f"{kind}.{name}: {lost} in the run, not now")
    if lost := [seed for seed in old.seed_numbers if seed not in new.seed_numbers]:
        differences.append(f"seeds: {lost} in the run, not now")
    if not differences and not {cell.id for cell in old.cells} <= {cell.id for cell in new.cells}:
        differences.append("some cells of the run are no longer in the grid (an axis or skip has changed)")
    return differences


def _compared(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            d for k in {**old, **new} for d in _compared(old.get(k), new.get(k), f"{path}.{k}" if path else k)
        ]
    return [] if old == new else [f"{path}: {shown(old)} in the run, {shown(new)} now"]
