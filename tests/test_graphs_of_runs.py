"""When a run replays its training steps as graphs, with a recorder that stands in for CUDA's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
from in_process import table
from recorded import Recorder, Tape

import explorer
from explorer import graphs
from explorer.data import digits
from explorer.engine import calibrate, peak, plan, prepare, share
from explorer.engine.stacks import NONE
from explorer.engine.work import Stack, graph_key
from explorer.engine.worker import Worker
from explorer.settings import InputError
from explorer.spacefile import parse
from explorer.store import Store


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(graphs.RECORDERS, "cpu", Recorder)
    monkeypatch.setattr(calibrate, "WORTH_S", 0.0)
    monkeypatch.setattr(calibrate, "MOST", 12)


def worker(folder: Path, replayed: dict[str, int] | None = None) -> Worker:
    clean = digits.load(digits.Options())
    return Worker(str(folder), lambda _: clean, {}, threads=1, gpus=0, graphs=replayed)


def kinds(raw: dict[str, Any], known: Any = ()) -> dict[str, tuple[Stack, int]]:
    return share.kinds(plan.stacks(parse(raw)), known)


def test_kinds_of_training_are_tried_once_each(tiny: dict[str, Any]) -> None:
    found = kinds(tiny)
    assert [(s.cell.at["width"], s.cell.at["batch_size"], n) for s, n in found.values()] == [
        (8, 50, 1), (2, 50, 1), (8, 8, 1), (2, 8, 1),
    ]  # fmt: skip
    first = next(iter(found))
    assert list(kinds(tiny, [first])) == list(found)[1:]
    # Numbers do not make another kind; what a step does makes one. The largest stack stands for all.
    tiny["temperature"] = {
        "learning_rate": [0.01, 0.1],
        "label_noise": [0, 0.2],
        "optimizer": ["sgd", "adamw"],
    }
    tiny["resources"] = {"replicates_per_trial": 2}
    assert [(len(s.rows), n) for s, n in kinds(tiny).values()] == [(2, 8)] * 4


@pytest.mark.usefixtures("recorder")
def test_what_is_clearly_faster_is_replayed_once_it_pays(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["load"], tiny["temperature"] = {"width": [2]}, {"batch_size": [50]}
    ((key, one),) = kinds(tiny).items()
    # Seconds of a start, of a step and of a capture, instead of those of a stand-in.
    took = {False: 1e-3, True: 5e-4}
    honest = calibrate.train

    def timed(*args: Any, graph: bool, steps: int, **settings: Any) -> Any:
        done = honest(*args, graph=graph, steps=steps, **settings)
        done.wall_s = 0.01 + steps * took[graph] + (0.0601 if graph else 0)
        return done

    monkeypatch.setattr(calibrate, "train", timed)
    of = {"architecture": "mlp", "width": 2, "batch_size": 50, "models": 3}
    assert calibrate.graphs_of(worker(tmp_path), {key: one}) == {
        key: {**of, "eager_us": 1000.0, "graph_us": 500.0, "capture_ms": 58.6, "from_step": 196}
    }
    took[True] = 9e-4
    found = calibrate.graphs_of(worker(tmp_path), {key: one})[key]
    assert (found["why"], "from_step" in found) == ("it is not clearly faster", False)
    monkeypatch.setattr(calibrate, "WORTH_S", 10.0)
    found = calibrate.graphs_of(worker(tmp_path), {key: one})[key]
    assert found == {**of, "why": "its trainings are shorter than finding out would be"}


@pytest.mark.usefixtures("recorder")
def test_a_graph_that_computes_something_else_is_not_used(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["load"], tiny["temperature"] = {"width": [2]}, {"batch_size": [50]}
    replay = Tape.replay

    def twice(self: Tape) -> None:
        replay(self)
        replay(self)

    monkeypatch.setattr(Tape, "replay", twice)
    (found,) = calibrate.graphs_of(worker(tmp_path), kinds(tiny)).values()
    assert found["why"] == "replayed steps gave other numbers"

    def fails(self: Recorder, work: Any) -> None:
        raise RuntimeError("CUDA error: no luck\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(Recorder, "capture", fails)
    (found,) = calibrate.graphs_of(worker(tmp_path), kinds(tiny)).values()
    assert found["why"] == "RuntimeError: CUDA error: no luck"
    monkeypatch.setattr(Recorder, "beside", fails)
    (found,) = calibrate.graphs_of(worker(tmp_path), kinds(tiny)).values()
    assert found["why"] == "RuntimeError: CUDA error: no luck"


@pytest.mark.usefixtures("recorder")
def test_a_worker_replays_long_trainings_of_chosen_kinds(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["temperature"] = {"batch_size": [50], "label_noise": [0.0, 0.2], "checkpoint": [0.5, 1.0]}
    tiny["training"]["steps"] = 30
    tiny["resources"] = {"cells_per_trial": 2}
    space = parse(tiny)
    stacks = plan.missing_stacks(space, Store(str(tmp_path / "none")), NONE)
    small, large = (next(s for s in stacks if s.cell.at["width"] == width) for width in (2, 8))
    captures, capture = [], Recorder.capture

    def counted(self: Recorder, work: Any) -> Any:
        captures.append(self)
        return capture(self, work)

    monkeypatch.setattr(Recorder, "capture", counted)
    chosen = {graph_key(small.cell): 30, graph_key(large.cell): 31}
    stores = []
    for name, replayed, wanted in (("replayed", chosen, 1), ("plain", None, 0)):
        captures.clear()
        one = worker(tmp_path / name, replayed)
        for stack in stacks:
            one.train(stack)
        assert len(captures) == wanted
        stores.append(one.store)
    for kind in ("models", "epochs"):
        ours, plain = (
            table(store, kind).drop(columns=["wall_s", "peak_memory_mb"], errors="ignore") for store in stores
        )
        assert ours.equals(plain)


@pytest.mark.usefixtures("recorder")
def test_the_memory_of_a_graph_is_measured(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, captures, capture = parse(tiny), [], Recorder.capture

    def counted(self: Recorder, work: Any) -> Any:
        captures.append(self)
        return capture(self, work)

    monkeypatch.setattr(Recorder, "capture", counted)
    for replayed, wanted in (({graph_key(space.cells[0]): 10**6}, 2), ({}, 0)):  # a training and a curve fit
        captures.clear()
        one = worker(tmp_path, replayed)
        assert peak.peaks(lambda _, one=one: one, space.cells[:2], space, 1).needed[0]
        assert (len(captures), one.graphs) == (wanted, replayed)


def test_a_run_writes_down_what_was_found_and_keeps_to_it(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["load"], tiny["temperature"] = {"width": [2]}, {"batch_size": [50]}
    tiny["measures"] = {"hessian": tiny["measures"]["hessian"]}
    tiny["resources"] = {"gpus_per_trial": 1}
    told, tried = [], []
    make, attempt = prepare.worker_maker, prepare.graphs_tried
    monkeypatch.setattr(prepare, "worker_maker", lambda *args: (told.append(args[4:]), make(*args))[1])
    monkeypatch.setattr(prepare, "graphs_tried", lambda *args: (tried.append(args), attempt(*args))[1])
    storage = str(tmp_path / "runs")
    run = explorer.run(tiny, storage=storage, gpus=1)
    # Logical GPUs have no graphs.
    (key,) = kinds(tiny)
    assert run.info["graphs"][key]["why"] == "there are no graphs on this device"
    assert told == [(), ({},)]
    # As if there were: another seed goes on with what is known, and is not tried again.
    store, told[:], tried[:] = Store(f"{storage}/tiny"), [], []
    store.write_info({**run.info, "graphs": {key: {"from_step": 70}}})
    again = explorer.run({**tiny, "seeds": 4}, storage=storage, gpus=1)
    assert (told, tried) == ([(), ({key: 70},)], [])
    assert again.info["graphs"] == {key: {"from_step": 70}}
    told.clear()
    tiny["resources"]["graphs"] = "never"
    explorer.run({**tiny, "seeds": 5}, storage=storage, gpus=1)
    assert (told, tried) == ([()], [])


def test_a_run_goes_on_without_where_its_worker_does_not_survive_a_capture(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["load"], tiny["temperature"], tiny["measures"] = {"width": [2]}, {"batch_size": [50]}, {}
    tiny["resources"] = {"gpus_per_trial": 1}

    def dies(gpus: float) -> None:
        os.kill(os.getpid(), 9)

    attempt = prepare.graphs_tried
    monkeypatch.setattr(
        prepare, "graphs_tried", lambda stacks, packing, _: attempt(stacks, packing, cast("Any", dies))
    )
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1)
    (tried,) = run.info["graphs"].values()
    assert "died" in tried["why"]
    assert list(run.models["status"]) == ["ok"] * 3


def test_the_switch_says_what_it_takes(tiny: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"resources.graphs.*'auto' or 'never'"):
        parse({**tiny, "resources": {"graphs": "always"}})
