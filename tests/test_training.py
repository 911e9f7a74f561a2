"""Training of rows: against PyTorch's own optimisers, with breaks, with replicates that diverge."""

from __future__ import annotations

import copy
import itertools
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from in_process import train
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import explorer.models
from explorer.data.dataset import Arrays
from explorer.landscape.operator import HessianOperator
from explorer.models import cnn, mlp
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows
from explorer.settings import InputError, plugin
from explorer.space.training import EarlyStop
from explorer.tasks import Classification
from explorer.train.augmentation import crop_and_flip
from explorer.train.loop import (
    Split,
    State,
    batches,
    evaluate,
    learning_rates,
    milestones,
)
from explorer.train.optimisers.base import optimiser
from explorer.train.steps import loss_gradient_of, make_step, optimiser_of, row_groups
from explorer.train.stopping import LossMonitor, Stopping


@pytest.fixture
def data() -> Split:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    return Split(x[:45], y[:45], x[45:], y[45:], classes=3)


def stack(replicates: int = 3, width: int = 4) -> tuple[Rows, Tensor, Tensor]:
    build, rows = network("mlp", mlp.Options(width=width), (5,), 3)
    theta, buffers = initial_rows(build, rows, range(replicates))
    return rows, theta.double(), buffers.double()


SETTINGS: dict[str, Any] = {"batch_size": 7, "steps": 40, "learning_rate": 0.05, "history_points": 6}

TORCH: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.9, 0.999), weight_decay=0.01),
}


def split_of_images(device: str = "cpu", limit: float | None = None) -> Split:
    """40 training and 20 test images of numbers, on a device or beside it."""
    numbers = np.random.default_rng(0).standard_normal((60, 1, 8, 8)).astype(np.float32)
    labels = np.arange(60) % 3
    return Split.of(Arrays(numbers[:40], labels[:40], numbers[40:], labels[40:], 3), device, limit=limit)


def test_inputs_stay_in_host_memory_where_they_do_not_fit() -> None:
    # The meta device has shapes and no numbers: what forgets to move its inputs there fails.
    size, index = 60 * (64 * 4 + 8), torch.tensor([[0, 7, 3], [5, 1, 2]])
    here = split_of_images()
    assert torch.equal(here.batch(index)[0], here.x_train[index])
    assert torch.equal(here.batch(index)[1], here.y_train[index])
    assert split_of_images("meta", limit=size).x_train.is_meta
    data = split_of_images("meta", limit=size - 1)
    assert (data.device.type, data.x_train.device.type, data.x_test.device.type) == ("meta", "cpu", "cpu")
    x, y = data.batch(index)
    assert x.is_meta
    assert y.is_meta
    assert (x.shape, y.shape) == ((2, 3, 1, 8, 8), (2, 3))
    for name, options in (("mlp", mlp.Options(width=4)), ("cnn", cnn.Options(width=2))):
        build, rows = network(name, options, (1, 8, 8), 3)
        theta, buffers = (t.to("meta") for t in initial_rows(build, rows, [0, 1]))
        rows.to("meta")
        assert rows.outputs(theta, data.x_test, buffers).is_meta
        losses, gradient = rows.loss_gradient(theta, data.x_train[None, :5], data.y_train[None, :5], buffers)
        assert losses.is_meta
        assert gradient.is_meta
        operator = HessianOperator(rows, theta, data.x_train, data.y_train, buffers)
        assert operator(torch.ones_like(theta)).is_meta


@pytest.mark.parametrize("name", TORCH)
def test_rows_are_trained_as_torch_trains_modules(data: Split, name: str) -> None:
    rows, theta, buffers = stack()
    trained = train(
        rows, theta, buffers, data, seeds=[3, 4, 5], optimizer=name, weight_decay=0.01, **SETTINGS
    )
    for row in range(3):
        module = rows.to_module(theta[row], buffers[row])
        optimiser = TORCH[name](module.parameters())
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 40)
        order = batches(45, 7, [[3, 4, 5][row]])
        for _ in range(40):
            index = next(order)[0]
            optimiser.zero_grad()
            functional.cross_entropy(module(data.x_train[index]), data.y_train[index]).backward()
            optimiser.step()
            schedule.step()
        expected, _ = rows.row(module)
        torch.testing.assert_close(trained.theta[row], expected, rtol=1e-9, atol=1e-11)


