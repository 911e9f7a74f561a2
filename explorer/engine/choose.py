"""Choice of stacks, execution and GPU shares for the models of a run.

The choice is made once, before the first training, and kept in ``run.yaml``. Rounding depends on how rows
are stacked, and training amplifies the differences, so a resumed run must use the same choice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from explorer.engine.card import check_share, describe, unusable
from explorer.engine.cluster import Cluster, fraction
from explorer.engine.context import Context, WorkerFactory, fix_arithmetic
from explorer.engine.failures import failure
from explorer.engine.session import Session
from explorer.engine.users_worker import UsersWorker
from explorer.models.base import needs_timing
from explorer.plan.stacks import Sizes, parts, sizes
from explorer.plan.units import data_source, step_key
from explorer.settings import InputError, digest
from explorer.space.model import Cell, CheckedSpace
from explorer.space.training import Use, names_of
from explorer.units import duration
from explorer.users.user_process import CHECK_S, SAY_S, EndedError, resolve

if TYPE_CHECKING:
    from explorer.engine.worker import Worker

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

    def factory(self, context: Context) -> WorkerFactory:
        """Return the factory of the run's workers."""
        return WorkerFactory(
            context, execution=self.execution, cpus=self.cpus, card_share=self.card_share, sizes=self.sizes
        )


def initial_choice(space: CheckedSpace) -> Choice:
    """Return the choice before any measurement. With ``gpus_per_trial: auto``, a trial has a whole GPU."""
    resources = space.resources
    if resources.gpus_per_trial == "auto":
        return Choice(resources.cpus_per_trial, 1.0, 1 / MOST_TRIALS)
    return Choice(resources.cpus_per_trial, resources.gpus_per_trial, min(1.0, resources.gpus_per_trial))


def require_resources(space: CheckedSpace, cluster: Cluster, session: Session) -> None:
    """Raise InputError unless a trial fits on a node. Say so if there are GPUs that no trial requests."""
    wanted = initial_choice(space)
    if space.resources.gpus_per_trial == "auto" and not cluster.gpus_of_a_node:
        raise InputError(
            "resources.gpus_per_trial: auto: there is no GPU to measure the memory of a model on. "
            "Remove the setting, or use --gpus N --logical-gpus, which only counts GPUs."
        )
    cluster.workers(wanted.cpus, wanted.gpus)
    if not wanted.gpus and (gpus := cluster.resources.get("GPU", 0)):
        session.say(
            f"CPUs compute, although Ray has {gpus:g} GPU{'s' * (gpus != 1)}: the space requests none. "
            "To use GPUs, set resources.gpus_per_trial, to auto for example."
        )


def choose(context: Context) -> Choice:
    """Decide how rows run, which models share a stack, and how many trials share a GPU.

    Earlier choices in ``run.yaml`` are kept, for each kind of GPU separately. The others are measured on a
    worker and added to ``run.yaml``.

    Raises:
        InputError: a trial needs more than one node or one GPU has, or torch cannot use a GPU.
    """
    space, store = context.space, context.store
    info, choice = store.read_info(), initial_choice(space)
    card = _card(context, choice) if choice.gpus and not context.cluster.logical else {}
    cards: dict[str, Any] = info.get("cards", {})
    kept = cards.get(card["card"], {}) if card else info
    choice = replace(choice, sizes=sizes(space, context.shape, kept.get("stacks", {})))
    execution, memory = kept.get("execution", {}), kept.get("memory", {})
    if steps := _undecided(space, execution):
        with context.session.stage("calibration"):
            execution |= _fastest(context, choice, steps)
    choice = replace(choice, execution=execution)
    if space.resources.gpus_per_trial == "auto":
        with context.session.stage("calibration"):
            shares, memory = _gpu_shares(context, choice, memory)
        choice = replace(choice, shares=shares)
    if card and not card["mps"] and min(choice.shares.values(), default=choice.gpus) < 1:
        context.session.say(
            "Trials that share a GPU take turns on it. If NVIDIA MPS is started first, their kernels run at "
            "the same time (docs/clusters.md, Sharing a GPU)."
        )
    found = {"stacks": dict(choice.sizes), "execution": execution} | ({"memory": memory} if memory else {})
    store.update_info(**({"cards": {**cards, card["card"]: card | found}} if card else found))
    return choice


