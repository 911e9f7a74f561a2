"""How rows run and how many trials share a GPU, with logical GPUs and with a pretended one."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch
from pretended_card import CARD, HOST, pretended_card
from test_engine import assert_equal_runs

import explorer
from explorer.engine import card, choose, cluster, probe
from explorer.engine.context import load_data
from explorer.engine.worker import Worker, out_of_memory
from explorer.measures import spectra
from explorer.plan import plan
from explorer.report import facts
from explorer.runs.store import Store
from explorer.settings import InputError
from explorer.space.reading import parse
from explorer.train.loop import Split
from explorer.users import user_process

GIB = 2**30


@pytest.mark.parametrize(
    ("needed", "at_once"), [(0.1, 16), (1, 16), (4.5, 15), (10, 6), (30, 2), (40, 1), (60, 1)]
)
def test_as_many_share_a_card_as_fit_with_room_to_spare(needed: float, at_once: int) -> None:
    share = choose.share(needed * GIB, 80 * GIB)
    assert int(1 / share) == at_once
    assert at_once * share <= 1
    assert at_once * needed * choose.HEADROOM <= 80


def test_one_cell_of_each_architecture_is_measured_at_its_largest(tiny: dict[str, Any]) -> None:
    space = parse(tiny)
    found = choose.largest(space)
    assert [(c.at["width"], c.at["batch_size"]) for c in found.values()] == [(2, 50), (8, 50)]
    tiny["temperature"] = {"learning_rate": [0.01, 0.1], "optimizer": ["sgd", "adamw"]}
    assert len(choose.largest(parse(tiny))) == 2 * 2


@pytest.mark.parametrize(("gpus", "room"), [(0, 0), (0.25, 0.25), (1, 1), ("auto", 1 / choose.MOST_TRIALS)])
def test_chunks_are_sized_by_the_share_and_by_the_smallest_where_it_is_not_known_yet(
    tiny: dict[str, Any], gpus: Any, room: float
) -> None:
    tiny["resources"] = {"gpus_per_trial": gpus}
    assert choose.initial_choice(parse(tiny)).card_share == room


def substitute(needs: dict[int, int | None]) -> Callable[..., Any]:
    """What a card of 8 GiB would say: needs in GiB by width."""

    def peaks(factory: Any, gpus: float, cells: list[Any], space: Any, gpus_of_node: int) -> Any:
        found = [needs[cell.at["width"]] for cell in cells]
        return 8 * 2**30, [n if n is None else n * 2**30 for n in found]

    return peaks


SLEEPY = """
import time
from torch import nn

class Sleepy(nn.Linear):
    def forward(self, x):
        if self.training:
            time.sleep(0.02)
        return super().forward(x)

