"""Mode connectivity: low-loss curves between trained models, all pairs of a cell in one stack.

A curve joins two models a and b. Its bends are trained so that the training loss along the curve is low
(Garipov et al., 2018; Draxler et al., 2018). The usual curve is the quadratic Bézier curve γ(t) = (1−t)²·a +
2t(1−t)·c + t²·b. The error along the curve shows whether both models lie in one connected region (Yang et
al., 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explorer.landscape.paths import Kind, Path, path_weights
from explorer.models.arithmetic import constant
from explorer.models.draws import draws_random_numbers, seeded_one_by_one
from explorer.models.rows import Rows
from explorer.train.loop import Split, batches, evaluate, select_inputs

STEPS_MIN = 36  # fewer steps cannot separate the fall of the loss from noise


@dataclass(frozen=True)
class Profile:
    """Loss (nats) and 0/1 error (percent) along paths: each of (pairs, points), at ``t`` (points,)."""

    t: Tensor
    train_loss: Tensor
    train_error_percent: Tensor
    test_loss: Tensor
    test_error_percent: Tensor


@dataclass(frozen=True)
class Fit:
    """Fitted paths, and whether more steps would have lowered them.

    ``fall`` is the decrease of the mean loss along the path (nats) from the second to the third sixth of the
    steps, the end of the phase at full learning rate. Later, the loss falls because the rate falls. ``fall``
    is estimated by regression on the losses of the steps, with a polynomial in t for the shape of the path.
    ``fall_stderr`` is its standard error. A pair is ``converged`` if fall + 2·stderr is at most ``tolerance``
    times the loss (or times .01 nats, if the loss is smaller). So a fit that is too short to show this does
    not count as converged. Below 36 steps, the fall is NaN.
    """

    path: Path
    loss: Tensor  # (pairs,): mean training loss along the path over the last tenth of the steps
    fall: Tensor  # (pairs,)
    fall_stderr: Tensor  # (pairs,)
    converged: Tensor  # (pairs,)


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
    kind: Kind = "bezier",
    bends: int = 1,
    start: Tensor | None = None,
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    tolerance: float = 0.1,
) -> Fit:
    """Fit paths from ``a`` to ``b`` (pairs, parameters), all pairs together.

    Minimises the expected training loss at t ~ U(0, 1) by SGD with momentum. ``weight_decay`` is an L2
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
    velocities = [torch.zeros_like(a) for _ in range(bends)]
    buffers, batch_size = buffers.clone(), min(batch_size, len(x))
    order = batches(len(x), batch_size, seeds, x.device)
    generators = [torch.Generator().manual_seed(seed ^ 1) for seed in seeds]
    times = torch.stack([torch.rand(steps, generator=g) for g in generators], 1)  # (steps, pairs)
    weights = path_weights(kind, bends + 2, times.to(a)).unsqueeze(2)  # (steps, pairs, 1, bends + 2)
    factors = zip(*(weight.contiguous().unbind(0) for weight in weights.unbind(3)), strict=True)
    losses = torch.empty(steps, pairs, dtype=a.dtype, device=a.device)
    point = torch.empty_like(a)
    random = draws_random_numbers(network, a, buffers, x)
    bound, momentum_tensor = network.bound(point), constant(momentum, a.dtype)

    def advance(step: int, index: Tensor, weight: Sequence[Tensor], loss: Tensor) -> None:
        # In place: allocating memory for every product would cost more than the arithmetic.
        torch.mul(a, weight[0], out=point)
        for place, factor in zip(points[1:], weight[1:], strict=True):
            point.addcmul_(place, factor)
        batch, targets = select_inputs(x, index), select_inputs(y, index)
        if bound is not None:
            mean_loss, gradient = bound.step(batch.to(a.device), targets, True), bound.gradient
        else:
            loss_gradient = (
                seeded_one_by_one(network.loss_gradient, seeds, step) if random else network.loss_gradient
            )
            mean_loss, gradient = loss_gradient(point, batch, targets, buffers)
        assert mean_loss is not None
        loss.copy_(mean_loss)
        if weight_decay:
            gradient = gradient.add(point, alpha=weight_decay)
        rate = learning_rate * curve_rate(step, steps)
        for bend, velocity, factor in zip(points[1:-1], velocities, weight[1:-1], strict=True):
            velocity.mul_(momentum_tensor).addcmul_(gradient, factor)
            bend.add_(velocity, alpha=-rate)

    if bound is not None:  # inference mode avoids the bookkeeping of automatic differentiation
        advance = torch.inference_mode()(advance)
    for step, (weight, loss) in enumerate(zip(factors, losses.unbind(0), strict=True)):  # each (pairs, 1)
        advance(step, next(order), weight, loss)
    return _with_convergence(
        Path(torch.stack(points, 1), kind), losses.T.double().cpu(), times.T.double(), tolerance
    )


