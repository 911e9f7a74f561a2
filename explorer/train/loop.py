"""Training of models of one shape as one matrix, a model per row. Pure torch: no Ray, no files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from explorer.models.draws import draws_random_numbers
from explorer.models.rows import Rows, select_rows
from explorer.train.augmentation import crop_and_flip
from explorer.train.steps import Each, loss_gradient_of, make_step, optimiser_of, row_groups
from explorer.train.stopping import LossMonitor, Stopping

# A model whose training loss is this many times that before training has diverged. Training that works ends
# below its start, and the noise of hot training stays within a few times of it.
DIVERGED = 10


@dataclass(frozen=True)
class Split:
    """Tensors of a data set: inputs (inputs, *shape), targets (inputs, …).

    ``classes`` is the size of the model's output; ``vocabulary`` maps token ids to text. Targets are on the
    device that trains. Inputs are there too, or in host memory if they do not fit. In that case,
    :meth:`batch` and :class:`~explorer.models.rows.Rows` copy the part that is needed.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    vocabulary: str = ""

    @classmethod
    def of(cls, arrays: Any, device: torch.device | str = "cpu", *, limit: float | None = None) -> Split:
        """Create a Split from :class:`explorer.data.base.Arrays`, copied to the device.

        Args:
            limit: bytes of device memory that the data may take. If they need more, the inputs stay in host
                memory, pinned for a GPU. No limit by default.
        """
        device = torch.device(device)
        parts = arrays.x_train, arrays.y_train, arrays.x_test, arrays.y_test
        fits = limit is None or sum(part.nbytes for part in parts) <= limit

        def inputs(x: Any) -> Tensor:
            tensor = torch.tensor(x, device=device if fits else "cpu")
            return tensor if fits or device.type != "cuda" else tensor.pin_memory()

        targets = [torch.tensor(y, device=device) for y in (arrays.y_train, arrays.y_test)]
        x_train, x_test = inputs(arrays.x_train), inputs(arrays.x_test)
        return cls(x_train, targets[0], x_test, targets[1], arrays.classes, arrays.vocabulary)

    @property
    def device(self) -> torch.device:
        """The device that trains and measures models."""
        return self.y_train.device

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return training inputs and targets at ``index`` on the device; ``index`` is where inputs are."""
        x = select_inputs(self.x_train, index)
        if x.device != self.device:
            x = (x.pin_memory() if self.device.type == "cuda" else x).to(self.device, non_blocking=True)
        return x, select_inputs(self.y_train, index)


def select_inputs(values: Tensor, index: Tensor) -> Tensor:
    """Return ``values[index]``, (*index, …) of values (inputs, …), where these are, in the fastest way."""
    index = index.to(values.device, non_blocking=True)
    if values.dim() == 1:
        return values.take(index)
    return values.index_select(0, index.flatten()).view(*index.shape, *values.shape[1:])


@dataclass(frozen=True)
class State:
    """State of a training: everything that is needed to resume it.

    ``tensors`` holds ``theta``, ``buffers`` and the state of the optimiser and of early stopping. ``meta`` is
    plain data (step, history and the models of past checkpoints).
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


@dataclass
class Trained:
    """Result of training: ``models`` of (replicates, …) at each checkpoint; the last is the end of training.

    ``history`` holds a dict per point and replicate: ``row`` (its position in the stack) and the columns of
    the ``epochs`` table.
    """

    models: dict[int, Models] = field(default_factory=dict)  # by step
    history: list[dict[str, Any]] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def end(self) -> Models:
        return self.models[max(self.models)]

    @property
    def theta(self) -> Tensor:
        return self.end.theta

    @property
    def buffers(self) -> Tensor:
        return self.end.buffers

    @property
    def final(self) -> list[dict[str, Any]]:
        return self.end.final


@dataclass(frozen=True)
class Models:
    """Models at one step, and a dict per replicate with its measures, ``status`` and ``error``."""

    theta: Tensor  # (replicates, parameters)
    buffers: Tensor  # (replicates, numbers)
    final: list[dict[str, Any]]