def test_sam_is_sgd_with_the_gradient_of_the_worst_neighbour(data: Split) -> None:
    rows, theta, buffers = stack(1)
    settings = {**SETTINGS, "steps": 3, "momentum": 0.0, "schedule": "constant"}
    trained = train(rows, theta, buffers, data, seeds=[3], optimizer="sam", rho=0.1, **settings)
    order, at = batches(45, 7, [3]), theta.clone()

    def gradient(where: Tensor, index: Tensor) -> Tensor:
        leaf = where.detach().requires_grad_()
        return torch.autograd.grad(
            Classification().loss(rows(leaf, data.x_train[index]), data.y_train[index]), leaf
        )[0]

    for _ in range(3):
        index = next(order)
        g = gradient(at, index)
        at = at - 0.05 * gradient(at + 0.1 * g / g.norm(), index)
    torch.testing.assert_close(trained.theta, at)
    plain = train(rows, theta, buffers, data, seeds=[3], **settings)
    assert (plain.theta - at).abs().max() > 1e-4


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "sam"])
@pytest.mark.parametrize("break_at", [1, 6, 7, 23])
def test_training_goes_on_from_a_state_to_the_same_bits(data: Split, optimizer: str, break_at: int) -> None:
    rows, theta, buffers = stack()
    settings = {**SETTINGS, "optimizer": optimizer, "seeds": [1, 2, 3]}
    whole = train(rows, theta, buffers, data, **settings)
    states: list[State] = []

    def save(state: State) -> None:
        tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
        states.append(State(tensors, {**state.meta, "history": list(state.meta["history"])}))

    train(rows, theta, buffers, data, save=save, save_every_s=0, **settings)
    state = next(s for s in states if s.meta["step"] == break_at)
    rest = train(rows, theta, buffers, data, state=state, **settings)
    assert torch.equal(rest.theta, whole.theta)
    assert rest.history == whole.history
    assert rest.final == whole.final


def test_neighbours_do_not_matter(data: Split) -> None:
    rows, theta, buffers = stack(3)
    all_three = train(rows, theta, buffers, data, seeds=[1, 2, 3], **SETTINGS)
    alone = train(rows, theta[1:2], buffers[1:2], data, seeds=[2], **SETTINGS)
    torch.testing.assert_close(all_three.theta[1], alone.theta[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sam"}, {"precision": "bf16"}])
@pytest.mark.parametrize("execution", ["loop", "vmap"])
def test_dropout_follows_the_seed_of_each_row_alone(
    data: Split, execution: Any, settings: dict[str, Any]
) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)).double()

    rows = Rows(build(), execution=execution)
    theta, buffers = initial_rows(build, rows, [0, 1])
    options = {"batch_size": 10, "steps": 30, "learning_rate": 0.05, **settings}
    states: list[State] = []

    def save(state: State) -> None:
        tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
        states.append(State(tensors, {**state.meta, "history": list(state.meta["history"])}))

    before = torch.random.get_rng_state()
    both = train(rows, theta, buffers, data, seeds=[5, 6], save=save, save_every_s=0, **options).theta
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)  # another global state
    assert torch.equal(both[1:], train(rows, theta[1:], buffers[1:], data, seeds=[6], **options).theta)
    assert torch.equal(
        both, train(rows, theta, buffers, data, seeds=[5, 6], state=states[9], **options).theta
    )
    plain = Rows(nn.Sequential(*[layer for layer in build() if not isinstance(layer, nn.Dropout)]))
    assert not torch.equal(both, train(plain, theta, buffers, data, seeds=[5, 6], **options).theta)


