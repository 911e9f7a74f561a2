"""Steps replayed as graphs, with a recorder that stands in for CUDA's."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from recorded import HostReads, Recorder, Tape, tensors
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import explorer.models
from explorer import graphs
from explorer.models import cnn, gpt, mlp
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows
from explorer.settings import plugin
from explorer.steps import Steps, advancing, loss_gradient_of, parts, rule_of
from explorer.stopping import Stopping, Watch
from explorer.tasks.classification import Classification
from explorer.training import Split, State, Trained, train

SETTINGS: dict[str, Any] = {
    "seeds": [1, 2, 3],
    "batch_size": 7,
    "steps": 40,
    "learning_rate": 0.05,
    "history_points": 6,
}


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(graphs.RECORDERS, "cpu", Recorder)


@pytest.fixture
def data() -> Split:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    return Split(x[:45], y[:45], x[45:], y[45:], classes=3)


def stack(execution: Any = None) -> tuple[Rows, Tensor, Tensor]:
    build, rows = network("mlp", mlp.Options(width=4), (5,), 3, execution)
    return rows, *initial_rows(build, rows, range(3))


def images() -> Split:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 1, 8, 8, generator=generator)
    y = (x.mean((1, 2, 3)) > 0).long() + (x[:, 0, 0, 0] > 0).long()
    return Split(x[:45], y[:45], x[45:], y[45:], classes=3)


def assert_same(ours: Trained, wanted: Trained) -> None:
    assert sorted(ours.models) == sorted(wanted.models)
    for step, models in wanted.models.items():
        assert torch.equal(ours.models[step].theta, models.theta)
        assert torch.equal(ours.models[step].buffers, models.buffers)
        assert ours.models[step].final == models.final
    assert ours.history == wanted.history


@pytest.mark.parametrize(
    "change",
    [
        {}, {"optimizer": "adamw"}, {"optimizer": "sam"}, {"momentum": 0.0}, {"weight_decay": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.1}, {"schedule": "one_cycle", "warmup": 0.3}, {"schedule": "step"},
        {"learning_rate": [0.05, 0.05, 0.2], "momentum": [0.9, 0.5, 0.5]},
        {"optimizer": "adamw", "learning_rate": [0.01, 0.02, 0.03]},
        {"optimizer": "sam", "rho": [0.01, 0.1, 0.1]},
        {"checkpoints": [1, 2, 10, 25, 40]}, {"precision": "bf16"},
        {"stopping": Stopping(at_loss=0.4)}, {"stopping": Stopping(best=True)},
        {"stopping": Stopping(change=0.05, passes=2, after=1), "optimizer": "sam"},
        {"targets": torch.arange(135).view(3, 45) % 3},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("execution", ["stacked", "vmap", "loop"])
def test_replayed_steps_give_the_same_bits(data: Split, change: dict[str, Any], execution: str) -> None:
    settings = {**SETTINGS, **change}
    plain = train(*stack(execution), data, **settings)
    replayed = train(*stack(execution), data, graph=True, **settings)
    taken = max(record["step"] for record in plain.history)
    assert (replayed.hindered, replayed.replayed) == ("", taken - graphs.WARM_UP)
    assert_same(replayed, plain)
    assert (plain.replayed, plain.hindered) == (0, "")


@pytest.mark.parametrize("execution", ["vmap", "loop"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_statistics_of_batchnorm_are_replayed_too(execution: Any, channels_last: bool) -> None:
    settings = {**SETTINGS, "steps": 12, "channels_last": channels_last}
    found = []
    for graph in (False, True):
        build, rows = network("cnn", cnn.Options(width=2, norm="batch"), (1, 8, 8), 3, execution)
        theta, buffers = initial_rows(build, rows, range(3))
        found.append(train(rows, theta, buffers, images(), graph=graph, **settings))
        assert not torch.equal(found[-1].buffers, buffers)
    assert found[1].replayed == 10
    assert_same(found[1], found[0])


def test_numbers_that_lie_on_the_device_are_those_of_the_host(
    data: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    for change in ({}, {"optimizer": "adamw", "weight_decay": 0.1}, {"learning_rate": [0.1, 0.2, 0.3]}):
        there = train(*stack(), data, **{**SETTINGS, **change})
        with monkeypatch.context() as without:
            without.delitem(graphs.RECORDERS, "cpu")
            here = train(*stack(), data, **{**SETTINGS, **change})
        torch.testing.assert_close(there.theta, here.theta, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("break_at", [1, 2, 3, 23])
def test_a_replayed_training_goes_on_from_a_state(data: Split, optimizer: str, break_at: int) -> None:
    settings = {**SETTINGS, "optimizer": optimizer, "stopping": Stopping(best=True)}
    states: list[State] = []

    def save(state: State) -> None:
        tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
        states.append(State(tensors, copy.deepcopy(state.meta)))

    plain = train(*stack(), data, **settings)
    train(*stack(), data, graph=True, save=save, save_every_s=0, **settings)
    state = next(s for s in states if s.meta["step"] == break_at)
    rest = train(*stack(), data, graph=True, state=state, **settings)
    assert rest.replayed == 40 - break_at - graphs.WARM_UP
    assert_same(rest, plain)


def test_a_stand_in_that_froze_nothing_would_prove_nothing() -> None:
    """The recorder sees what a graph does not: numbers of Python, and tensors that are replaced."""
    total, rate = torch.zeros(2), {"now": 1.0}
    moved = {"sum": torch.zeros(2)}

    def work(x: Tensor) -> None:
        total.add_(x * 2, alpha=rate["now"])
        moved["sum"] = moved["sum"] + x

    step = graphs.Replayed(work, torch.device("cpu"))
    for value in range(5):
        rate["now"] = float(value)
        step(torch.full((2,), float(value)))
    # In steps 0 and 1 as it is; from then on the number of step 2, whose capture computed nothing.
    assert total.tolist() == [2.0 * (0 + 1 * 1 + 2 * (2 + 3 + 4))] * 2
    assert step.replayed == 3
    assert moved["sum"].tolist() == [1.0 + 4.0] * 2


class Asking(Classification):
    """Looks at a number on the device, as no graph can."""

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        losses = super().loss(outputs, y)
        return losses if losses.sum().item() < 1e9 else 2 * losses


def test_what_cannot_be_captured_goes_on_as_it_is(data: Split) -> None:
    rows, theta, buffers = stack("loop")
    rows.task = Asking()
    plain = train(rows, theta, buffers, data, **SETTINGS)
    tried = train(rows, theta, buffers, data, graph=True, **SETTINGS)
    assert tried.replayed == 0
    assert tried.hindered == "HostReads: operation not permitted when stream is capturing"
    assert_same(tried, plain)


OWN = """
import torch
from explorer.optimisers import Optimiser
from explorer.tasks.classification import cross_entropy
def own(momentum, weight_decay):
    return Optimiser("sgd", momentum, weight_decay)
