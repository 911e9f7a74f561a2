"""How rows run and how many trials share a card, with logical GPUs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_engine import assert_equal_runs

import explorer
from explorer.engine import choose
from explorer.engine.worker import out_of_memory
from explorer.runs.store import Store
from explorer.settings import InputError
from explorer.space.reading import parse

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


@pytest.mark.parametrize(("gpus", "room"), [(0, 0), (0.25, 0.25), (2, 1), ("auto", 1 / choose.MOST_TRIALS)])
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
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1, workers=3, profile=True)
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
        explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1)
    monkeypatch.setattr(choose, "measure_peaks", substitute({2: 1, 8: None}))
    with pytest.raises(InputError, match=r"needs more; a GPU has 8.00 GiB"):
        explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1)
    with pytest.raises(InputError, match=r"there is no GPU to measure the memory of a model on"):
        explorer.run(tiny, storage=str(tmp_path / "other"), gpus=0)
    assert not list((tmp_path / "runs").glob("*/records/models"))


@pytest.mark.slow
def test_the_memory_that_is_measured_is_kept_and_changes_no_result(
    tiny: dict[str, Any], tmp_path: Path, finished: Path
) -> None:
    tiny["resources"] = {"gpus_per_trial": "auto"}
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1)
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
