"""What a space would take on a cluster that is not here: time, memory, disk and traffic."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from explorer.engine import plan
from explorer.engine.stacks import NONE, Sizes, sizes
from explorer.engine.subjects import Trained, groups
from explorer.engine.work import architecture_key, data_source
from explorer.estimate.architecture import Architecture
from explorer.estimate.devices import Device, Seconds
from explorer.estimate.inputs import Inputs
from explorer.estimate.machines import Machines
from explorer.estimate.processor import cores
from explorer.estimate.work import Work, measuring_of, training_of
from explorer.settings import plugin
from explorer.space import Cell, Space

START_S, WORKER_S, TASK_S = 15.0, 15.0, 0.1  # Ray on a cluster; imports and CUDA of a worker; a trial or task
CONTEXT = 0.5 * 2**30  # bytes of a GPU that a process takes before it computes
FRAGMENTS = 1.1  # what PyTorch's allocator holds, to what is alive
PROCESS, PROCESS_CPU = (
    2.0 * 2**30,
    0.35 * 2**30,
)  # bytes of a node's memory that a worker takes, with CUDA or not
ROW_BYTES, POINT_BYTES = 1500, 40  # of the tables: a model, and a point of a path


@dataclass(frozen=True)
class Piece:
    """A trial, or a measure of a cell: seconds on the clock, and bytes of the device that it needs."""

    what: str
    cell: Cell
    wall_s: float
    memory: float


@dataclass(frozen=True)
class Plan:
    """A space on a cluster. Bytes, and seconds on the clock."""

    machines: Machines
    slots: int
    sharing: int  # trials on a device
    trials: list[Piece]
    tasks: list[Piece]
    share: float | None  # bytes of a GPU that a trial may take
    data: int  # bytes of all data sets
    weights: float  # bytes written to the run folder
    read: float  # bytes of weights that measuring reads
    disk: float
    node_memory: float
    unknown: list[str]  # measures that are not counted

    @property
    def training_s(self) -> float:
        return WORKER_S + makespan((piece.wall_s for piece in self.trials), self.slots)

    @property
    def measuring_s(self) -> float:
        return WORKER_S + makespan((p.wall_s for p in self.tasks), self.slots) if self.tasks else 0.0

    @property
    def wall_s(self) -> float:
        return START_S + self.training_s + self.measuring_s

    @property
    def traffic(self) -> float:
        """Bytes between nodes' object stores: the data go to every node once."""
        return self.data * (self.machines.nodes - 1)

    @property
    def too_large(self) -> list[Piece]:
        """What does not fit into its share, the largest first."""
        found = [p for p in [*self.trials, *self.tasks] if self.share is not None and p.memory > self.share]
        return sorted(found, key=lambda piece: -piece.memory)


def makespan(seconds: Iterable[float], slots: int) -> float:
    """Time until all are done by so many workers, the longest first."""
    ends = [0.0] * slots
    for one in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)


def _sizes(space: Space, machines: Machines, nets: Nets) -> Sizes:
    """Sizes of stacks, as a run chooses them: by arithmetic on cores, by the space alone on GPUs."""
    if machines.device is not None:
        return NONE
    return sizes(space, lambda cell: (nets.inputs(cell).shape, nets.inputs(cell).classes))


