"""Curve fits replayed as graphs, with a recorder that stands in for CUDA's."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import table
from recorded import Recorder, Tape
from torch import Tensor, nn

from explorer import graphs
from explorer.data import digits
from explorer.engine import plan
from explorer.engine.stacks import NONE
from explorer.engine.work import graph_key
from explorer.engine.worker import Worker
from explorer.landscape.connectivity import Fit, fit_paths
from explorer.models import cnn, mlp
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows
from explorer.spacefile import parse
from explorer.store import Store


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(graphs.RECORDERS, "cpu", Recorder)


SETTINGS: dict[str, Any] = {"seeds": [1, 2], "batch_size": 5, "steps": 40, "learning_rate": 0.05}


def inputs(*shape: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(30, *shape, generator=torch.Generator().manual_seed(0))
    return x, (x.flatten(1).mean(1) > 0).long()


def fitted(rows: Rows, models: tuple[Tensor, Tensor], x: Tensor, y: Tensor, **change: Any) -> Fit:
    theta, buffers = models
    return fit_paths(rows, theta[:2], theta[1:], buffers[:2], x, y, **{**SETTINGS, **change})


def stack(execution: Any) -> tuple[Rows, tuple[Tensor, Tensor]]:
    build, rows = network("mlp", mlp.Options(width=4), (5,), 2, execution)
    return rows, initial_rows(build, rows, range(3))


def assert_same(one: Fit, other: Fit) -> None:
    for name in ("loss", "fall", "fall_stderr", "converged"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert torch.equal(one.path.points, other.path.points)


@pytest.mark.parametrize(
    "change", [{}, {"bends": 3, "kind": "chain"}, {"weight_decay": 0.1, "momentum": 0.5}], ids=str
)
@pytest.mark.parametrize("execution", ["stacked", "vmap", "loop"])
def test_replayed_fits_give_the_same_bits(change: dict[str, Any], execution: str) -> None:
    rows, models = stack(execution)
    plain = fitted(rows, models, *inputs(5), **change)
    replayed = fitted(rows, models, *inputs(5), graph=True, **change)
    assert (replayed.replayed, replayed.hindered) == (40 - graphs.WARM_UP, "")
    assert (plain.replayed, plain.hindered) == (0, "")
    assert_same(replayed, plain)


def test_batchnorm_is_replayed_too() -> None:
    build, rows = network("cnn", cnn.Options(width=2, norm="batch"), (1, 8, 8), 2, "vmap")
    models = initial_rows(build, rows, range(3))
    replayed = fitted(rows, models, *inputs(1, 8, 8), graph=True)
    assert replayed.replayed == 38
    assert_same(replayed, fitted(rows, models, *inputs(1, 8, 8)))


def test_rates_that_lie_on_the_device_are_those_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, models = stack("stacked")
    there = fitted(rows, models, *inputs(5))
    monkeypatch.delitem(graphs.RECORDERS, "cpu")
    here = fitted(rows, models, *inputs(5))
    torch.testing.assert_close(there.path.points, here.path.points, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_replayed_says_why_and_is_fitted_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, models = stack("loop")
    plain = fitted(rows, models, *inputs(5))

    def fails(self: Recorder, work: Any) -> None:
        raise RuntimeError("CUDA error: no luck\nCompile with TORCH_USE_CUDA_DSA")

    with monkeypatch.context() as broken:
        broken.setattr(Recorder, "capture", fails)
        tried = fitted(rows, models, *inputs(5), graph=True)
    assert (tried.replayed, tried.hindered) == (0, "RuntimeError: CUDA error: no luck")
    assert_same(tried, plain)
    drawing = Rows(nn.Sequential(nn.Linear(5, 2), nn.Dropout(0.5)), execution="loop")
    theta, buffers = (t.expand(3, -1) for t in drawing.row())
    assert "dropout" in fitted(drawing, (theta, buffers), *inputs(5), graph=True).hindered
    monkeypatch.delitem(graphs.RECORDERS, "cpu")
    assert fitted(rows, models, *inputs(5), graph=True).hindered == "there are no graphs on this device"


def test_a_graph_is_gone_after_its_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Tape]] = []
    undo = Tape.undo
    monkeypatch.setattr(Tape, "undo", lambda self: (made.append(weakref.ref(self)), undo(self)))
    gc.collect()
    gc.disable()
    try:
        fitted(*stack("stacked"), *inputs(5), graph=True)
        assert [tape() for tape in made] == [None]
    finally:
        gc.enable()


def test_a_worker_replays_the_curves_of_the_kinds_whose_training_it_replays(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["load"], tiny["temperature"] = {"width": [2]}, {"batch_size": [50]}
    tiny["training"]["steps"] = 4
    tiny["measures"] = {"connectivity": {"steps": 10}}
    space = parse(tiny)
    stacks = plan.missing_stacks(space, Store(str(tmp_path / "none")), NONE)
    captures, capture = [], Recorder.capture

    def counted(self: Recorder, work: Any) -> Any:
        captures.append(self)
        return capture(self, work)

    monkeypatch.setattr(Recorder, "capture", counted)
    clean, stores = digits.load(digits.Options()), []
    for name, first, wanted in (("plain", 11, 0), ("replayed", 10, 1)):
        captures.clear()
        replayed = {graph_key(stacks[0].cell): first}
        one = Worker(str(tmp_path / name), lambda _: clean, {}, threads=1, gpus=0, graphs=replayed)
        one.train(stacks[0])
        (task,) = plan.tasks_of(stacks, space.measures, one.store)
        one.measure(task)
        assert len(captures) == wanted
        stores.append(one.store)
    for kind in ("connectivity", "curves"):
        plain, ours = (table(store, kind) for store in stores)
        assert len(plain)
        assert ours.equals(plain)