def test_diverged_and_dead_rows_are_marked_and_their_neighbours_go_on(data: Split) -> None:
    rows, theta, buffers = stack(3)
    theta[0] = 1e200
    theta[2] = 0  # every output is 0: class 0 for all
    trained = train(
        rows, theta, buffers, data, seeds=[1, 2, 3], **{**SETTINGS, "learning_rate": 1e-12, "steps": 10}
    )
    assert [f["status"] for f in trained.final] == ["diverged", "ok", "diverged"]
    assert "not finite" in trained.final[0]["error"]
    assert trained.final[0]["train_error_percent"] == 100
    assert "dead" in trained.final[2]["error"]
    alone = train(
        rows, theta[1:2], buffers[1:2], data, seeds=[2], **{**SETTINGS, "learning_rate": 1e-12, "steps": 10}
    )
    assert trained.final[1]["train_loss"] == pytest.approx(alone.final[0]["train_loss"])


def test_a_loss_far_above_that_of_the_untrained_model_is_diverged(data: Split) -> None:
    rows, theta, buffers = stack(2)
    trained = train(
        rows, theta, buffers, data, seeds=[1, 2], **{**SETTINGS, "learning_rate": [1e-3, 60.0], "steps": 30}
    )
    assert [f["status"] for f in trained.final] == ["ok", "diverged"]
    assert math.isfinite(trained.final[1]["train_loss"])
    assert trained.final[1]["error"] == "the loss is more than 10 times that before training"


def test_a_stack_that_is_lost_stops_early(data: Split) -> None:
    rows, theta, buffers = stack(2)
    trained = train(rows, theta * float("nan"), buffers, data, seeds=[1, 2], **SETTINGS)
    assert [f["steps"] for f in trained.final] == [0, 0]


def test_evaluation_in_chunks_is_that_of_the_whole(data: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, theta, buffers = stack(2)
    loss, error = evaluate(rows, theta, buffers, data.x_train, data.y_train)
    monkeypatch.setattr("explorer.models.rows.MEMORY", 50)
    chunked = evaluate(rows, theta, buffers, data.x_train, data.y_train)
    torch.testing.assert_close(chunked, (loss, error))
    for row in range(2):
        logits = rows.to_module(theta[row], buffers[row])(data.x_train)
        assert loss[row].item() == pytest.approx(functional.cross_entropy(logits, data.y_train).item())
        assert error[row].item() == pytest.approx(
            100 * (logits.argmax(1) != data.y_train).double().mean().item()
        )


def test_schedules() -> None:
    def at(name: str, *places: int) -> list[float]:
        rates = learning_rates(name, 2.0, 100)
        assert len(rates) == 100
        return [round(rates[p], 6) for p in places]

    assert at("constant", 0, 99) == [2, 2]
    assert at("one_decay", 74, 75, 99) == [2, 0.2, 0.2]
    assert at("step", 49, 50, 74, 75) == [2, 0.2, 0.2, 0.02]
    assert at("cosine", 0, 50) == [2, 1]
    assert at("one_cycle", 0, 30, 65) == [0.08, 2, 1]
    assert learning_rates("cosine", 2.0, 100)[99] == pytest.approx(1 - math.cos(math.pi / 100), abs=1e-12)
    warm = learning_rates("constant", 2.0, 100, warmup=0.1)
    np.testing.assert_allclose(warm[:11], [0.2 * (i + 1) for i in range(10)] + [2])


def test_batches_are_passes_without_the_incomplete_rest() -> None:
    order = batches(10, 3, [5, 6])
    first = torch.stack([next(order) for _ in range(3)])  # (batches, seeds, batch)
    for seed in range(2):
        assert len(set(first[:, seed].flatten().tolist())) == 9
    assert not torch.equal(first[:, 0], first[:, 1])
    again = batches(10, 3, [5, 6], skip=2)
    assert torch.equal(next(again), first[2])
    seventh = [next(order) for _ in range(4)][-1]
    assert torch.equal(next(batches(10, 3, [5, 6], skip=6)), seventh)


def test_milestones_span_the_training() -> None:
    assert milestones(100, 2) == [0, 100]
    points = milestones(2500, 20)
    assert (points[0], points[1], points[-1]) == (0, 1, 2500)
    assert len(points) <= 20


def test_nothing_global_is_touched(data: Split) -> None:
    rows, theta, buffers = stack()
    before, given = torch.random.get_rng_state(), theta.clone()
    train(rows, theta, buffers, data, seeds=[1, 2, 3], **SETTINGS)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(theta, given)
    assert isinstance(rows.module, nn.Module)


def images() -> Split:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 1, 8, 8, generator=generator)
    y = (x.mean((1, 2, 3)) > 0).long()
    return Split(x[:30], y[:30], x[30:], y[30:], classes=2)