def plan_for(space: Space, machines: Machines, nets: Nets | None = None) -> Plan:
    """Count every architecture of the space and lay its work out on the machines.

    Args:
        nets: keeps what is counted for the next space.

    Raises:
        InputError: a trial fits on no node, or an architecture cannot be counted.
    """
    slots, sharing = machines.slots(space)
    gpus = space.resources.gpus_per_trial
    share = machines.device.memory * min(1.0, gpus) if machines.device and gpus != "auto" else None
    nets = (nets or Nets()).on(share)
    stacks = plan.stacks(space, sizes=_sizes(space, machines, nets))
    sharing = min(sharing, -(-len(stacks) // (machines.nodes * machines.devices)))
    device_of = _devices(space, machines, nets)

    def piece(what: str, cell: Cell, work: Work) -> Piece:
        device = device_of(nets.net(cell))
        spent = sum((device.seconds(ops, cell.training.precision) for ops in work.pieces), Seconds())
        data = _resident(nets.inputs(cell).bytes, share)
        memory = FRAGMENTS * work.peak + (CONTEXT if share else 0.0) + data
        return Piece(what, cell, device.wall(spent, sharing) + TASK_S, memory)

    trials = []
    for stack in stacks:
        net, inputs = nets.net(stack.cell), nets.inputs(stack.cell)
        work = training_of(net, stack.parts[0].cells, inputs, rows=len(stack.rows))
        trials.append(piece("training", stack.cell, work))
    tasks, read, unknown, points = [], 0.0, [], 0
    for name, options, cell, subjects, models in _groups(space):
        net = nets.net(cell)
        read += 4.0 * models * (net.parameters + net.buffers)
        points += subjects * 2 * getattr(options, "points", 0)
        if found := measuring_of(name, options, net, nets.inputs(cell), subjects, models):
            tasks.append(piece(name, cell, found))
        elif name not in unknown:
            unknown.append(name)
    sizes = [nets.net(cell).parameters + nets.net(cell).buffers for cell in space.cells]
    weights = sum(4.0 * space.seeds * size for size in sizes)
    state = 3 * 4.0 * slots * max(sizes)  # of trainings that go on, for a resume
    stored = {data_source(cell): nets.inputs(cell).stored for cell in space.cells}
    if machines.device is None:  # a core works in the memory of its node
        most = max(p.memory for p in [*trials, *tasks]) + PROCESS_CPU
    else:
        most = PROCESS + 2 * max(stored.values())  # prepared there before they go to the device
    return Plan(
        machines, slots, sharing, trials, tasks,
        share=share, data=sum(stored.values()), weights=weights, read=read,
        disk=weights + state + len(sizes) * space.seeds * ROW_BYTES + points * POINT_BYTES,
        node_memory=sum(stored.values()) + slots / machines.nodes * most, unknown=unknown,
    )  # fmt: skip


def _devices(space: Space, machines: Machines, nets: Nets) -> Callable[[Architecture], Device]:
    """The device that an architecture runs on."""
    if machines.device is None:
        return cores(nets.all(space), max(1, int(space.resources.cpus_per_trial)))
    device = machines.device
    return lambda _: device


def _resident(data: int, share: float | None) -> float:
    """Bytes of the data on the device: none where they take more than half of a trial's share of it."""
    return 0.0 if share is not None and data > share / 2 else data


class Nets:
    """Architectures, each counted once, and what is known of data; also for several spaces.

    ``room``: bytes of a card that a trial may use, by which a run sizes its chunks; None on a processor.
    """

    def __init__(self) -> None:
        self.room: float | None = None
        self._inputs: dict[str, Inputs] = {}
        self._nets: dict[tuple[Any, ...], Architecture] = {}

    def on(self, room: float | None) -> Nets:
        """The same for another share of a card; what is counted is kept in common."""
        other = Nets()
        other.room, other._inputs, other._nets = room, self._inputs, self._nets
        return other

    def all(self, space: Space) -> list[Architecture]:
        """The different architectures of a space."""
        return list({id(net): net for net in map(self.net, space.cells)}.values())

    def inputs(self, cell: Cell) -> Inputs:
        key = f"{data_source(cell)} {getattr(cell.data, 'classes', None)} {cell.inputs}"
        if key not in self._inputs:
            self._inputs[key] = Inputs.of(cell)
        return self._inputs[key]

    def net(self, cell: Cell) -> Architecture:
        inputs = self.inputs(cell)
        key = (architecture_key(cell), cell.task, inputs.shape, inputs.classes, inputs.target, self.room)
        if key not in self._nets:
            self._nets[key] = Architecture(cell, inputs, self.room)
        return self._nets[key]


def _groups(space: Space) -> Iterator[tuple[str, Any, Cell, int, int]]:
    """Measure, its options, cell, subjects and models of everything that is measured."""
    import explorer.measures

    everything = {
        cell.id: Trained([cell.model_id(seed) for seed in range(cell.seeds)], []) for cell in space.cells
    }
    for name, values in space.measures.items():
        module = plugin(explorer.measures, name, "measure")
        options = module.Options.model_validate(values)
        for group in groups(module.KIND, space, everything, options):
            yield name, options, group.cell, len(group.subjects), len(group.trained.model_ids)
