"""What a trial or a task takes of a machine; with ``gpus_per_trial: auto``, by the memory it needs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from explorer.engine.cluster import Cluster
from explorer.engine.work import MakeWorker, data_source
from explorer.settings import InputError, digest
from explorer.space import Cell, Space

MOST = 16  # trials on one card: more only wait for each other's kernels
HEADROOM = 1.15  # fragments of the allocator, and kernels that choose another workspace
# Settings of the training that change numbers, but not the memory they need.
NUMBERS = {
    *("learning_rate", "linear_scaling", "momentum", "weight_decay", "rho", "schedule", "warmup"),
    *("steps", "epochs", "checkpoint", "early_stop", "stop_at_loss", "batch_size"),
}


@dataclass(frozen=True)
class Packing:
    """CPUs of a worker, and its GPUs: the same for all, or by :func:`memory_key`.

    ``room`` is the share of a card by whose memory a worker sizes its chunks (``explorer.models.memory``).
    Where shares are found by measuring it is the smallest there can be: what is measured then holds,
    whichever share comes of it.
    """

    cpus: float
    gpus: float
    shares: dict[str, float] = field(default_factory=dict)
    room: float = 1.0

    def gpus_of(self, cell: Cell) -> float:
        """GPUs, mostly a share of one, that the models of a cell are trained and measured on."""
        return self.shares[memory_key(cell)] if self.shares else self.gpus


@dataclass(frozen=True)
class Peaks:
    """Bytes that a card has, and that the models of a cell need at most, in the order asked for.

    None where the card was not enough.
    """

    card: int
    needed: list[int | None]


Measure = Callable[[MakeWorker, list[Cell], Space, int], Peaks]  # the last is the number of GPUs of a node


def memory_key(cell: Cell) -> str:
    """What decides the memory of a cell, but its batch size and its measures: those are at their largest."""
    training = {k: v for k, v in cell.settings["training"].items() if k not in NUMBERS}
    return digest([cell.model_name, cell.settings["model"], data_source(cell), training], 8)


def fixed(space: Space) -> Packing:
    """What the space says; a whole card each where it leaves that to a measurement."""
    gpus = space.resources.gpus_per_trial
    if gpus == "auto":
        return Packing(space.resources.cpus_per_trial, 1.0, room=1 / MOST)
    return Packing(space.resources.cpus_per_trial, gpus, room=min(1.0, gpus))


def largest(space: Space) -> dict[str, Cell]:
    """Of the cells that differ in what does not decide the memory: the one that needs most."""
    found: dict[str, Cell] = {}
    for cell in space.cells:
        key = memory_key(cell)
        if key not in found or _size(cell) > _size(found[key]):
            found[key] = cell
    return found


def require_card(cluster: Cluster) -> None:
    """Raises InputError where there is no card to measure on: what asks for one would wait for ever."""
    if not cluster.gpus_of_a_node:
        raise InputError(
            "resources.gpus_per_trial: auto: there is no GPU to measure the memory of a model on. "
            "Leave it out, or say --gpus N for logical ones."
        )


def packed(
    space: Space,
    known: dict[str, Any],
    cluster: Cluster,
    make_worker: MakeWorker,
    measure: Measure | None = None,
) -> tuple[Packing, dict[str, Any]]:
    """Shares of a card, by the peak memory of each architecture, measured on a worker with a whole card.

    Returns also what was measured, for ``run.yaml``: by the memory's key, ``peak_mb`` and of what. What is
    ``known`` already is not measured again, unless other budgets or numbers of models need other memory.

    Raises:
        InputError: an architecture needs more than one card.
    """
    import ray

    resources = space.resources
    stacks = (resources.replicates_per_trial, resources.cells_per_trial)
    budget = digest([space.measures, space.seeds, *stacks], 8)
    cells = largest(space)
    unknown = {
        key: cell for key, cell in cells.items() if known.get(key, {}).get("of") != _described(cell, budget)
    }
    cpus, measured = space.resources.cpus_per_trial, measure or _peaks
    peaks = ray.get(
        ray.remote(num_cpus=cpus, num_gpus=1)(measured).remote(
            make_worker, list(unknown.values()), space, cluster.gpus_of_a_node
        )
    )
    found = dict(known)
    for (key, cell), needed in zip(unknown.items(), peaks.needed, strict=True):
        if needed is None:
            raise _too_large(cell, "more than that", peaks.card)
        found[key] = {"of": _described(cell, budget), "peak_mb": round(needed / 2**20)}
    shares = {}
    for key, cell in cells.items():
        needed = found[key]["peak_mb"] * 2**20
        if needed * HEADROOM > peaks.card:
            raise _too_large(cell, f"{needed / 2**30:.2f} GiB and {HEADROOM - 1:.0%} to spare", peaks.card)
        shares[key] = share(needed, peaks.card)
    return Packing(cpus, 1.0, shares, room=1 / MOST), found


def share(needed: float, card: float) -> float:
    """Share of a card for a model of so many bytes: one over the number that fit side by side."""
    fit = min(MOST, int(card / (needed * HEADROOM)))
    return int(10_000 / fit) / 10_000  # Ray counts in ten-thousandths; rounded down, so that all of them fit


def _peaks(make_worker: MakeWorker, cells: list[Cell], space: Space, gpus: int) -> Peaks:
    from explorer.engine.peak import peaks  # on the worker: the driver needs no torch

    return peaks(make_worker, cells, space, gpus)


def _size(cell: Cell) -> tuple[int, int]:
    return cell.training.batch_size, cell.inputs


def _described(cell: Cell, budget: str) -> dict[str, Any]:
    width = cell.columns.get("width")
    return {"architecture": cell.model_name, "width": width, "batch_size": cell.training.batch_size,
            "inputs": cell.inputs, "budget": budget}  # fmt: skip


def too_much(cell: Cell, used: int, said: str, whole: int, gpus: float) -> str:
    """What a cell that ran out of a GPU's memory needs at least, and how to give it that.

    Args:
        used: bytes that it had; ``said`` is torch's message, with what it asked for more.
        whole: bytes of the card, of which ``gpus`` is the share.
    """
    asked = re.search(r"Tried to allocate ([\d.]+) ([KMG])iB", said)
    more = float(asked[1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[asked[2]] if asked else 0.0
    needed, has = used + more, min(1.0, gpus) * whole
    return (
        f"more GPU memory than its share: width {cell.columns.get('width')} at batch size "
        f"{cell.training.batch_size} needs at least {needed / 2**30:.2f} GiB, and has {has / 2**30:.2f} GiB. "
        f"Raise resources.gpus_per_trial to {math.ceil(100 * needed / whole) / 100:g} or more, or say auto, "
        "or lower resources.replicates_per_trial or resources.cells_per_trial."
    )


def _too_large(cell: Cell, needed: str, card: int) -> InputError:
    return InputError(
        f"resources.gpus_per_trial: auto: {cell.model_name} of width {cell.columns.get('width')} at batch "
        f"size {cell.training.batch_size} needs {needed}; a card has {card / 2**30:.2f} GiB. Lower "
        "resources.replicates_per_trial, seeds, the batch size, or the inputs of the measures."
    )
