"""How the models of a run are computed, and how much of a machine a trial takes.

Decided once, before the first training, and kept in ``run.yaml``: rounding depends on how rows are stacked,
and training amplifies it, so a resumed run keeps to what was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from explorer.engine.clean import CleanData
from explorer.engine.cluster import Cluster
from explorer.engine.factory import WorkerFactory
from explorer.engine.failures import failure
from explorer.engine.session import Session
from explorer.models.base import has_choice
from explorer.plan.stacks import Sizes, parts, sizes
from explorer.plan.units import data_source, step_key
from explorer.runs.store import Store
from explorer.settings import InputError, digest
from explorer.space.model import Cell, Space
from explorer.space.training import Use, names_of

MOST_TRIALS = 16  # on one card: more only wait for each other's kernels
HEADROOM = 1.15  # for fragments of the allocator, and kernels that choose another workspace


@dataclass(frozen=True)
class Choice:
    """How a run computes its models.

    Args:
        cpus: of a trial or a measuring actor.
        gpus: of each, mostly a share of one.
        shares: the same by :func:`memory_key`, where they were measured (``gpus_per_trial: auto``).
        card_share: share of a GPU by whose memory a worker sizes its chunks; the smallest there can be where
            shares are measured, so that what is measured holds whichever share comes of it.
        sizes: models that are trained side by side, by architecture.
        execution: how rows run (``vmap``, ``loop`` or ``stacked``), by
            :func:`~explorer.plan.units.step_key`.
    """

    cpus: float
    gpus: float
    card_share: float
    shares: dict[str, float] = field(default_factory=dict)
    sizes: Sizes = field(default_factory=dict)
    execution: dict[str, str] = field(default_factory=dict)

    def gpus_of(self, cell: Cell) -> float:
        """Return the GPUs that the models of a cell are trained and measured on."""
        return self.shares[memory_key(cell)] if self.shares else self.gpus

    def factory(self, store: Store, refs: dict[str, Any]) -> WorkerFactory:
        """Return what makes the workers of the run."""
        return WorkerFactory.of(
            store, refs, execution=self.execution, cpus=self.cpus, card_share=self.card_share
        )


def given(space: Space) -> Choice:
    """Return what the space says: a whole card for each trial where it leaves that to a measurement."""
    resources = space.resources
    if resources.gpus_per_trial == "auto":
        return Choice(resources.cpus_per_trial, 1.0, 1 / MOST_TRIALS)
    return Choice(resources.cpus_per_trial, resources.gpus_per_trial, min(1.0, resources.gpus_per_trial))


def choose(
    space: Space, store: Store, clean: CleanData, refs: dict[str, Any], cluster: Cluster, session: Session
) -> Choice:
    """Decide how rows run, which models share a stack, and how many trials share a card.

    What ``run.yaml`` has is kept; the rest is measured on a worker, and written there.

    Raises:
        InputError: a trial needs more than one node, or one card, has.
    """
    info, choice = store.read_info(), given(space)
    kept: Sizes = info.get("stacks", {})
    choice = replace(choice, sizes=kept if choice.gpus else sizes(space, clean.shape, kept))
    execution = info.get("execution", {})
    if steps := _undecided(space, execution):
        rows = max(sum(len(part.seeds) for part in stack) for stack in parts(space, choice.sizes))
        with session.stage("calibration"):
            execution |= _fastest(steps, rows, choice, choice.factory(store, refs), session)
    choice = replace(choice, execution=execution)
    if space.resources.gpus_per_trial == "auto":
        with session.stage("calibration"):
            factory = choice.factory(store, refs)
            shares, info["memory"] = shares_of_a_card(space, info.get("memory", {}), cluster, factory)
        choice = replace(choice, shares=shares)
    chosen = {"stacks": dict(choice.sizes), "execution": execution}
    store.update_info(**chosen, **{k: info[k] for k in ("memory",) if k in info})
    return choice


def _undecided(space: Space, known: dict[str, str]) -> dict[str, tuple[Cell, int]]:
    """Return a cell and a batch size for each kind of step, training's and curves', that is not ``known``.

    By :func:`~explorer.plan.units.step_key`, and only where an architecture can run in several ways.
    """
    gpus = space.resources.gpus_per_trial != 0
    curve = space.measures.get("connectivity", {}).get("batch_size")
    steps: dict[str, tuple[Cell, int]] = {}
    for cell in space.cells:
        if has_choice(cell.model_name, cell.model, gpus=gpus):
            for batch_size in {cell.training.batch_size, curve or cell.training.batch_size}:
                steps.setdefault(step_key(cell, batch_size), (cell, batch_size))
    return {key: step for key, step in steps.items() if key not in known}


def _fastest(
    steps: dict[str, tuple[Cell, int]], rows: int, choice: Choice, factory: WorkerFactory, session: Session
) -> dict[str, str]:
    """Return how rows run fastest for each kind of step, timed on a worker."""
    import ray
    from ray.exceptions import RayError

    remote = ray.remote(num_cpus=choice.cpus, num_gpus=choice.gpus)(time_steps)
    try:
        return ray.get(remote.remote(factory, choice.gpus, steps, rows))
    except RayError as error:
        why = failure(error)["error"]
        session.say(f"How rows run fastest could not be measured, so they run one by one: {why}")
        return dict.fromkeys(steps, "loop")


def time_steps(
    factory: WorkerFactory, gpus: float, steps: dict[str, tuple[Cell, int]], rows: int
) -> dict[str, str]:
    """Return :func:`explorer.engine.probe.fastest` on a worker; the driver needs no torch."""
    worker = factory(gpus)
    from explorer.engine.probe import fastest

    return fastest(worker, steps, rows)


def memory_key(cell: Cell) -> str:
    """Return what decides a cell's memory, but its batch size and measures, which count at their largest."""
    training = {
        k: v
        for k, v in cell.settings["training"].items()
        if k.removesuffix("_source").removesuffix("_version") in names_of(Use.MEMORY)
    }
    return digest([cell.model_name, cell.settings["model"], data_source(cell), training], 8)