def learning_rates(schedule: str, rate: float, steps: int, warmup: float = 0.0) -> list[float]:
    """Return the learning rate of each step.

    ``constant`` does not change. ``cosine`` falls to 0 along half a cosine. ``one_decay`` is a tenth from
    75 % of the steps on. ``step`` is a tenth from 50 % and a hundredth from 75 % on. ``one_cycle`` (Smith &
    Topin, 2019) rises linearly from 4 % to the full rate at 30 % and then falls to 0 along half a cosine.
    During the first ``warmup`` share of the steps, the rate is also multiplied by a factor that rises
    linearly to 1.
    """
    shape: dict[str, Callable[[float], float]] = {
        "constant": lambda t: 1.0,
        "cosine": lambda t: 0.5 * (1 + math.cos(math.pi * t)),
        "one_decay": lambda t: 0.1 if t >= 0.75 else 1.0,
        "step": lambda t: 0.01 if t >= 0.75 else 0.1 if t >= 0.5 else 1.0,
        "one_cycle": lambda t: (
            0.04 + 0.96 * t / 0.3 if t < 0.3 else 0.5 * (1 + math.cos(math.pi * (t - 0.3) / 0.7))
        ),
    }
    rising = warmup * steps
    factors = [min(1.0, (step + 1) / rising) if rising else 1.0 for step in range(steps)]
    return [rate * shape[schedule](step / steps) * factor for step, factor in enumerate(factors)]


def batches(
    inputs: int, batch_size: int, seeds: Sequence[int], device: torch.device | str = "cpu", skip: int = 0
) -> Iterator[Tensor]:
    """Yield batches of indices (seeds, batch_size) without end: a new permutation per pass and seed.

    The incomplete last batch of a pass is dropped. The first ``skip`` batches are left out.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    per_pass = inputs // batch_size
    while True:
        order = torch.stack(
            [torch.randperm(inputs, generator=g)[: per_pass * batch_size] for g in generators]
        )
        first = min(skip, per_pass)
        skip -= first
        by_batch = order.view(len(generators), per_pass, batch_size).transpose(0, 1).contiguous()
        yield from by_batch.to(device, non_blocking=True).unbind(0)[first:]


@torch.no_grad()
def evaluate(
    network: Rows,
    theta: Tensor,
    buffers: Tensor | None,
    x: Tensor,
    y: Tensor,
    *,
    per_model: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return mean loss and error in percent, both (models,), over ``x`` (inputs, *shape), evaluation mode.

    Both are on the CPU. The host waits for a GPU once, at the end.

    Args:
        y: targets (inputs, …), or (models or 1, inputs, …) if ``per_model``.
    """
    y = y if per_model else y[None]
    rows, task = theta.shape[0], network.task
    sums = torch.zeros(3, rows, dtype=torch.float64, device=theta.device)
    loss, wrong, items = sums
    items += task.count_items(y)
    for some, part in network.blocks(rows, x):
        outputs = network(theta[some], x[None, part], None if buffers is None else buffers[some])
        targets = select_rows(y, some)[:, part]
        loss[some] += task.loss(outputs, targets).double() * task.count_items(targets).double()
        wrong[some] += task.total_error(outputs, targets)
    loss, wrong, items = sums.cpu()
    # A model whose loss is not finite counts as wrong everywhere; argmax of NaN would be class 0.
    finite = torch.isfinite(loss)
    worst = torch.tensor(task.worst_percent, dtype=torch.float64)
    return loss / items, torch.where(finite, 100 * wrong / items, worst)


def milestones(steps: int, points: int) -> list[int]:
    """Return the steps of the history: up to ``points``, about even on a log axis, with 0 and the end."""
    if points < 2:
        return [steps]
    inner = [round(steps ** (i / (points - 2))) for i in range(points - 1)] if points > 2 else [steps]
    return sorted({0, steps, *inner})


@dataclass(frozen=True)
class Recipe:
    """Settings of training. Settings of type :data:`~explorer.train.steps.Each` may differ between models.

    Args:
        batch_size: at most the number of training inputs.
        steps: optimiser steps of the schedule.
        learning_rate: initial rate, or one per model.
        optimizer: a name in :mod:`explorer.train.optimisers`, or a user's ``module:function``. The function
            is called with ``momentum`` and ``weight_decay`` and returns an object with the methods ``start``
            and ``step`` of :class:`explorer.train.optimisers.base.Optimiser`. Its settings are the same for
            all models.
        momentum, weight_decay, rho: see the file of the optimiser.
        loss: by default that of the task, or a user's ``module:function`` of outputs (models, batch, …) and
            targets (models, batch, …) that returns the losses (models,) to minimise. ``stopping`` follows the
            minimised loss; tables and measures always use the loss of the task.
        schedule, warmup: see :func:`learning_rates`.
        history_points: number of points in the training history, about even on a log axis.
        checkpoints: steps at which models are kept; by default only the end. Training ends at the last
            checkpoint; the schedule is still that of ``steps``.
        stopping: rules that stop a model early, and which of its states to keep.
        augment: shift and mirror the images of each batch.
        precision: ``float32``, or ``bf16`` for mixed precision of the gradient.
        channels_last: keep images in this memory format, which is faster for convolutions on many devices.
        compile: compile the loss with ``torch.compile``.
    """

    batch_size: int
    steps: int
    learning_rate: Each
    optimizer: str = "sgd"
    loss: str | None = None
    momentum: Each = 0.9
    weight_decay: Each = 0.0
    rho: Each = 0.05
    schedule: str = "cosine"
    warmup: float = 0.0
    history_points: int = 20
    checkpoints: Sequence[int] = ()
    stopping: Stopping = Stopping()  # noqa: RUF009 (frozen)
    augment: bool = False
    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False


