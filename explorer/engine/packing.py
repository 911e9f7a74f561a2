"""What a trial or a task takes of a machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from explorer.settings import digest
from explorer.space import Cell, Space


@dataclass(frozen=True)
class Packing:
    """CPUs, and GPUs by what decides how much memory a cell needs (:func:`memory_key`)."""

    cpus: float
    gpus: float
    shares: dict[str, float] = field(default_factory=dict)

    def gpus_of(self, cell: Cell) -> float:
        """GPUs, mostly a share of one, that the models of a cell are trained and measured on."""
        return self.shares.get(memory_key(cell), self.gpus) if self.shares else self.gpus


def memory_key(cell: Cell) -> str:
    """What decides the memory of a cell: all of its settings but those that only change numbers."""
    training = cell.settings["training"]
    return digest([cell.model_name, cell.settings["model"], cell.inputs, training.get("batch_size")], 8)


def stack_size(space: Space) -> int:
    """Models that are trained in one stack."""
    replicates = space.resources.replicates_per_trial
    return space.seeds if replicates == "all" else min(replicates, space.seeds)
