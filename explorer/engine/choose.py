"""Choice of stacks, execution and GPU shares for the models of a run.

The choice is made once, before the first training, and kept in ``run.yaml``. Rounding depends on how rows
are stacked, and training amplifies the differences, so a resumed run must use the same choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from explorer.engine.cancel import Cancellation
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

LOOK_S = 0.5  # seconds between two looks for a request to stop
MOST_TRIALS = 16  # per GPU: more trials only wait for each other's kernels
HEADROOM = 1.15  # for memory fragmentation, and for kernels that choose a larger workspace


@dataclass(frozen=True)
class Choice:
    """Choice of how a run computes its models.

    Args:
        cpus: CPUs per trial or measuring actor.
        gpus: GPUs per trial or measuring actor, usually a fraction.
        shares: GPUs by :func:`memory_key`, if they were measured (``gpus_per_trial: auto``).
        card_share: share of a GPU's memory that determines a worker's chunk size. If shares are measured,
            this is the smallest possible share, because the measurement must hold for every resulting share.
        sizes: number of models per stack, by architecture.
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
        """Return the GPUs (usually a fraction) of each trial or measuring actor of a cell."""
        return self.shares[memory_key(cell)] if self.shares else self.gpus

    def factory(self, store: Store, refs: dict[str, Any]) -> WorkerFactory:
        """Return the factory of the run's workers."""
        return WorkerFactory.of(
            store, refs, execution=self.execution, cpus=self.cpus, card_share=self.card_share
        )


def given(space: Space) -> Choice:
    """Return the choice that the space gives; with ``gpus_per_trial: auto``, a whole GPU per trial."""
    resources = space.resources
    if resources.gpus_per_trial == "auto":
        return Choice(resources.cpus_per_trial, 1.0, 1 / MOST_TRIALS)
    return Choice(resources.cpus_per_trial, resources.gpus_per_trial, min(1.0, resources.gpus_per_trial))


def choose(
    space: Space,
    store: Store,
    clean: CleanData,
    refs: dict[str, Any],
    cluster: Cluster,
    session: Session,
    cancel: Cancellation,
) -> Choice:
    """Decide how rows run, which models share a stack, and how many trials share a GPU.

    Earlier choices in ``run.yaml`` are kept. The others are measured on a worker and added to ``run.yaml``.

    Raises:
        InputError: a trial needs more than one node or one GPU has.
    """
    info, choice = store.read_info(), given(space)
    kept: Sizes = info.get("stacks", {})
    choice = replace(choice, sizes=kept if choice.gpus else sizes(space, clean.shape, kept))
    execution = info.get("execution", {})
    if steps := _undecided(space, execution):
        rows = max(sum(len(part.seeds) for part in stack) for stack in parts(space, choice.sizes))
        with session.stage("calibration"):
            execution |= _fastest(steps, rows, choice, choice.factory(store, refs), session, cancel)
    choice = replace(choice, execution=execution)
    if space.resources.gpus_per_trial == "auto":
        with session.stage("calibration"):
            factory = choice.factory(store, refs)
            shares, memory = shares_of_a_card(space, info.get("memory", {}), cluster, factory, cancel)
        choice = replace(choice, shares=shares)
        store.update_info(memory=memory)
    store.update_info(stacks=dict(choice.sizes), execution=execution)
    return choice