def train(
    network: Rows,
    theta: Tensor,
    buffers: Tensor,
    data: Split,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    targets: Tensor | None = None,
    state: State | None = None,
    save: Callable[[State], None] | None = None,
    save_every_s: float = 300.0,
    tell: Callable[[list[dict[str, Any]]], None] | None = None,
) -> Trained:
    """Train models together, each on its own order of the data.

    If the architecture's arithmetic does not depend on the number of models, each model gets the same bits as
    when trained alone. Networks that draw random numbers (dropout) are trained one by one, each from its own
    seed. The global random state does not change.

    Args:
        theta, buffers: initial models (models, parameters) and (models, numbers); they are not changed.
        seeds: of the data orders, one per model.
        targets: training targets (models, inputs, …), if they differ between models; by default those of
            ``data``.
        state: resume from this state. The result has the same bits as without the interruption.
        save: called with the state at most every ``save_every_s`` seconds.
        tell: called with each point of the history, a dict per model, as soon as it is measured.

    If a model diverges (its loss is not finite) or is dead (it gives one answer for every training input),
    its status says so. Other models are not affected.
    """
    started = saved = time.perf_counter()
    steps, stopping = recipe.steps, recipe.stopping
    device = data.device
    groups = row_groups(len(theta), recipe.learning_rate, recipe.momentum, recipe.weight_decay, recipe.rho)
    rates = [learning_rates(recipe.schedule, rate, steps, recipe.warmup) for _, (rate, *_) in groups]
    optimiser = optimiser_of(recipe.optimizer, groups)
    y_train = data.y_train[None] if targets is None else targets.to(device)
    every_row = torch.arange(len(theta), device=device)[:, None]
    checkpoint_steps = sorted(set(recipe.checkpoints)) or [steps]
    if state is None:
        theta, buffers = theta.clone().to(device), buffers.clone().to(device)
        memory, first, result = optimiser.start(theta), 0, Trained()
        watch = LossMonitor(stopping, theta, buffers) if stopping else None
    else:
        memory = {name: tensor.clone().to(device) for name, tensor in state.tensors.items()}
        theta, buffers, first = memory.pop("theta"), memory.pop("buffers"), state.meta["step"]
        watched = {name: memory.pop(name) for name in list(memory) if name.startswith("watch_")}
        watch = LossMonitor(stopping, theta, buffers, watched) if stopping else None
        result = Trained(history=list(state.meta["history"]))
        for step, final in state.meta["models"]:
            result.models[step] = Models(
                memory.pop(f"theta_at_{step}"), memory.pop(f"buffers_at_{step}"), final
            )
    per_pass = len(data.x_train) // recipe.batch_size
    keep = {*milestones(checkpoint_steps[-1], recipe.history_points), *checkpoint_steps}
    loss_gradient = loss_gradient_of(network, recipe.loss, recipe.precision, recipe.compile)
    random = draws_random_numbers(network, theta, buffers, data.x_train)

    def batch(index: Tensor, step: int) -> tuple[Tensor, Tensor]:
        x, y = data.batch(index)
        if targets is not None:
            y = y_train[every_row, index.to(device, non_blocking=True)]
        if recipe.augment:
            x = crop_and_flip(x, seeds, step)
        if recipe.channels_last and x.dim() == 5:
            x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])
        return x, y

    plain = loss_gradient == network.loss_gradient and ":" not in recipe.optimizer
    take = make_step(
        theta,
        buffers,
        memory,
        optimiser,
        rates[0] if len(rates) == 1 else list(zip(*rates, strict=True)),
        batch,
        loss_gradient,
        watch=watch,
        seeds=seeds if random else None,
        bound=network.bound(theta) if plain else None,
    )
    order = batches(len(data.x_train), recipe.batch_size, seeds, data.x_train.device, skip=first)
    all_stopped = False
    for step in range(first, checkpoint_steps[-1] + 1):
        if step in keep or all_stopped:
            shown = watch.models_to_keep(theta, buffers) if watch else (theta, buffers)
            measures = _measure(network, *shown, data, y_train)
            at = {"step": step, "epoch": step / per_pass}
            for (rows, _), scheduled in zip(groups, rates, strict=True):
                at["learning_rate"] = scheduled[min(step, steps - 1)]
                places = range(len(theta))[rows]
                result.history += [{"row": row, **at, **measures[row]} for row in places]
            if tell is not None:
                tell(result.history[-len(theta) :])
            ends_here = all_stopped or not any(math.isfinite(m["train_loss"]) for m in measures)
            if step in checkpoint_steps or ends_here:
                lengths = watch.steps_trained(step) if watch else [step] * len(measures)
                begun = {p["row"]: p["train_loss"] for p in result.history if p["step"] == 0}
                untrained = [begun.get(row, math.inf) for row in range(len(theta))]
                final = _with_status(network, *shown, data, measures, lengths, untrained)
                for stop in checkpoint_steps if ends_here else [step]:
                    result.models.setdefault(stop, Models(shown[0].clone(), shown[1].clone(), final))
            if step == checkpoint_steps[-1] or ends_here:
                break
        take(next(order), step)
        if watch and (step + 1) % per_pass == 0:
            all_stopped = watch.end_pass((step + 1) // per_pass, per_pass, step + 1, theta, buffers)
        if save is not None and time.perf_counter() - saved > save_every_s:
            save(_state(step + 1, theta, buffers, memory, watch, result))
            saved = time.perf_counter()
    result.wall_s = time.perf_counter() - started
    return result


def _state(
    step: int,
    theta: Tensor,
    buffers: Tensor,
    memory: dict[str, Tensor],
    watch: LossMonitor | None,
    done: Trained,
) -> State:
    tensors = {"theta": theta, "buffers": buffers, **memory, **(watch.tensors if watch else {})}
    for at, models in done.models.items():
        tensors |= {f"theta_at_{at}": models.theta, f"buffers_at_{at}": models.buffers}
    finals = [[at, models.final] for at, models in done.models.items()]
    return State(tensors, {"step": step, "history": done.history, "models": finals})


def judge(
    network: Rows, theta: Tensor, buffers: Tensor, data: Split, steps: int | None
) -> list[dict[str, Any]]:
    """Return losses, errors and status of models that were trained elsewhere, in ``steps`` if that is known.

    ``theta`` is (models, parameters) and ``buffers`` (models, numbers). Their losses before training are not
    known, so a model with a large finite loss has not diverged.
    """
    measures = _measure(network, theta, buffers, data, data.y_train[None])
    lengths, untrained = [steps] * len(theta), [math.inf] * len(theta)
    return _with_status(network, theta, buffers, data, measures, lengths, untrained)


def _with_status(
    network: Rows,
    theta: Tensor,
    buffers: Tensor,
    data: Split,
    measures: list[dict[str, float]],
    lengths: Sequence[int | None],
    untrained: list[float],
) -> list[dict[str, Any]]:
    """Return the measures of each replicate, with its status; ``untrained``: their losses at step 0."""
    dead = network.task.gives_one_answer(network.answers(theta, data.x_train, buffers)).tolist()
    final = []
    for measured, is_dead, steps, start in zip(measures, dead, lengths, untrained, strict=True):
        status, error = "ok", ""
        if not (math.isfinite(measured["train_loss"]) and math.isfinite(measured["test_loss"])):
            status, error = "diverged", "the loss is not finite"
        elif measured["train_loss"] > DIVERGED * start:
            status, error = "diverged", f"the loss is more than {DIVERGED} times that before training"
        elif is_dead:
            status, error = "diverged", "dead: one answer for every training input"
        final.append({"status": status, "error": error, "steps": steps, **measured})
    return final


def _measure(
    network: Rows, theta: Tensor, buffers: Tensor, data: Split, y_train: Tensor
) -> list[dict[str, float]]:
    train_loss, train_error = evaluate(network, theta, buffers, data.x_train, y_train, per_model=True)
    test_loss, test_error = evaluate(network, theta, buffers, data.x_test, data.y_test)
    columns = {
        "train_loss": train_loss,
        "train_error_percent": train_error,
        "test_loss": test_loss,
        "test_accuracy_percent": 100 - test_error,
    }
    by_model = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, values, strict=True)) for values in by_model]