def test_channels_last_changes_nothing_but_rounding() -> None:
    settings = {"batch_size": 7, "steps": 5, "learning_rate": 0.1, "seeds": [1, 2]}
    build, rows = network("cnn", cnn.Options(width=2), (1, 8, 8), 2)
    theta, buffers = initial_rows(build, rows, range(2))
    plain = train(rows, theta, buffers, images(), **settings)
    last = train(rows, theta, buffers, images(), channels_last=True, **settings)
    torch.testing.assert_close(last.theta, plain.theta, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_compiling_changes_nothing_but_rounding() -> None:
    settings = {"batch_size": 7, "steps": 5, "learning_rate": 0.1, "seeds": [1, 2]}
    build, rows = network("mlp", mlp.Options(width=4), (1, 8, 8), 2)
    theta, buffers = initial_rows(build, rows, range(2))
    plain = train(rows, theta, buffers, images(), **settings)
    compiled = train(rows, theta, buffers, images(), compile=True, **settings)
    torch.testing.assert_close(compiled.theta, plain.theta, rtol=1e-3, atol=1e-4)


def test_checkpoints_are_the_states_on_the_way(data: Split) -> None:
    rows, theta, buffers = stack()
    settings = {**SETTINGS, "seeds": [1, 2, 3]}
    whole = train(rows, theta, buffers, data, **settings, checkpoints=[10, 25, 40])
    assert sorted(whole.models) == [10, 25, 40]
    plain = train(rows, theta, buffers, data, **settings)
    assert torch.equal(whole.theta, plain.theta)
    early = train(rows, theta, buffers, data, **settings, checkpoints=[25])
    assert torch.equal(whole.models[25].theta, early.theta)
    assert whole.models[25].final == early.final
    assert [f["steps"] for f in early.final] == [25, 25, 25]
    states: list[State] = []
    train(rows, theta, buffers, data, **settings, checkpoints=[10, 25, 40], save_every_s=0,
          save=lambda s: states.append(State({k: t.clone() for k, t in s.tensors.items()}, copy.deepcopy(s.meta))))  # fmt: skip
    again = train(rows, theta, buffers, data, **settings, checkpoints=[10, 25, 40], state=states[29])
    for step in (10, 25, 40):
        assert torch.equal(again.models[step].theta, whole.models[step].theta)
        assert again.models[step].final == whole.models[step].final


def passes_of(rows: Rows, theta: Tensor, data: Split, seed: int, passes: int) -> list[tuple[float, Tensor]]:
    """Mean loss and state at the end of each pass of plain SGD at a constant rate, one model."""
    order, at, velocity, found = batches(45, 9, [seed]), theta.clone(), torch.zeros_like(theta), []
    for _ in range(passes):
        losses = []
        for _ in range(5):
            index = next(order)
            leaf = at.detach().requires_grad_()
            loss = Classification().loss(rows(leaf, data.x_train[index]), data.y_train[index])
            velocity = 0.9 * velocity + torch.autograd.grad(loss.sum(), leaf)[0]
            at = at - 0.3 * velocity
            losses.append(loss.item())
        found.append((sum(losses) / 5, at))
    return found


@pytest.mark.parametrize(
    "rule",
    [
        Stopping(EarlyStop(change=0.02, epochs=3, after=4)),
        Stopping(stop_at_loss=0.2),
        Stopping(keep="best"),
        Stopping(EarlyStop(change=0.02, epochs=2, after=2), keep="best"),
    ],
    ids=str,
)
def test_stopping_rules_do_what_they_say(data: Split, rule: Stopping) -> None:
    rows, theta, buffers = stack(3)
    trained = train(
        rows, theta, buffers, data, seeds=[1, 2, 3], batch_size=9, steps=200, learning_rate=0.3,
        schedule="constant", stopping=rule,
    )  # fmt: skip
    for row, seed in enumerate([1, 2, 3]):
        ends = passes_of(rows, theta[row : row + 1], data, seed, 40)
        stop, calm, last = 40, 0, math.inf
        for number, (loss, _) in enumerate(ends, 1):
            if (early := rule.early_stop) is not None:
                calm = calm + 1 if number > early.after and abs(loss - last) <= early.change else 0
            last = loss
            reached = rule.stop_at_loss is not None and loss <= rule.stop_at_loss
            if reached or (early is not None and calm >= early.epochs):
                stop = number
                break
        kept = min(ends[:stop], key=lambda e: e[0])[1] if rule.keep == "best" else ends[stop - 1][1]
        torch.testing.assert_close(trained.theta[row : row + 1], kept, rtol=1e-7, atol=1e-9)
        assert trained.final[row]["steps"] == 5 * stop
    if rule != Stopping(keep="best"):
        assert min(f["steps"] for f in trained.final) < 200


def test_a_stopped_training_goes_on_from_a_state(data: Split) -> None:
    rows, theta, buffers = stack(3)
    settings = {
        "seeds": [1, 2, 3], "batch_size": 9, "steps": 100, "learning_rate": 0.3, "schedule": "constant",
        "stopping": Stopping(stop_at_loss=0.25, keep="best"),
    }  # fmt: skip
    whole = train(rows, theta, buffers, data, **settings)
    states: list[State] = []
    train(rows, theta, buffers, data, save_every_s=0, **settings,
          save=lambda s: states.append(State({k: t.clone() for k, t in s.tensors.items()}, copy.deepcopy(s.meta))))  # fmt: skip
    for state in (states[3], states[len(states) // 2], states[-1]):
        rest = train(rows, theta, buffers, data, state=state, **settings)
        assert torch.equal(rest.theta, whole.theta)
        assert rest.final == whole.final


def test_augmentation_shifts_and_mirrors() -> None:
    x = torch.arange(2 * 5 * 64, dtype=torch.float32).view(2, 5, 1, 8, 8) + 1
    moved = crop_and_flip(x, [1, 2], 7)
    assert torch.equal(moved, crop_and_flip(x, [1, 2], 7))
    assert not torch.equal(moved, crop_and_flip(x, [1, 2], 8))
    assert torch.equal(moved[1:], crop_and_flip(x[1:], [2], 7))
    seen = set()
    for row in range(2):
        for image in range(5):
            candidates = {}
            for flipped in (False, True):
                source = functional.pad(x[row, image].flip(2) if flipped else x[row, image], (1, 1, 1, 1))
                for i in range(3):
                    for j in range(3):
                        candidates[flipped, i, j] = source[:, i : i + 8, j : j + 8]
            matching = [key for key, c in candidates.items() if torch.equal(c, moved[row, image])]
            assert matching, "neither shifted nor mirrored"
            seen.add(matching[0])
    assert len(seen) > 3


KEEPS = """
import torch

kept = []

def optimiser(momentum, weight_decay):
    return Keeps()

class Keeps:
    def start(self, theta):
        return {}

    def step(self, theta, gradient, state, rate, step):
        kept.append(gradient(theta))
        theta.sub_(kept[-1], alpha=rate)
"""


def test_a_users_optimiser_may_keep_gradients(data: Split, importable: Any) -> None:
    importable("keeps_gradients", KEEPS)
    rows, theta, buffers = stack()
    settings = {**SETTINGS, "steps": 3, "schedule": "constant"}
    train(rows, theta, buffers, data, seeds=[1, 2, 3], optimizer="keeps_gradients:optimiser", **settings)
    kept = sys.modules["keeps_gradients"].kept
    ours = train(rows, theta, buffers, data, seeds=[1, 2, 3], momentum=0.0, checkpoints=[1, 2, 3], **settings)
    places = [theta, *(ours.models[step].theta for step in (1, 2, 3))]
    for gradient, (before, after) in zip(kept, itertools.pairwise(places), strict=True):
        torch.testing.assert_close(gradient, (before - after) / 0.05)


def test_an_unknown_optimiser_is_refused(data: Split) -> None:
    with pytest.raises(InputError, match=r"there is no optimiser 'adam'; known: adamw, sam, sgd"):
        optimiser("adam")
    with pytest.raises(InputError, match="'banana'"):
        train(*stack(), data, seeds=[1, 2, 3], optimizer="banana", **SETTINGS)


class OnlyTheDevice(TorchDispatchMode):
    """Refuses what waits for a device or moves numbers to or from it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a number is read"
        out = func(*args, **(kwargs or {}))
        assert all(t.is_meta for t in tree_leaves(out) if isinstance(t, Tensor)), f"{func} on the host"
        return out


# Options, shape of an input, size of the output, task, execution.
ARCHITECTURES: dict[str, tuple[dict[str, Any], tuple[int, ...], int, str, str]] = {
    "mlp": ({"width": 4}, (5,), 3, "classification", "stacked"),
    "cnn": ({"width": 2, "norm": "batch"}, (1, 8, 8), 3, "classification", "vmap"),
    "resnet18": ({"width": 2}, (3, 8, 8), 3, "classification", "loop"),
    "vit": ({"width": 8, "depth": 1}, (3, 16, 16), 3, "classification", "vmap"),
    "pinn": ({"width": 4}, (3,), 2, "regression", "stacked"),
    "gpt": ({"width": 8, "layers": 1}, (6,), 11, "language", "stacked"),
    "transformer": ({"width": 8, "layers": 1}, (2, 6), 11, "translation", "stacked"),
}


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [*((name, "sgd") for name in ARCHITECTURES), ("mlp", "adamw"), ("mlp", "sam")],
)
def test_a_step_never_waits_for_the_device(name: str, optimizer: str) -> None:
    """The meta device, which has shapes and no numbers, stands for a GPU."""
    options, shape, classes, task, execution = ARCHITECTURES[name]
    module = plugin(explorer.models, name, "architecture")
    build, rows = network(name, module.Options(**options), shape, classes, execution, task)  # type: ignore[arg-type]
    theta, buffers = (t.to("meta") for t in initial_rows(build, rows.to("meta"), range(3)))
    with torch.device("meta"):
        tokens = task in ("language", "translation")
        x = torch.zeros(20, *shape, dtype=torch.long if tokens else torch.float32)
        y = torch.zeros((20, shape[-1]) if tokens else (20, 2) if task == "regression" else (20,))
        y = y if task == "regression" else y.long()
        data = Split(x, y, x, y, classes)
        optimiser = optimiser_of(optimizer, row_groups(3, [0.1, 0.1, 0.2], 0.9, 0.1, 0.05))
        take = make_step(
            theta,
            buffers,
            optimiser.start(theta),
            optimiser,
            [(0.1, 0.2)] * 2,
            lambda index, _: data.batch(index),
            loss_gradient_of(rows, None, "float32", False),
            watch=LossMonitor(Stopping(keep="best"), theta, buffers),
            bound=rows.bound(theta),
        )
        index = torch.zeros(3, 4, dtype=torch.long)
        take(index, 0)  # constants are made once, on the host
    with OnlyTheDevice():
        take(index, 1)
        for waits in (lambda: theta.sum().item(), lambda: torch.zeros(1).to(theta)):
            with pytest.raises((AssertionError, NotImplementedError)):
                waits()