def loss(outputs, y):
    return cross_entropy(outputs, y)
"""


def test_what_is_not_ours_or_draws_on_the_host_is_not_captured(data: Split, importable: Any) -> None:
    importable("own_steps", OWN)
    assert "optimiser" in train(*stack(), data, graph=True, **SETTINGS, optimizer="own_steps:own").hindered
    module = nn.Sequential(nn.Linear(5, 3), type("Theirs", (nn.Identity,), {"__module__": "nets"})())
    rows = Rows(module, execution="loop")
    theta, buffers = (t.expand(3, -1) for t in rows.row())
    assert "user's network" in train(rows, theta, buffers, data, graph=True, **SETTINGS).hindered
    assert "user's loss" in train(*stack(), data, graph=True, **SETTINGS, loss="own_steps:loss").hindered
    build, rows = network("cnn", cnn.Options(width=2), (1, 8, 8), 3, "loop")
    models = (rows, *initial_rows(build, rows, range(3)))
    found = train(*models, images(), graph=True, **{**SETTINGS, "steps": 4}, augment=True)
    assert (found.replayed, found.hindered) == (0, "augmentation draws its numbers on the host")
    build, rows = network("cnn", cnn.Options(width=2, norm="none"), (1, 8, 8), 3, "stacked")
    models = (rows, *initial_rows(build, rows, range(3)))
    found = train(*models, images(), graph=True, **{**SETTINGS, "steps": 4})
    assert (found.replayed, found.hindered) == (0, "the architecture works in arrays of its own")


def test_a_gradient_that_asks_how_many_tokens_there_are_is_not_captured() -> None:
    build, rows = network("gpt", gpt.Options(width=8), (6,), 11, "stacked", "language")
    theta, buffers = initial_rows(build, rows, range(3))
    x = torch.arange(120).view(20, 6) % 11
    found = train(rows, theta, buffers, Split(x, x, x, x, 11), graph=True, **{**SETTINGS, "steps": 4})
    assert (found.replayed, "on the host" in found.hindered) == (0, True)


def test_a_graph_is_gone_after_its_training(data: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Tape]] = []
    monkeypatch.setattr(
        Tape, "undo", lambda self, undo=Tape.undo: (made.append(weakref.ref(self)), undo(self))
    )
    gc.collect()
    gc.disable()
    try:
        train(*stack(), data, graph=True, **SETTINGS)
        assert [tape() for tape in made] == [None]
    finally:
        gc.enable()


def test_a_processor_has_no_graphs(data: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(graphs.RECORDERS, "cpu")
    found = train(*stack(), data, graph=True, **SETTINGS)
    assert (found.replayed, found.hindered) == (0, "there are no graphs on this device")


class OnlyTheDevice(TorchDispatchMode):
    """Refuses what waits for a device or moves to or from it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise HostReads(str(func))
        out = func(*args, **(kwargs or {}))
        if any(not t.is_meta for t in tensors(out)):
            raise HostReads(f"{func} on the host")
        return out