def _card(context: Context, choice: Choice) -> dict[str, Any]:
    """Return what the GPUs of the nodes are.

    All GPUs of a Ray that the run has started are tried, and one GPU of each node of other Rays, where other
    work may hold the rest.

    Raises:
        InputError: torch cannot use a GPU.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    found: dict[str, dict[str, Any]] = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("GPU", 0) >= choice.gpus:
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            gpus = int(node["Resources"]["GPU"]) if context.cluster.own else choice.gpus
            try:
                card = _on_worker(
                    context, choice, look, gpus, num_cpus=0, num_gpus=gpus, scheduling_strategy=here
                )
            except RayError as error:  # CUDA has ended the process, for example
                card = {"unusable": failure(error).error}
            if "unusable" in card:
                raise InputError(f"{node['NodeManagerHostname']}: {unusable(card['unusable'])}")
            check_share(card["memory_gb"] * 2**30, choice.gpus)
            found.setdefault(card["card"], card)
    kinds = sorted({kind for card in found for kind in card.split(", ")})
    card = min(found.values(), key=lambda card: card["memory_gb"], default={})
    if len(kinds) > 1:
        card = {**card, "card": ", ".join(kinds)}
        context.session.say(
            f"The GPUs differ ({card['card']}). Explorer gives them the same work, as if all were like "
            f"the one with the least memory ({card['memory_gb']:g} GB)."
        )
    return card


def look(factory: WorkerFactory, _gpus: float, given: float) -> dict[str, Any]:
    """Return :func:`explorer.engine.card.describe` in a process that Ray has ``given`` so many GPUs."""
    fix_arithmetic(factory.arithmetic)
    return describe(math.ceil(given))


def _undecided(space: CheckedSpace, known: dict[str, str]) -> dict[str, tuple[Cell, int]]:
    """Return a cell and a batch size for each kind of step (of training and curves) not in ``known``.

    The keys are those of :func:`~explorer.plan.units.step_key`. Only architectures with several ways to run
    are included.
    """
    gpus = space.resources.gpus_per_trial != 0
    curve = space.measures.get("connectivity", {}).get("batch_size")
    steps: dict[str, tuple[Cell, int]] = {}
    for cell in space.cells:
        if needs_timing(cell.model_name, cell.model, gpus=gpus):
            for batch_size in {cell.training.batch_size, curve or cell.training.batch_size}:
                steps.setdefault(step_key(cell, batch_size), (cell, batch_size))
    return {key: step for key, step in steps.items() if key not in known}


def _fastest(context: Context, choice: Choice, steps: dict[str, tuple[Cell, int]]) -> dict[str, str]:
    """Return the fastest execution for each kind of step, timed on a worker."""
    from ray.exceptions import RayError

    rows = max(sum(len(part.seeds) for part in stack) for stack in parts(context.space, choice.sizes))
    found: dict[str, str] = {}
    try:
        found, failed = _on_worker(context, choice, time_steps, steps, rows)
    except RayError as error:
        failed = {failure(error).error: list(steps)}
    for why, keys in failed.items():
        cells = [str(steps[key][0].at) for key in keys]
        models = f"of {', '.join(cells[:3])}{', …' * (len(cells) > 3)} " if found else ""
        context.session.say(
            f"The fastest way to run models {models}together could not be measured; "
            f"they run one by one: {why}"
        )
    return dict.fromkeys(steps, "loop") | found


def _on_worker(
    context: Context, choice: Choice, task: Callable[..., Any], *arguments: Any, **options: Any
) -> Any:
    """Call a function in a process that can create a worker, and return its result.

    ``options`` are Ray's.

    Raises:
        BaseException: the reason of a stop, if one is requested meanwhile.
    """
    import ray

    # Without retries: Ray would start a call that exceeds the memory again for ever.
    options = {"num_cpus": choice.cpus, "num_gpus": choice.gpus, "max_retries": 0} | options
    remote: Any = ray.remote(**options)(task)
    call = remote.remote(choice.factory(context), choice.gpus, *arguments)
    since, told = time.monotonic(), False
    try:
        while not ray.wait([call], timeout=LOOK_S)[0]:
            context.cancel.check()
            if not told and (took := time.monotonic() - since) > SAY_S:
                names = ", ".join(dict.fromkeys(cell.model_name for cell in context.space.cells))
                context.session.say(f"Calibration has waited {duration(took)} for first steps of {names}.")
                told = True
    except BaseException:
        ray.cancel(call, force=True)
        raise
    return ray.get(call)


def time_steps(
    factory: WorkerFactory, gpus: float, steps: dict[str, tuple[Cell, int]], rows: int
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return :func:`explorer.engine.probe.fastest` of each step, and the steps that failed, by cause.

    It is called on a worker because the driver has no torch.
    """
    worker, found, failed = factory(gpus), {}, {}
    for key, (cell, batch_size) in steps.items():
        try:
            found[key] = _probed(worker, "fastest", cell, cell, batch_size, rows)
        except EndedError as error:
            failed.setdefault(str(error), []).append(key)
    return found, failed