def net(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), Sleepy(shape[1] * shape[2], width), nn.Tanh(), nn.Linear(width, classes))
"""


@pytest.mark.slow
def test_small_models_share_a_card_and_a_large_one_has_it_alone(
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    importable: Callable[[str, str], None],
) -> None:
    importable("sleepynets", SLEEPY)
    monkeypatch.setattr(choose, "measure_peaks", substitute({2: 1, 8: 6}))
    tiny["model"] = {"name": "sleepynets:net", "width": 4}
    tiny["temperature"]["batch_size"] = [8, 40]
    tiny["training"]["steps"] = 150  # 3 s of sleep a model
    tiny["seeds"] = 1
    tiny["measures"] = {"hessian": {"inputs": 100, "lanczos_steps": 5, "probes": 4}}
    tiny["resources"] = {"cpus_per_trial": 0.25, "gpus_per_trial": "auto"}
    run = explorer.run(
        tiny, storage=str(tmp_path / "runs"), gpus=1, logical_gpus=True, workers=3, profile=True
    )
    assert set(run.models["status"]) == {"ok"}
    memory = Store(tmp_path / "runs/tiny").read_info()["memory"]
    assert {m["of"]["width"]: m["peak_mb"] for m in memory.values()} == {2: 1024, 8: 6144}
    trace = json.loads((tmp_path / "runs/tiny/profile/trace.json").read_text())["traceEvents"]
    spans = [
        (e["args"]["width"], e["ts"], e["ts"] + e["dur"]) for e in trace if e["args"].get("width") is not None
    ]
    assert len(spans) == 2 * 4
    beside = [
        [width for width, began, ended in spans if began <= at < ended] for _, at, _ in spans
    ]  # widths at work whenever one begins
    assert all(widths == [8] for widths in beside if 8 in widths)
    assert max(map(len, beside)) == 2


def test_what_no_card_can_hold_is_refused_with_what_it_needs(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["resources"] = {"gpus_per_trial": "auto"}
    monkeypatch.setattr(choose, "measure_peaks", substitute({2: 1, 8: 7}))
    with pytest.raises(InputError, match=r"mlp of width 8 at batch size 50 needs 7.00 GiB and 15% to spare"):
        explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1, logical_gpus=True)
    monkeypatch.setattr(choose, "measure_peaks", substitute({2: 1, 8: None}))
    with pytest.raises(InputError, match=r"needs more; a GPU has 8.00 GiB"):
        explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1, logical_gpus=True)
    tiny["model"] = {"name": "cnn", "norm": "batch"}  # whose steps must be timed on a GPU first
    with pytest.raises(InputError, match=r"there is no GPU to measure the memory of a model on"):
        explorer.run(tiny, storage=str(tmp_path / "other"), gpus=0)
    assert not list((tmp_path / "runs").glob("*/records/models"))


@pytest.mark.slow
def test_the_memory_that_is_measured_is_kept_and_changes_no_result(
    tiny: dict[str, Any], tmp_path: Path, finished: Path
) -> None:
    tiny["resources"] = {"gpus_per_trial": "auto"}
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1, logical_gpus=True)
    assert_equal_runs(run, explorer.load("tiny", str(finished)))
    memory = Store(tmp_path / "runs/tiny").read_info()["memory"]
    assert sorted(m["of"]["width"] for m in memory.values()) == [2, 8]
    assert all(100 < m["peak_mb"] < 4000 for m in memory.values())  # a process with torch, and little else
    assert run.info["sessions"][0]["stages"]["calibration_s"] > 0


def test_running_out_of_memory_says_which_width_needs_how_much(tiny: dict[str, Any]) -> None:
    cell = parse(tiny).cells[-1]
    said = out_of_memory(cell, 3 * GIB, "CUDA out of memory. Tried to allocate 1024.00 MiB.", 16 * GIB, 0.2)
    assert "width 8 at batch size 50 needs at least 4.00 GiB and has 3.20 GiB" in said
    assert "gpus_per_trial to 0.25 or more" in said
    said = out_of_memory(cell, 30 * GIB, "", 16 * GIB, 1)
    assert "has 16.00 GiB. Lower the batch size" in said
    assert "Raise" not in said
    said = out_of_memory(cell, 3 * GIB, "", 16 * GIB, 0.5)
    assert "takes 3.00 GiB of its share of 8.00 GiB" in said
    assert "used by another program" in said


def test_a_users_network_out_of_gpu_memory_is_told_nothing_of_main_memory() -> None:
    error = MemoryError("training of x: not enough GPU memory: width 8 needs at least 4 GiB")
    error.__cause__ = torch.cuda.OutOfMemoryError("CUDA out of memory.")
    assert str(user_process._sendable(error, 2**30)) == str(error)
    assert "of which 1.1 GB were free" in str(user_process._sendable(MemoryError(), 2**30))


@pytest.mark.parametrize(
    ("gpus", "cpus", "limit", "shares", "spread"),
    [
        (4, 16, None, [0.25] * 4, [1.0] * 4),  # one GPU each
        (4, 16, None, [0.25] * 5, [1.0] * 3 + [0.5] * 2),  # two on one GPU
        (2, 16, None, [0.25] * 7, [0.3333] * 3 + [0.25] * 4),
        (8, 16, None, [0.1] * 9, [1.0] * 7 + [0.5] * 2),
        (4, 7, None, [0.25] * 9, [0.5] * 9),  # seven at a time
        (4, 5, None, [0.25] * 9, [1.0] * 9),  # halves would leave a GPU idle
        (4, 16, 6, [0.25] * 40, [1.0] * 40),  # --workers 6
        (4, 16, None, [0.25] * 40, [0.25] * 40),  # enough for all
        (4, 16, 4, [0.25] * 40, [1.0] * 40),  # --workers 4
        (4, 2, None, [0.25] * 40, [1.0] * 40),  # two at a time, for want of CPUs
        (1, 16, None, [0.25] * 2, [0.25] * 2),
        (2, 16, None, [0.1, 0.6, 0.1], [0.5, 1.0, 0.5]),
        (2, 16, None, [0.6, 0.6, 0.1, 0.1], [0.6, 0.6, 0.3333, 0.3333]),  # halves would not fit beside them
        (2, 16, None, [0.6, 0.1, 0.1, 0.1], [0.6, 0.5, 0.5, 0.3333]),  # a large one, and small ones elsewhere
        (3, 16, None, [1.0] + [0.0625] * 5, [1.0] + [0.5] * 2 + [0.3333] * 3),
        (3, 6, None, [1.0] + [0.0625] * 20, [1.0] + [0.5] * 20),  # thirds would leave a GPU idle later
        (2, 16, None, [0.95, 0.95, 0.05, 0.05], [0.95, 0.95, 0.05, 0.05]),
        (0, 16, None, [0.0] * 3, [0.0] * 3),
    ],
)
def test_little_work_is_spread_over_all_gpus(
    gpus: int,
    cpus: int,
    limit: int | None,
    shares: list[float],
    spread: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_nodes", lambda: [{"CPU": cpus, "GPU": gpus}])
    assert cluster.Cluster({"GPU": gpus}, "", True, 1.0, limit).spread(1, shares) == spread


def test_gpus_that_nothing_requests_are_told(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_nodes", lambda: [{"CPU": 2, "GPU": 2}])
    told: list[str] = []
    session, two = SimpleNamespace(say=told.append), cluster.Cluster({"CPU": 2, "GPU": 2}, "", True, 1.0)
    for requested in (0.5, "auto"):
        tiny["resources"] = {"gpus_per_trial": requested}
        choose.require_resources(parse(tiny), two, session)  # type: ignore[arg-type]
    assert not told
    tiny["resources"] = {"gpus_per_trial": 0}
    choose.require_resources(parse(tiny), two, session)  # type: ignore[arg-type]
    assert told[0].startswith("CPUs compute, although Ray has 2 GPUs: the space requests none.")
    tiny["resources"] = {"gpus_per_trial": "auto", "cpus_per_trial": 4}
    with pytest.raises(InputError, match="a trial asks for 4 CPUs and 1 GPUs on one node"):
        choose.require_resources(parse(tiny), two, session)  # type: ignore[arg-type]


def test_a_gpu_that_torch_cannot_use_is_reported_before_training(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Ray counts a GPU that is not there."""
    with pytest.raises(AssertionError) as torch_says:
        torch.ones(1, device="cuda")
    tiny["resources"] = {"gpus_per_trial": 0.5}
    with pytest.raises(InputError) as error:
        explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1)
    assert f"torch cannot use the GPU: {torch_says.value}" in str(error.value)
    assert "--logical-gpus" in str(error.value)
    assert not (tmp_path / "runs/tiny").exists()
    with pytest.raises(InputError, match="torch cannot use the GPU"):
        Worker(str(tmp_path), lambda _: None, {}, threads=1, gpus=0.5)  # type: ignore[arg-type]


