"""Trains the replicates of one cell as the rows of one matrix. Pure torch: no Ray, no files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from explorer.models.rows import Rows


@dataclass(frozen=True)
class Split:
    """Tensors of a classification data set: inputs (inputs, *shape), labels (inputs,)."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int

    @classmethod
    def of(cls, arrays: Any, device: torch.device | str = "cpu") -> Split:
        """From :class:`explorer.data.base.Arrays`, copied to the device."""
        x = [
            torch.tensor(getattr(arrays, name), device=device)
            for name in ("x_train", "y_train", "x_test", "y_test")
        ]
        return cls(*x, classes=arrays.classes)


@dataclass
class Trained:
    """What training leaves: a row a replicate.

    ``history`` holds a dict a point and replicate: ``row`` (its place in the stack) and the columns of
    the ``epochs`` table. ``final`` holds a dict a replicate with its measures and ``status``/``error``.
    """

    theta: Tensor
    buffers: Tensor
    steps: int
    final: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    wall_s: float = 0.0


def learning_rates(schedule: str, rate: float, steps: int) -> list[float]:
    """The learning rate of each step.

    ``constant``; ``cosine`` falls to 0 along half a cosine; ``one_decay`` is a tenth from 75 % of the
    steps on; ``step`` is a tenth from 50 % and a hundredth from 75 % on.
    """
    place = [i / steps for i in range(steps)]
    factor: dict[str, Callable[[float], float]] = {
        "constant": lambda t: 1.0,
        "cosine": lambda t: 0.5 * (1 + math.cos(math.pi * t)),
        "one_decay": lambda t: 0.1 if t >= 0.75 else 1.0,
        "step": lambda t: 0.01 if t >= 0.75 else 0.1 if t >= 0.5 else 1.0,
    }
    return [rate * factor[schedule](t) for t in place]


def batches(
    inputs: int, batch_size: int, seeds: Sequence[int], device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """Endless batches of indices (seeds, batch_size): a fresh permutation a pass, its own for each seed.

    The incomplete last batch of a pass is dropped.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    per_pass = inputs // batch_size
    while True:
        order = torch.stack(
            [torch.randperm(inputs, generator=g)[: per_pass * batch_size] for g in generators]
        )
        yield from order.to(device).view(len(generators), per_pass, batch_size).unbind(1)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy (rows,) of logits (rows, batch, classes) and labels (rows or 1, batch)."""
    # Classes before the batch: the softmax then runs along the batch in long vectors (3 to 8 times faster).
    labels = y.expand(logits.shape[:2])
    return functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)


@torch.no_grad()
def evaluate(
    network: Rows, theta: Tensor, buffers: Tensor | None, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean loss (rows,) and 0/1 error in percent (rows,) over inputs (inputs, *shape), evaluation mode."""
    rows = theta.shape[0]
    loss = torch.zeros(rows, dtype=torch.float64)
    wrong = torch.zeros(rows, dtype=torch.float64)
    for part in network.chunks(rows, x):
        logits = network(theta, x[None, part], buffers)
        labels = y[None, part]
        loss += cross_entropy(logits, labels).double().cpu() * labels.shape[1]
        wrong += (logits.argmax(2) != labels).sum(1).cpu()
    # A model that is not finite is wrong everywhere: argmax of NaN would be class 0.
    finite = torch.isfinite(loss)
    return loss / len(x), torch.where(finite, 100 * wrong / len(x), torch.tensor(100.0, dtype=torch.float64))


def milestones(steps: int, points: int) -> list[int]:
    """Steps at which the history is kept: up to ``points``, about even on a log axis, with 0 and the end."""
    if points < 2:
        return [steps]
    inner = [round(steps ** (i / (points - 2))) for i in range(points - 1)] if points > 2 else [steps]
    return sorted({0, steps, *inner})


def train(
    network: Rows,
    theta: Tensor,
    buffers: Tensor,
    data: Split,
    *,
    seeds: Sequence[int],
    batch_size: int,
    steps: int,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    schedule: str = "cosine",
    history_points: int = 20,
) -> Trained:
    """Train the rows side by side with SGD with momentum, each on its own order of the data.

    Args:
        theta, buffers: the initial models (replicates, parameters) and (replicates, numbers); not changed.
        seeds: of the data orders, one a replicate.
        batch_size: at most the number of training inputs.

    A replicate that diverges (its loss is not finite) or is dead (it gives one answer for every
    training input) is marked so in ``final``; its neighbours are not touched. The update is PyTorch's:
    v ← momentum · v + g + weight_decay · θ, θ ← θ − rate · v.
    """
    started = time.perf_counter()
    device = data.x_train.device
    theta, buffers = theta.clone().to(device), buffers.clone().to(device)
    velocity = torch.zeros_like(theta)
    rates = learning_rates(schedule, learning_rate, steps)
    per_pass = len(data.x_train) // batch_size
    keep = set(milestones(steps, history_points))
    result = Trained(theta, buffers, steps)
    order = batches(len(data.x_train), batch_size, seeds, device)
    for step in range(steps + 1):
        if step in keep:
            measures = _measure(network, theta, buffers, data)
            at = {"step": step, "epoch": step / per_pass, "learning_rate": rates[min(step, steps - 1)]}
            result.history += [{"row": row, **at, **m} for row, m in enumerate(measures)]
            if step == steps or not any(math.isfinite(m["train_loss"]) for m in measures):
                break
        index = next(order)
        leaf = theta.detach().requires_grad_()
        loss = cross_entropy(network(leaf, data.x_train[index], buffers, training=True), data.y_train[index])
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        if weight_decay:
            gradient = gradient.add(theta, alpha=weight_decay)
        velocity.mul_(momentum).add_(gradient)
        theta.add_(velocity, alpha=-rates[step])
    predicted = network.logits(theta, data.x_train, buffers).argmax(2)
    dead = (predicted == predicted[:, :1]).all(1).tolist()
    for row, m in enumerate(measures):
        status, error = "ok", ""
        if not (math.isfinite(m["train_loss"]) and math.isfinite(m["test_loss"])):
            status, error = "diverged", "the loss is not finite"
        elif dead[row]:
            status, error = "diverged", "dead: one answer for every training input"
        result.final.append({"status": status, "error": error, "steps": step, **m})
    result.wall_s = time.perf_counter() - started
    return result


def _measure(network: Rows, theta: Tensor, buffers: Tensor, data: Split) -> list[dict[str, float]]:
    train_loss, train_error = evaluate(network, theta, buffers, data.x_train, data.y_train)
    test_loss, test_error = evaluate(network, theta, buffers, data.x_test, data.y_test)
    columns = {
        "train_loss": train_loss,
        "train_error_percent": train_error,
        "test_loss": test_loss,
        "test_accuracy_percent": 100 - test_error,
    }
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*(c.tolist() for c in columns.values()), strict=True)
    ]
