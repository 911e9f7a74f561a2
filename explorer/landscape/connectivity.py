"""Mode connectivity: low-loss curves between trained models, all pairs of a cell in one stack.

A curve joins two models a and b. Its bends are trained so that the training loss along the curve is low
(Garipov et al., 2018; Draxler et al., 2018). The usual curve is the quadratic Bézier curve γ(t) = (1−t)²·a +
2t(1−t)·c + t²·b. The error along the curve shows whether both models lie in one connected region (Yang et
al., 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from explorer.landscape.paths import Path, PathKind, path_weights, straight
from explorer.models.arithmetic import constant
from explorer.models.draws import draws_random_numbers, seeded_one_by_one
from explorer.models.rows import Rows
from explorer.train.loop import Split, batches, evaluate, select_inputs

# A curve has converged if twice the steps change barrier and dip, the two sides of mode connectivity, by at
# most a point (half of the tolerance of "connected"), and the loss barrier by at most .02 nats (what a point
# of errors costs, if a wrong label costs 2 nats). Large values may change by a tenth.
TOLERANCES = (1.0, 1.0, 0.02)
RELATIVE_TOLERANCE = 0.1
# With a rate that is far too small, a high barrier changes as little as after convergence. But then the
# second half of the steps lowers the loss about as much as the first. Its share of the fall is at most this.
LAST_SHARE = 0.25
STEPS_MIN = 200  # with fewer steps, a curve that has hardly left its start would count as converged
ADAM = (0.99, 1e-8)  # decay of the mean squared gradient, and the smallest root of it

GOLDEN = (math.sqrt(5) - 1) / 2

Optimizer = Literal["sgd", "adam"]


@dataclass(frozen=True)
class Profile:
    """Loss (nats) and 0/1 error (percent) along paths: each of (pairs, points), at ``t`` (points,)."""

    t: Tensor
    train_loss: Tensor
    train_error_percent: Tensor
    test_loss: Tensor
    test_error_percent: Tensor

    @property
    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.train_loss, self.train_error_percent, self.test_loss, self.test_error_percent


@dataclass(frozen=True)
class Fit:
    """Fitted paths at the whole budget and at half of it.

    At half of the budget, the learning rate has not fallen yet. So ``half`` is the mean of the bends over the
    second quarter of the steps, which removes most of the noise.
    """

    path: Path
    half: Path


@dataclass(frozen=True)
class Converging:
    """Fitted paths, and whether twice the steps changed them: see :func:`fit_to_convergence`.

    ``curve`` is the profile at all ``steps`` (pairs,), ``line`` that of the straight lines. Loss (nats) and
    error (percent) of training at half of the steps are (pairs, points).
    """

    path: Path
    steps: Tensor
    curve: Profile
    half_loss: Tensor
    half_error_percent: Tensor
    line: Profile

    @property
    def converged(self) -> Tensor:
        """Whether barrier, dip and loss barrier changed by at most the tolerances (pairs,).

        If one of them is larger than its tolerance, the loss must have fallen mostly in the first half.
        """
        now = _heights(self.curve.train_loss, self.curve.train_error_percent)
        half = _heights(self.half_loss, self.half_error_percent)
        limit = RELATIVE_TOLERANCE * torch.maximum(now, half)
        least = torch.tensor(TOLERANCES).to(limit)
        before = self.half_loss, self.line.train_loss
        last, whole = ((loss - self.curve.train_loss).mean(1) for loss in before)
        fell_first = (now <= least).all(1) | (last <= LAST_SHARE * whole.clamp_min(0))
        steady = ((now - half).abs() <= limit.maximum(least)).all(1)
        return steady & fell_first & (self.steps >= STEPS_MIN).to(limit.device)


def _heights(loss: Tensor, error: Tensor) -> Tensor:
    return torch.stack([barrier(error), dip(error), barrier(loss)], 1)


def curve_rate(step: int, steps: int) -> float:
    """Return the learning-rate factor: 1 for half of the steps, then linear to 1 % at 90 %, then constant."""
    place = step / steps
    return 1.0 if place <= 0.5 else 1.0 - (place - 0.5) / 0.4 * 0.99 if place <= 0.9 else 0.01


def fit_paths(
    network: Rows,
    a: Tensor,
    b: Tensor,
    buffers: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    seeds: Sequence[int],
    kind: PathKind = "bezier",
    bends: int = 1,
    start: Tensor | None = None,
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    optimizer: Optimizer = "sgd",
) -> Fit:
    """Fit paths from ``a`` to ``b`` (pairs, parameters), all pairs together.

    Minimises the expected training loss at t ~ U(0, 1) by SGD with momentum, or by Adam (``momentum``: decay
    of its mean gradient), which needs a fraction of the steps for small networks. ``weight_decay`` is an L2
    penalty on the sampled point of the path. ``buffers`` (pairs, numbers) are the initial BatchNorm
    statistics. They are not used here, because training mode normalises by the batch. Cost: one gradient per
    step and pair.

    Args:
        seeds: of the batches and of t, one per pair; the path of a pair does not depend on other pairs.
        bends: trainable points between the ends.
        start: initial bends (pairs, bends, parameters), such as random initialisations. If None, bends start
            evenly spaced on the straight line.

    Raises:
        ValueError: ``bends`` or ``steps`` is below 1, or ``start`` has another shape.
    """
    if bends < 1 or steps < 1:
        raise ValueError(f"bends is {bends} and steps is {steps}; both must be at least 1")
    pairs, parameters = a.shape
    if start is None:
        share = torch.linspace(0, 1, bends + 2, dtype=torch.float64)[1:-1, None, None].to(a)
        middle = a + share * (b - a)  # (bends, pairs, parameters)
    elif start.shape == (pairs, bends, parameters):
        middle = start.to(a).transpose(0, 1)
    else:
        raise ValueError(f"start has the shape {tuple(start.shape)}; it must be {(pairs, bends, parameters)}")
    points = [a, *(bend.clone() for bend in middle), b]  # each (pairs, parameters)
    velocities, squares, means = ([torch.zeros_like(a) for _ in range(bends)] for _ in range(3))
    quarter, half = steps // 4, max(1, steps // 2)
    buffers, batch_size = buffers.clone(), min(batch_size, len(x))
    order = batches(len(x), batch_size, seeds, x.device)
    generators = [torch.Generator().manual_seed(seed ^ 1) for seed in seeds]
    if optimizer == "adam":
        times = torch.stack([torch.rand(1, generator=g) for g in generators], 1)
        times = (times + GOLDEN * torch.arange(steps, dtype=torch.float64)[:, None]).frac()
    else:
        times = torch.stack([torch.rand(steps, generator=g) for g in generators], 1)  # (steps, pairs)
    weights = path_weights(kind, bends + 2, times.to(a)).unsqueeze(2)  # (steps, pairs, 1, bends + 2)
    factors = zip(*(weight.contiguous().unbind(0) for weight in weights.unbind(3)), strict=True)
    point = torch.empty_like(a)
    random = draws_random_numbers(network, a, buffers, x)
    bound, momentum_tensor = network.bound(point), constant(momentum, a.dtype)

    def advance(step: int, index: Tensor, weight: Sequence[Tensor]) -> None:
        # In place: allocating memory for every product would cost more than the arithmetic.
        torch.mul(a, weight[0], out=point)
        for place, factor in zip(points[1:], weight[1:], strict=True):
            point.addcmul_(place, factor)
        batch, targets = select_inputs(x, index), select_inputs(y, index)
        if bound is not None:
            bound.step(batch.to(a.device), targets, False)
            gradient = bound.gradient
        else:
            loss_gradient = (
                seeded_one_by_one(network.loss_gradient, seeds, step) if random else network.loss_gradient
            )
            _, gradient = loss_gradient(point, batch, targets, buffers)
        if weight_decay:
            gradient = gradient.add(point, alpha=weight_decay)
        rate = learning_rate * curve_rate(step, steps)
        for i, (bend, factor) in enumerate(zip(points[1:-1], weight[1:-1], strict=True)):
            if optimizer == "adam":
                _adam(bend, velocities[i], squares[i], gradient * factor, rate, momentum, step + 1)
            else:
                velocities[i].mul_(momentum_tensor).addcmul_(gradient, factor)
                bend.add_(velocities[i], alpha=-rate)
            if quarter <= step < half:
                means[i].add_(bend - means[i], alpha=1 / (step - quarter + 1))

    if bound is not None:  # inference mode avoids the bookkeeping of automatic differentiation
        advance = torch.inference_mode()(advance)
    for step, weight in enumerate(factors):  # each (pairs, 1)
        advance(step, next(order), weight)
    return Fit(Path(torch.stack(points, 1), kind), Path(torch.stack([a, *means, b], 1), kind))


def _adam(
    bend: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, rate: float, momentum: float, step: int
) -> None:
    """Take step number ``step`` (from 1) of Adam (Kingma & Ba, 2015) in place."""
    decay, least = ADAM
    mean.lerp_(gradient, 1 - momentum)
    square.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
    rate *= math.sqrt(1 - decay**step) / (1 - momentum**step)
    bend.addcdiv_(mean, square.sqrt().add_(least), value=-rate)


def fit_to_convergence(
    network: Rows,
    a: Tensor,
    b: Tensor,
    buffers: Tensor,
    data: Split,
    *,
    seeds: Sequence[int],
    steps: int,
    at_most: int = 0,
    points: int = 11,
    start: Tensor | None = None,
    **training: Any,
) -> Converging:
    """Fit paths with ``steps`` steps, then double the steps of those that have not converged.

    Paths are compared at half and at all of their steps. A path is continued from where it is, with a fresh
    schedule of as many steps as before, as long as the total is at most ``at_most``. The path of a pair does
    not depend on the other pairs.

    Args:
        points: points of t at which paths are compared.
        training: further settings of :func:`fit_paths`.
    """

    def fit(rows: Tensor, offset: int, start: Tensor | None) -> tuple[Fit, Profile]:
        x, y, chosen = data.x_train, data.y_train, [seeds[row] + offset for row in rows.tolist()]
        ends = a[rows], b[rows], buffers[rows]
        fitted = fit_paths(network, *ends, x, y, seeds=chosen, steps=steps, start=start, **training)
        return fitted, profile_path(network, fitted.path, buffers[rows], data, points=points)

    rows = torch.arange(len(a))
    fitted, curve = fit(rows, 0, start)
    trained_on = data.x_train, data.y_train
    (half,) = losses_along(network, fitted.half, buffers, data.x_train, trained_on, points=points)
    line = profile_path(network, straight(a, b), buffers, data, points=points)
    found = Converging(fitted.path, torch.full((len(a),), steps), curve, *half, line)
    while 2 * steps <= at_most and len(rows := (~found.converged).nonzero().squeeze(1)):
        fitted, curve = fit(rows, 2 * steps, found.path.points[rows, 1:-1])
        steps *= 2
        found.path.points[rows] = fitted.path.points
        found.steps[rows] = steps
        found.half_loss[rows] = found.curve.train_loss[rows]
        found.half_error_percent[rows] = found.curve.train_error_percent[rows]
        for kept, values in zip(found.curve.columns, curve.columns, strict=True):
            kept[rows] = values
    return found


def fit_curves(
    network: Rows,
    a: Tensor,
    b: Tensor,
    buffers: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    seeds: Sequence[int],
    **training: Any,
) -> Tensor:
    """Fit quadratic Bézier curves; return their control points (pairs, parameters).

    ``training`` are settings of :func:`fit_paths`, from ``steps`` to ``weight_decay``.
    """
    fit = fit_paths(network, a, b, buffers, x, y, seeds=seeds, kind="bezier", bends=1, **training)
    return fit.path.points[:, 1]


def profile(
    network: Rows, a: Tensor, control: Tensor, b: Tensor, buffers: Tensor, data: Split, *, points: int = 11
) -> Profile:
    """Return :func:`profile_path` of quadratic Bézier curves; a midway control point gives a line."""
    return profile_path(network, Path(torch.stack([a, control, b], 1)), buffers, data, points=points)


def profile_path(network: Rows, path: Path, buffers: Tensor, data: Split, *, points: int = 11) -> Profile:
    """Return loss and error at evenly spaced t from 0 to 1 along paths, on training and test data.

    BatchNorm statistics are re-estimated on the training inputs at every point, including the ends.
    ``buffers`` (pairs, numbers) give the shape of the statistics and all other buffers.
    """
    parts = (data.x_train, data.y_train), (data.x_test, data.y_test)
    train, test = losses_along(network, path, buffers, data.x_train, *parts, points=points)
    return Profile(positions(points), *train, *test)


def losses_along(
    network: Rows,
    path: Path,
    buffers: Tensor,
    x_train: Tensor,
    *parts: tuple[Tensor, Tensor],
    points: int = 11,
) -> list[tuple[Tensor, Tensor]]:
    """Return loss and error (pairs, points) at evenly spaced t, for each part: see :func:`profile_path`.

    Args:
        parts: inputs (inputs, *shape) and targets (inputs, …).
    """
    columns: list[list[tuple[Tensor, Tensor]]] = [[] for _ in parts]
    for place in positions(points).tolist():
        theta = path.at(place)
        stats = network.estimate_buffers(theta, buffers, x_train)
        for column, (x, y) in zip(columns, parts, strict=True):
            column.append(evaluate(network, theta, stats, x, y))
    return [
        (torch.stack([loss for loss, _ in column], 1), torch.stack([error for _, error in column], 1))
        for column in columns
    ]


def positions(points: int) -> Tensor:
    """Return evenly spaced t from 0 to 1."""
    return torch.linspace(0, 1, points, dtype=torch.float64)


def mode_connectivity(error: Tensor) -> Tensor:
    """Return m − e(t*) of errors (pairs, points): m is the mean of both ends, t* the point farthest from m.

    Negative: a barrier. Positive: the curve is better than its ends. It is 0 if it is not larger than the
    difference of the ends: then the ends are among the farthest points, or nearly, and its sign would be
    chance. If a rise and a fall have the same size, the first one along the path counts.
    """
    ends = error[:, [0, -1]]
    difference = ends.mean(1, keepdim=True) - error
    found = difference.gather(1, difference.abs().argmax(1, keepdim=True)).squeeze(1)
    return torch.where(found.abs() <= (ends[:, 0] - ends[:, 1]).abs(), 0.0, found)


def barrier(values: Tensor) -> Tensor:
    """Return the largest rise above the mean of both ends, (pairs,) from (pairs, points); at least 0."""
    return (values - values[:, [0, -1]].mean(1, keepdim=True)).amax(1).clamp_min(0)


def dip(values: Tensor) -> Tensor:
    """Return the largest fall below the mean of both ends, (pairs,) from (pairs, points); at least 0."""
    return (values[:, [0, -1]].mean(1, keepdim=True) - values).amax(1).clamp_min(0)