ARCHITECTURES: dict[str, tuple[dict[str, Any], tuple[int, ...], int, str, str]] = {
    "mlp": ({"width": 4}, (5,), 3, "classification", "stacked"),
    "cnn": ({"width": 2, "norm": "batch"}, (1, 8, 8), 3, "classification", "vmap"),
    "resnet18": ({"width": 2}, (3, 8, 8), 3, "classification", "loop"),
    "vgg11": ({"width": 2}, (3, 32, 32), 3, "classification", "loop"),
    "densenet40": ({"width": 2}, (3, 8, 8), 3, "classification", "loop"),
    "vit": ({"width": 8}, (3, 16, 16), 3, "classification", "vmap"),
    "pinn": ({"width": 4}, (3,), 2, "regression", "stacked"),
    "gpt": ({"width": 8}, (6,), 11, "language", "vmap"),
    "transformer": ({"width": 8}, (2, 6), 11, "translation", "loop"),
}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "sam"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_step_never_waits_for_the_device(
    name: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the device of shapes without numbers, which stands for a card."""
    monkeypatch.setitem(graphs.RECORDERS, "meta", Recorder)
    options, shape, classes, task, execution = ARCHITECTURES[name]
    module = plugin(explorer.models, name, "architecture")
    build, rows = network(name, module.Options(**options), shape, classes, execution, task)  # type: ignore[arg-type]
    theta, buffers = (t.to("meta") for t in initial_rows(build, rows.to("meta"), range(3)))
    with torch.device("meta"):
        tokens, sequences = task in ("language", "translation"), (20, shape[-1])
        x = torch.zeros(20, *shape, dtype=torch.long if tokens else torch.float32)
        y = torch.zeros(sequences if tokens else (20, 2) if task == "regression" else (20,))
        y = y if task == "regression" else y.long()
        data = Split(x, y, x, y, classes)
        rule = rule_of(optimizer, parts(3, [0.1, 0.1, 0.2], 0.9, 0.1, 0.05))
        watch = Watch(Stopping(best=True), theta, buffers)
        gradient = loss_gradient_of(rows, None, "float32", False)
        memory = rule.start(theta)
        advance = advancing(
            theta, buffers, memory, rule, lambda index, _: data.batch(index), gradient, watch,
            bound=rows.bound(theta),
        )  # fmt: skip
        take = Steps(advance, rule, [[0.1] * 2, [0.2] * 2], theta, last=2, replay=False)
        index = torch.zeros(3, 4, dtype=torch.long)
        take(index, 0)  # constants are made once, on the host
    with OnlyTheDevice():
        take(index, 1)
        for waits in (lambda: theta.sum().item(), lambda: theta.cpu(), lambda: torch.zeros(1).to(theta)):
            with pytest.raises((HostReads, NotImplementedError)):
                waits()


def test_cuda_is_asked_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a card: that a stream is left again, even where a capture cannot be ended."""
    said: list[str] = []

    class Stream:
        def __init__(self, device: Any = None, name: str = "beside"):
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            said.append(f"{self.name} waits for {other.name}")

    class Graph:
        def replay(self) -> None:
            said.append("replay")

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        said.append(f"on {stream.name}")
        try:
            yield
        finally:
            said.append(f"off {stream.name}")

    @contextmanager
    def captures(graph: Graph, stream: Stream) -> Iterator[None]:
        said.append(f"captures on {stream.name}")
        yield
        if failing:
            raise RuntimeError("capture was invalidated")

    failing = False
    for name, stand_in in {"Stream": Stream, "CUDAGraph": Graph, "stream": on, "graph": captures}.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream(name="usual"))
    graphs._stream.cache_clear()
    cuda = graphs.Cuda(torch.device("cuda", 0))
    assert graphs.Cuda(torch.device("cuda", 0)).stream is cuda.stream
    cuda.beside(lambda: said.append("works"))
    assert said == ["beside waits for usual", "on beside", "works", "off beside", "usual waits for beside"]
    said.clear()
    cuda.capture(lambda: said.append("works"))()
    assert said == ["on beside", "captures on beside", "works", "off beside", "replay"]
    said.clear()
    failing = True
    with pytest.raises(RuntimeError, match="invalidated"):
        cuda.capture(lambda: said.append("works"))
    assert said[-1] == "off beside"
    graphs._stream.cache_clear()
