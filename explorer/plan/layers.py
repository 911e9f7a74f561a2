"""Check that the layers to compare exist in the networks of a space. Runs before any record changes."""

from __future__ import annotations

from typing import Any

import explorer.data
from explorer.plan.stacks import shape_of
from explorer.settings import InputError, digest, plugin
from explorer.space.model import Cell, Space


def check_layers(space: Space) -> None:
    """Check that one network of each kind has the ``layers`` of ``similarity``. Width does not change names.

    Does nothing if no layers are given. Otherwise it loads torch and the data and builds the networks.

    Raises:
        InputError: a network of the space lacks one of the layers.
    """
    layers = space.measures.get("similarity", {}).get("layers")
    if not layers:
        return
    kinds = {_kind(cell): cell for cell in space.cells}
    for cell in kinds.values():
        known = _names(cell)
        if missing := [name for name in layers if name not in known]:
            raise InputError(
                f"measures.similarity.layers: {cell.model_name} has no layer {missing[0]!r}; "
                f"it has {', '.join(known)}"
            )


def _kind(cell: Cell) -> str:
    options: dict[str, Any] = cell.settings["model"]
    return digest({name: value for name, value in options.items() if name != "width"})


def _names(cell: Cell) -> list[str]:
    from explorer.models.base import network

    clean = plugin(explorer.data, cell.data_name, "data set").load(cell.data)
    _, rows = network(cell.model_name, cell.model, *shape_of(clean, cell), task=cell.task)
    return [name for name, _ in rows.module.named_modules() if name]
