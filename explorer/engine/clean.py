"""Clean data of a space, loaded once and shared with the workers through Ray's object store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import explorer.data
from explorer.data.dataset import Arrays
from explorer.plan.networks import check_data
from explorer.plan.stacks import shape_of
from explorer.plan.units import data_source
from explorer.settings import plugin
from explorer.space.model import Cell, Space


@dataclass(frozen=True)
class CleanData:
    """The arrays of each data source (:func:`~explorer.plan.units.data_source`), before corruption."""

    arrays: dict[str, Arrays]

    @classmethod
    def load(cls, space: Space) -> CleanData:
        """Load the clean data of all cells of a space.

        Raises:
            InputError: the data cannot be loaded, or do not suit the task.
        """
        arrays: dict[str, Arrays] = {}
        for source, cell in {data_source(cell): cell for cell in space.cells}.items():
            arrays[source] = plugin(explorer.data, cell.data_name, "data set").load(cell.data)
            check_data(cell, arrays[source])
        return cls(arrays)

    def shape(self, cell: Cell) -> tuple[tuple[int, ...], int]:
        """Return the shape of a cell's input and its number of classes."""
        return shape_of(self.arrays[data_source(cell)], cell)

    def put(self) -> dict[str, Any]:
        """Put the arrays into the object store and return their references, by source."""
        import ray

        return {source: ray.put(arrays) for source, arrays in self.arrays.items()}
