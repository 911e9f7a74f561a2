"""Work of a space: its trials and measurements, counted in gradients of its networks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

import explorer.data
import explorer.measures
from explorer.data.formats.published import PublishedOptions
from explorer.estimate.machines import Gpu
from explorer.landscape.operator import GRAPH
from explorer.measures.base import subjects_at_once
from explorer.measures.cost import FORWARD, Call, CellSize
from explorer.models import memory
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.plan.networks import check_data, check_outputs
from explorer.plan.plan import measures_of
from explorer.plan.subjects import all_models, groups
from explorer.plan.units import Stack
from explorer.settings import plugin
from explorer.space.model import Cell, CheckedSpace
from explorer.train.loop import Recipe, Split, milestones, train

# Assumptions about GPUs: achieved shares of peak FLOP/s and of bandwidth, seconds to launch a kernel, minimum
# seconds in a kernel, passes over the activations per gradient, kernels per layer and gradient, and bytes of
# an idle process.
UTILISATION, BANDWIDTH, LAUNCH_S, FLOOR_S, PASSES, KERNELS, CONTEXT = 0.3, 0.6, 8e-6, 3e-6, 8, 3, 0.5e9
BATCH = 2  # inputs of the batch whose FLOPs are counted
TIMED_INPUTS, TIMED_FLOPS, TIMED_STEPS, TIMED_S = 256, 5e8, 100, 0.1  # limits of what is timed


class Inputs(NamedTuple):
    """One input ``x`` and target ``y`` (1, …) of a cell's data, and the numbers of inputs."""

    x: Tensor
    y: Tensor
    classes: int
    train: int
    test: int
    available: int  # training inputs that are stored, of which ``train`` are used

    @classmethod
    def of(cls, cell: Cell, *, load: bool) -> Inputs:
        """Describe the data of a cell. Data sets with a known shape are loaded only if ``load`` is set."""
        module, data = plugin(explorer.data, cell.data_name, "data set"), cell.data
        if not load and isinstance(data, PublishedOptions):
            x, every = torch.zeros(1, 2, data.length, dtype=torch.long), data.vocabulary
            y = x[:, 0]
        elif not load and hasattr(module, "SHAPE"):
            first, *rest = module.SHAPE
            x = torch.zeros(1, first, *(size // getattr(data, "pool", 1) for size in rest))
            y, every = torch.zeros(1, dtype=torch.long), module.CLASSES
        else:
            arrays = cell.load_data()
            check_data(cell, arrays)
            x, y, every = arrays.x_train[:1], arrays.y_train[:1], arrays.classes
        classes = len(getattr(data, "classes", None) or range(every))
        available, test = module.available(data)
        return cls(torch.as_tensor(x), torch.as_tensor(y), classes, cell.inputs, test, available)

    def bytes(self, inputs: int) -> float:
        """Return the bytes of this many inputs with their targets."""
        return float(inputs * (self.x.nbytes + self.y.nbytes))

    def example(self, inputs: int) -> list[Tensor]:
        """Return this many inputs and targets."""
        return [one.repeat(inputs, *[1] * (one.dim() - 1)) for one in (self.x, self.y)]


class Network:
    """One architecture, with FLOPs (convolutions, products) and activation bytes of a gradient per input."""

    def __init__(self, cell: Cell, inputs: Inputs):
        self.cell, self.inputs, self.shape = cell, inputs, tuple(inputs.x.shape[1:])
        arguments = (cell.model_name, cell.model, self.shape, inputs.classes)
        self.build, self.rows = network(*arguments, task=cell.task)
        self.stacked = self.rows.execution == "stacked"
        self.floats = self.rows.parameters + self.rows.row()[1].numel()
        self.step_s = functools.cache(self._step_s)
        (x, y), device = inputs.example(BATCH), "meta"  # shapes suffice
        if ":" in cell.model_name:  # a user's network may depend on values
            check_outputs(self.rows, cell, x, y, inputs.classes)
            device = "cpu"
        module = self.rows.new_module().to(device).train()
        self.layers = sum(not list(part.children()) for part in module.modules())
        saved: list[Tensor] = []
        with FlopCounterMode(display=False) as counter:
            with saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
                outputs = module(x.to(device))
            outputs.sum().backward()
        storages = {id(storage): storage for storage in [tensor.untyped_storage() for tensor in saved]}
        for tensor in (*module.parameters(), *module.buffers()):
            storages.pop(id(tensor.untyped_storage()), None)
        self.activations = sum(storage.nbytes() for storage in storages.values()) / BATCH
        counts = counter.get_flop_counts()["Global"]
        convolutions = sum(flops for kind, flops in counts.items() if "convolution" in str(kind))
        self.flops = (convolutions / BATCH, (counter.get_total_flops() - convolutions) / BATCH)

    def seconds(self, models: int, inputs: int) -> float:
        """Return the seconds of a step of all models, each on ``inputs`` inputs; time large steps in part."""
        some = models if self.stacked else 1
        most = min(TIMED_INPUTS, int(TIMED_FLOPS / (1 + some * sum(self.flops))))
        batch = min(inputs, max(BATCH, most))
        return self.step_s(some, batch) * (models / some) * (inputs / batch)

    def _step_s(self, models: int, batch: int) -> float:
        theta, buffers = initial_rows(self.build, self.rows, range(models))
        (x, y), (x_test, y_test) = (self.inputs.example(inputs) for inputs in (2 * batch, 1))
        data = Split(x, y, x_test, y_test, self.inputs.classes)
        options = self.cell.training.model_dump(include={"optimizer", "loss", "augment", "precision"})
        took, steps = 0.0, 2
        for _ in range(2):  # the first pass warms up and determines how many steps to time
            recipe = Recipe(batch_size=batch, steps=steps, learning_rate=1e-6, history_points=1, **options)
            took = train(self.rows, theta, buffers, data, recipe, seeds=range(models)).wall_s / steps
            steps = max(4, min(TIMED_STEPS, int(TIMED_S / took)))
        return took


class Piece(NamedTuple):
    """A trial, or a measure of a cell. ``held`` is the memory in bytes besides data and activations."""

    what: str
    cell: Cell
    network: Network
    calls: list[Call]
    held: float

    def seconds(self, gpu: Gpu | None, sharing: int) -> float:
        """Return the seconds on this machine's cores, or on a GPU that ``sharing`` processes share."""
        net, training = self.network, self.cell.training
        if gpu is None:
            return sum(times * net.seconds(models, inputs) for times, models, inputs in self.calls)
        rates = (gpu.bf16, gpu.bf16) if training.precision == "bf16" else (gpu.tf32, gpu.float32)
        one = PASSES * net.activations / (1e9 * gpu.bandwidth * BANDWIDTH)
        one += sum(flops / (1e12 * rate * UTILISATION) for flops, rate in zip(net.flops, rates, strict=True))
        computing = sum(times * models * inputs * one for times, models, inputs in self.calls)
        launched = sum(times * (1 if net.stacked else models) for times, models, _ in self.calls)
        kernels = launched * (10 + KERNELS * net.layers)
        gradients = 2 if self.what == "training" and training.optimizer == "sam" else 1
        return gradients * max(kernels * LAUNCH_S, sharing * (computing + kernels * FLOOR_S))

    def device_bytes(self, share: float | None) -> float:
        """Return the peak device bytes: held memory, activations, data if kept there, and the GPU context."""
        net, (_, models, batch) = self.network, self.calls[0]
        alive = net.activations * batch * (models if net.stacked else 1)
        if self.what != "training":  # computed in chunks
            alive = min(alive, 4 * memory.floats_at_once(share, GRAPH, memory.GRAPH))
        data = net.inputs.bytes(net.inputs.train + net.inputs.test)
        return self.held + alive + (data if share is None else CONTEXT + data * (data < share / 2))


def trial(stack: Stack, net: Network) -> Piece:
    """Return the work of a training up to its last checkpoint, ignoring early stopping."""
    models, training, checkpoints = len(stack.rows), stack.cell.training, len(stack.parts[0].cells)
    looks = len(milestones(stack.steps, training.history_points)) + checkpoints
    steps: Call = (stack.steps, models, training.batch_size)
    calls = [steps, (FORWARD * looks, models, net.inputs.train + net.inputs.test)]
    copies = 5 + checkpoints  # parameters, gradient, update, two optimiser vectors, and the kept models
    return Piece("training", stack.cell, net, calls, 4.0 * models * copies * net.floats)


def measurements(
    space: CheckedSpace, net_of: Callable[[Cell], Network], share: float | None
) -> Iterator[Piece]:
    """Yield the work of measures with a known cost. ``share``: GPU bytes per process, or None on a CPU."""
    for name, module, options in measures_of(space.measures):
        if not hasattr(module, "cost"):
            continue
        for group in groups(module.KIND, space, all_models(space), options):
            net, subjects, models = net_of(group.cell), len(group.subjects), len(group.trained.model_ids)
            floats = 0
            if hasattr(module, "floats_held"):  # per subject
                floats = module.floats_held(options, net.rows.parameters)
            held = min(subjects, subjects_at_once(floats, share)) * floats + models * net.floats
            amount = CellSize(subjects, models, net.inputs.train, net.inputs.test, bool(net.rows.norms))
            yield Piece(name, group.cell, net, module.cost(options, amount), 4.0 * held)