def _probed(worker: Worker | UsersWorker, name: str, cell: Cell, *arguments: Any) -> Any:
    """Return what the function of :mod:`explorer.engine.probe` returns for the worker and the arguments.

    Raises:
        EndedError: users' code has ended its process, or made no progress.
    """
    function = f"explorer.engine.probe:{name}"
    if isinstance(worker, UsersWorker):
        patience_s = min(CHECK_S, worker.patience_s)
        return worker.run(function, cell, *arguments, what="its first step", patience_s=patience_s)
    return resolve(function)(worker, *arguments)


def memory_key(cell: Cell) -> str:
    """Return a key of the settings that determine a cell's memory, except batch size and measures."""
    training = {
        k: v
        for k, v in cell.settings["training"].items()
        if k.removesuffix("_source").removesuffix("_version") in names_of(Use.MEMORY)
    }
    return digest([cell.model_name, cell.settings["model"], data_source(cell), training], 8)


def largest(space: CheckedSpace) -> dict[str, Cell]:
    """Return the cell with the largest memory need for each memory key."""
    ordered = sorted(space.cells, key=lambda cell: (cell.training.batch_size, cell.inputs))
    return {memory_key(cell): cell for cell in ordered}


def _gpu_shares(
    context: Context, choice: Choice, known: dict[str, Any]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the share of a GPU that each memory key needs, and the measured peaks for ``run.yaml``.

    Peaks that are not ``known`` are measured on a worker with a whole GPU.

    Raises:
        InputError: a GPU is too small for a trial.
    """
    space, gpus = context.space, context.cluster.gpus_of_a_node
    resources, cells = space.resources, largest(space)
    stacked = (resources.replicates_per_trial, resources.cells_per_trial)
    budget = digest([space.measures, space.seeds, *stacked, sorted(choice.sizes.items())], 8)
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
    card, needs = _on_worker(context, choice, measure_peaks, list(unknown.values()), space, gpus)
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
    factory: WorkerFactory, gpus: float, cells: list[Cell], space: CheckedSpace, gpus_of_node: int
) -> tuple[int, list[int | None]]:
    """Return the bytes of a GPU, and the bytes that a trial of each cell needs, measured on a worker."""
    worker, peaks = factory(gpus), []
    for cell in cells:
        try:
            peaks.append(_probed(worker, "peak_bytes", cell, cell, space, factory.sizes))
        except EndedError:  # the trial will fail in the same way and record the error
            peaks.append(1)
    return _probed(worker, "card_bytes", space.cells[0], gpus_of_node), peaks


def share(needed: float, card: float) -> float:
    """Return the share of a GPU for a trial of ``needed`` bytes: one over the number of trials that fit."""
    return fraction(1 / max(1, min(MOST_TRIALS, int(card / (needed * HEADROOM)))))