def test_every_gpu_that_ray_counts_must_be_there() -> None:
    with pretended_card(gigabytes=8):
        assert card.describe(1)["card"] == "pretended"
        assert card.describe(2) == {"unusable": "Ray counts 2 GPUs, and torch finds 1"}


def test_the_smallest_of_several_gpus_is_described_and_all_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_card():
        kinds = [
            SimpleNamespace(name=n, total_memory=m * GIB, major=9, minor=0) for n, m in (("B", 8), ("A", 80))
        ]
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "get_device_properties", kinds.__getitem__)
        monkeypatch.setattr(card, "why_not", str)
        found = card.describe(2)
    assert (found["card"], found["memory_gb"]) == ("A, B", 8)


def test_data_lie_on_the_card_only_if_inputs_and_targets_fit() -> None:
    x, y = np.zeros((4, 6), np.int64), np.zeros((4, 6), np.int64)
    arrays = SimpleNamespace(x_train=x, y_train=y, x_test=x, y_test=y, classes=2, vocabulary="")
    with pretended_card():
        places = [
            Split.of(arrays, "cuda", limit=limit).x_train.device for limit in (4 * x.nbytes, 3 * x.nbytes)
        ]
    assert places == [CARD, HOST]


@pytest.mark.parametrize("what", ["training", "spectra"])
def test_a_card_too_small_for_the_data_is_told_as_for_the_rest(
    what: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["measures"] = {"spectra": {}}
    space = parse(tiny)
    (clean,) = load_data(space).values()

    def full(*_: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")

    with pretended_card(gigabytes=8):
        worker = Worker(str(tmp_path), lambda _: clean, {}, threads=1, gpus=0.25)
        stacks = plan.missing_stacks(space, worker.store)
        if what == "spectra":
            for stack in stacks:
                worker.train(stack)
        monkeypatch.setattr(worker, "split", full)
        work = (
            partial(worker.train, stacks[0])
            if what == "training"
            else partial(worker.measure, plan.missing_tasks(space, worker.store)[0])
        )
        with pytest.raises(MemoryError, match=f"{what} of .* needs at least 3.50 GiB and has 2.00 GiB"):
            work()


def test_a_worker_leaves_cuda_its_memory_and_measures_in_ieee_float32(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    tiny["load"]["width"], tiny["temperature"]["batch_size"] = [2], [50]
    tiny["measures"], seen = {"spectra": {}}, []
    timed: set[tuple[bool, bool]] = set()

    measure = spectra.measure

    def note(*given: Any) -> Any:
        deterministic = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
        seen.append((torch.backends.cudnn.allow_tf32, *deterministic))
        warnings.warn("warps_cuda does not have a deterministic implementation, but", stacklevel=1)
        return measure(*given)

    def note_time(*_: Any) -> float:
        timed.add((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic))
        return 1.0

    monkeypatch.setattr(spectra, "measure", note)
    space, limits = parse(tiny), []
    (clean,) = load_data(space).values()
    with pretended_card(gigabytes=8):
        monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)
        with pytest.raises(InputError, match=r"0.05 of a GPU of 8.0 GiB is no more than the 0.5 GiB"):
            Worker(str(tmp_path), lambda _: clean, {}, threads=1, gpus=0.05)
        worker = Worker(str(tmp_path), lambda _: clean, {}, threads=1, gpus=0.25)
        for stack in plan.missing_stacks(space, worker.store):
            worker.train(stack)
        for task in plan.missing_tasks(space, worker.store):
            worker.measure(task)
        assert worker._data_bytes() == 0.75 * GIB
        monkeypatch.setattr(probe, "step_time", note_time)
        assert probe.fastest(worker, space.cells[0], 50, 2) == "loop"
    assert limits == [1.5 / 8]  # half a GiB of two is CUDA's
    assert set(seen) == {(False, True, True)}
    assert timed == {(True, True)}  # with the kernels of training
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.allow_tf32
    named = [part.to_pylist() for part in worker.store.by_key("unrepeatable").values()]
    assert named
    assert all(rows == [{"operation": "warps_cuda"}] for rows in named)


TF32_BY_USER = """
import torch
from explorer.models.precision import ieee_float32

torch.backends.fp32_precision = "tf32"
parts = torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul
with ieee_float32(torch.device("cuda")):
    print(*(part.fp32_precision for part in parts))
print(*(part.fp32_precision for part in parts))
"""


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="needs PyTorch 2.9")
def test_measures_are_ieee_float32_also_if_a_network_sets_tf32_in_the_newer_way() -> None:
    done = subprocess.run([sys.executable, "-c", TF32_BY_USER], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ieee"] * 3 + ["tf32"] * 3


@pytest.mark.parametrize("gpus", [0.5, "auto"])
def test_calibration_is_kept_for_each_kind_of_gpu(
    gpus: Any, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["resources"], tiny["measures"] = {"gpus_per_trial": gpus}, {}
    kept = {"stacks": {"other": 7}, "execution": {"a 1": "loop"}}
    info: dict[str, Any] = {
        **kept,
        "cards": {"A": {"driver": "1", "stacks": {"x": 3}, "execution": {"b 2": "vmap"}}},
    }
    store = SimpleNamespace(read_info=lambda: info, update_info=lambda **changes: info.update(changes))
    told: list[str] = []
    card_b = {"card": "B", "driver": "2", "memory_gb": 80.0, "mps": False}
    context: Any = SimpleNamespace(
        space=parse(tiny), store=store, shape=lambda cell: ((8, 8), 10), cluster=SimpleNamespace(logical=False, own=True),
        session=SimpleNamespace(say=told.append, stage=lambda _: nullcontext()),
    )  # fmt: skip
    monkeypatch.setattr(choose, "_on_worker", lambda *_, **__: {**card_b})
    monkeypatch.setattr(choose, "_gpu_shares", lambda *_: ({"a": 0.5}, {}))
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "NodeID": "0" * 56, "Resources": {"GPU": 1}}])
    choice = choose.choose(context)
    assert choice.execution == {}
    assert set(choice.sizes.values()) == {40}  # small models of several cells share a stack, as on a CPU
    assert info["cards"]["B"] == {**card_b, "stacks": dict(choice.sizes), "execution": {}}
    assert info["cards"]["A"]["stacks"] == {"x": 3}
    assert {name: info[name] for name in kept} == kept
    assert "NVIDIA MPS" in told[0]
    # A second node has another kind.
    cards = iter([{**card_b}, {**card_b, "card": "A", "memory_gb": 40.0}])
    monkeypatch.setattr(choose, "_on_worker", lambda *_, **__: next(cards))
    monkeypatch.setattr(
        ray, "nodes", lambda: 2 * [{"Alive": True, "NodeID": "0" * 56, "Resources": {"GPU": 1}}]
    )
    choose.choose(context)
    assert info["cards"]["A, B"]["memory_gb"] == 40
    assert "The GPUs differ (A, B)" in told[1]


def test_the_page_says_which_gpu_computed_and_how() -> None:
    info: dict[str, Any] = {
        "cards": {"H200": {"driver": "1.2", "cuda": "13.0"}},
        "unrepeatable": ["warps_cuda"],
    }
    said = facts.gpu(SimpleNamespace(info=info))  # type: ignore[arg-type]
    assert said.startswith("H200 (driver 1.2, cuda 13.0). Training may round convolutions to TF32; measures")
    assert said.endswith("same bits each time, except warps_cuda.")
    info["space"] = {"resources": {"deterministic": False}}
    assert "may differ" in facts.gpu(SimpleNamespace(info=info))  # type: ignore[arg-type]
    assert facts.gpu(SimpleNamespace(info={})) == ""  # type: ignore[arg-type]