def _undecided(space: Space, known: dict[str, str]) -> dict[str, tuple[Cell, int]]:
    """Return a cell and a batch size for each kind of step (of training and curves) not in ``known``.

    The keys are those of :func:`~explorer.plan.units.step_key`. Only architectures with several ways to run
    are included.
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
    steps: dict[str, tuple[Cell, int]],
    rows: int,
    choice: Choice,
    factory: WorkerFactory,
    session: Session,
    cancel: Cancellation,
) -> dict[str, str]:
    """Return the fastest execution for each kind of step, timed on a worker."""
    import ray
    from ray.exceptions import RayError

    remote = ray.remote(num_cpus=choice.cpus, num_gpus=choice.gpus)(time_steps)
    try:
        return _result(remote.remote(factory, choice.gpus, steps, rows), cancel)
    except RayError as error:
        why = failure(error).error
        session.say(
            f"The fastest way to run models together could not be measured; they run one by one: {why}"
        )
        return dict.fromkeys(steps, "loop")


def _result(call: Any, cancel: Cancellation) -> Any:
    """Return what a remote call returns, unless a stop is requested before."""
    import ray

    try:
        while not ray.wait([call], timeout=LOOK_S)[0]:
            cancel.check()
    except BaseException:
        ray.cancel(call, force=True)
        raise
    return ray.get(call)


def time_steps(
    factory: WorkerFactory, gpus: float, steps: dict[str, tuple[Cell, int]], rows: int
) -> dict[str, str]:
    """Return :func:`explorer.engine.probe.fastest`, called on a worker because the driver has no torch."""
    worker = factory(gpus)
    from explorer.engine.probe import fastest

    return fastest(worker, steps, rows)


def memory_key(cell: Cell) -> str:
    """Return a key of the settings that determine a cell's memory, except batch size and measures."""
    training = {
        k: v
        for k, v in cell.settings["training"].items()
        if k.removesuffix("_source").removesuffix("_version") in names_of(Use.MEMORY)
    }
    return digest([cell.model_name, cell.settings["model"], data_source(cell), training], 8)


def largest(space: Space) -> dict[str, Cell]:
    """Return the cell with the largest memory need for each memory key."""
    ordered = sorted(space.cells, key=lambda cell: (cell.training.batch_size, cell.inputs))
    return {memory_key(cell): cell for cell in ordered}


def shares_of_a_card(
    space: Space, known: dict[str, Any], cluster: Cluster, factory: WorkerFactory, cancel: Cancellation
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the share of a GPU that each memory key needs, and the measured peaks for ``run.yaml``.

    Peaks that are not ``known`` are measured on a worker with a whole GPU.

    Raises:
        InputError: there is no GPU, or it is too small for a trial.
    """
    import ray

    if not cluster.gpus_of_a_node:
        raise InputError(
            "resources.gpus_per_trial: auto: there is no GPU to measure the memory of a model on. "
            "Remove the setting, or use --gpus N for logical GPUs."
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
    call = remote.remote(factory, list(unknown.values()), space, cluster.gpus_of_a_node)
    card, needs = _result(call, cancel)
    memory = dict(known)
    for key, needed in zip(unknown, needs, strict=True):
        if needed is None or needed * HEADROOM > card:
            of = described[key]
            need = "more" if needed is None else f"{needed / 2**30:.2f} GiB and 15% to spare"
            raise InputError(
                f"resources.gpus_per_trial: auto: {of['architecture']} of width {of['width']} at batch size "
                f"{of['batch_size']} needs {need}; a GPU has {card / 2**30:.2f} GiB. Lower "
                "resources.replicates_per_trial, seeds, the batch size or the inputs of the measures."
            )
        memory[key] = {"of": described[key], "peak_mb": round(needed / 2**20)}
    return {key: share(memory[key]["peak_mb"] * 2**20, card) for key in cells}, memory


def measure_peaks(
    factory: WorkerFactory, cells: list[Cell], space: Space, gpus: int
) -> tuple[int, list[int | None]]:
    """Return the bytes of a GPU, and the bytes that a trial of each cell needs, measured on a worker."""
    worker = factory(1.0)
    from explorer.engine import probe

    return probe.card_bytes(worker.device, gpus), [probe.peak_bytes(worker, cell, space) for cell in cells]


def share(needed: float, card: float) -> float:
    """Return the share of a GPU for a trial of ``needed`` bytes: one over the number of trials that fit."""
    fit = max(1, min(MOST_TRIALS, int(card / (needed * HEADROOM))))
    return int(10_000 / fit) / 10_000  # Ray counts in 1/10,000; rounding down makes all trials fit