def largest(space: Space) -> dict[str, Cell]:
    """Return, for each memory key, the cell that needs most."""
    ordered = sorted(space.cells, key=lambda cell: (cell.training.batch_size, cell.inputs))
    return {memory_key(cell): cell for cell in ordered}


def shares_of_a_card(
    space: Space, known: dict[str, Any], cluster: Cluster, factory: WorkerFactory
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the share of a card that each memory key needs, and its measured peak for ``run.yaml``.

    Peaks are measured on a worker that has a whole card, unless they are ``known``.

    Raises:
        InputError: there is no card, or one is too small for a trial.
    """
    import ray

    if not cluster.gpus_of_a_node:
        raise InputError(
            "resources.gpus_per_trial: auto: there is no GPU to measure the memory of a model on. "
            "Leave it out, or say --gpus N for logical ones."
        )
    resources, cells = space.resources, largest(space)
    stacked = (resources.replicates_per_trial, resources.cells_per_trial)
    budget = digest([space.measures, space.seeds, *stacked], 8)
    described = {
        key: {
            "architecture": cell.model_name,
            "width": cell.columns.get("width"),
            "batch_size": cell.training.batch_size,
            "inputs": cell.inputs,
            "budget": budget,
        }
        for key, cell in cells.items()
    }
    unknown = {key: cell for key, cell in cells.items() if known.get(key, {}).get("of") != described[key]}

    remote = ray.remote(num_cpus=resources.cpus_per_trial, num_gpus=1)(measure_peaks)
    card, needs = ray.get(remote.remote(factory, list(unknown.values()), space, cluster.gpus_of_a_node))
    memory = dict(known)
    for key, needed in zip(unknown, needs, strict=True):
        if needed is None or needed * HEADROOM > card:
            of = described[key]
            more = "more than that" if needed is None else f"{needed / 2**30:.2f} GiB and 15% to spare"
            raise InputError(
                f"resources.gpus_per_trial: auto: {of['architecture']} of width {of['width']} at batch size "
                f"{of['batch_size']} needs {more}; a card has {card / 2**30:.2f} GiB. Lower "
                "resources.replicates_per_trial, seeds, the batch size, or the inputs of the measures."
            )
        memory[key] = {"of": described[key], "peak_mb": round(needed / 2**20)}
    return {key: share(memory[key]["peak_mb"] * 2**20, card) for key in cells}, memory


def measure_peaks(
    factory: WorkerFactory, cells: list[Cell], space: Space, gpus: int
) -> tuple[int, list[int | None]]:
    """Return the bytes of a card, and those that a trial of each cell needs, measured on a worker."""
    worker = factory(1.0)
    from explorer.engine import probe

    return probe.card_bytes(worker.device, gpus), [probe.peak_bytes(worker, cell, space) for cell in cells]


def share(needed: float, card: float) -> float:
    """Return the share of a card for a trial of so many bytes: one over the number that fit side by side."""
    fit = max(1, min(MOST_TRIALS, int(card / (needed * HEADROOM))))
    return int(10_000 / fit) / 10_000  # Ray counts in ten-thousandths; rounded down, so that all of them fit