def _with_convergence(path: Path, losses: Tensor, times: Tensor, tolerance: float) -> Fit:
    """Return the fit from ``losses`` (pairs, steps) at positions ``times`` (pairs, steps)."""
    # The numbers of a pair are contiguous, so sums round the same way for any number of pairs.
    losses, times = losses.contiguous(), times.contiguous()
    steps = losses.shape[1]
    loss = losses[:, steps * 9 // 10 :].mean(1)
    if steps < STEPS_MIN:
        unknown = torch.full_like(loss, torch.nan)
        return Fit(path, loss, unknown, unknown, torch.zeros_like(loss, dtype=torch.bool))
    window = slice(steps // 6, steps // 2)
    y, t = losses[:, window].unsqueeze(2), times[:, window]  # (pairs, n, 1), (pairs, n)
    early = (torch.arange(y.shape[1]) < y.shape[1] // 2).to(t).expand_as(t)
    design = torch.stack([early, *(t**power for power in range(5))], 2)  # (pairs, n, 6)
    inverse = torch.linalg.pinv(design)
    slopes = inverse @ y
    freedom = y.shape[1] - design.shape[2]
    variance = (y - design @ slopes).square().sum((1, 2)) / freedom
    fall, stderr = slopes[:, 0, 0], (variance * inverse[:, 0].square().sum(1)).sqrt()
    limit = tolerance * losses[:, steps // 3 : steps // 2].mean(1).clamp_min(0.01)
    return Fit(path, loss, fall, stderr, fall + 2 * stderr <= limit)


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
    t = torch.linspace(0, 1, points, dtype=torch.float64)
    columns: list[list[Tensor]] = [[], [], [], []]
    for place in t.tolist():
        theta = path.at(place)
        stats = network.estimate_buffers(theta, buffers, data.x_train)
        train_loss, train_error = evaluate(network, theta, stats, data.x_train, data.y_train)
        test_loss, test_error = evaluate(network, theta, stats, data.x_test, data.y_test)
        for column, value in zip(columns, (train_loss, train_error, test_loss, test_error), strict=True):
            column.append(value)
    return Profile(t, *(torch.stack(column, 1) for column in columns))


def mode_connectivity(error: Tensor) -> Tensor:
    """Return m − e(t*) of errors (pairs, points): m is the mean of both ends, t* the point farthest from m.

    Negative: a barrier. About 0: well connected. Positive: the curve is better than its ends. If a rise and a
    fall have the same size, the first one along the path counts.
    """
    difference = error[:, [0, -1]].mean(1, keepdim=True) - error
    return difference.gather(1, difference.abs().argmax(1, keepdim=True)).squeeze(1)


def barrier(values: Tensor) -> Tensor:
    """Return the largest rise above the mean of both ends, (pairs,) from (pairs, points); at least 0."""
    return (values - values[:, [0, -1]].mean(1, keepdim=True)).amax(1).clamp_min(0)


def dip(values: Tensor) -> Tensor:
    """Return the largest fall below the mean of both ends, (pairs,) from (pairs, points); at least 0."""
    return (values[:, [0, -1]].mean(1, keepdim=True) - values).amax(1).clamp_min(0)
