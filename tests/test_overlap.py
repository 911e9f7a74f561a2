"""Measuring beside training: who measures what, and that it changes no result."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_engine import assert_equal_runs

import explorer
from explorer.engine import plan
from explorer.engine.overlap import START_S, Overlap
from explorer.spacefile import parse
from explorer.store import Store


class Trials:
    """An :class:`Overlap` of so many trials, and what it said and left."""

    def __init__(self, together: list[list[int]], workers: int = 2):
        self.left: list[list[int]] = []
        self.overlap = Overlap(together, workers, self.left.append)

    def trained(self, place: int, fresh: bool = True) -> str:
        self.overlap.started(place)
        trial: Any = SimpleNamespace(config={"stack": place})
        return self.overlap.on_trial_result(None, trial, {"first": True, "fresh": fresh})


def test_a_trial_measures_its_cell_while_others_wait() -> None:
    trials = Trials([[place] for place in range(6)])
    assert trials.trained(0) == "CONTINUE"
    assert trials.trained(3) == "CONTINUE"
    assert trials.left == []


def test_near_the_end_what_takes_long_is_left_to_the_pool() -> None:
    for took, said, left in ((None, "STOP", [[3]]), (START_S + 1, "STOP", [[3]]), (1.0, "CONTINUE", [])):
        trials = Trials([[place] for place in range(4)])
        for place in range(3):
            trials.overlap.started(place)
        if took is not None:
            trials.trained(0)
            trials.overlap.measured(0, took, ended=True)
            trials.left.clear()
        assert trials.trained(3) == said
        assert trials.left == left


def test_the_last_trial_of_a_cell_measures_it_and_what_was_tried_again_does_not() -> None:
    trials = Trials([[0, 1], [0, 1], *[[place] for place in range(2, 9)]])
    assert trials.trained(1) == "STOP"
    assert trials.trained(0) == "CONTINUE"
    assert trials.trained(0, fresh=False) == "STOP"  # killed while it measured: the pool counts the tries
    assert trials.left == [[0, 1]]
    assert trials.trained(2, fresh=False) == "STOP"  # its record was there: killed after it was written
    assert trials.left == [[0, 1], [2]]


def test_cells_with_models_of_another_day_are_not_measured_by_a_trial(tiny: dict[str, Any]) -> None:
    space = parse(tiny | {"resources": {"replicates_per_trial": 1}})
    stacks = plan.stacks(space)
    assert all(len(places) == 3 and place in places for place, places in enumerate(plan.together(stacks)))
    old = space.cells[0].model_id(0)
    grown = plan.stacks(space, frozenset([old]))
    together = plan.together(grown)
    assert [not places for places in together] == [s.cell.id == space.cells[0].id for s in grown]
    assert Trials(together).trained([not places for places in together].index(True)) == "STOP"


def test_a_trial_finds_the_tasks_of_the_whole_plan(own_copy: Path, tiny: dict[str, Any]) -> None:
    tiny["measures"] |= {"spectra": {}, "ensemble": {}}
    tiny["measures"]["connectivity"]["pairs"] = 2
    space, store = parse(tiny), Store(own_copy / "tiny")
    for kind in ("hessian", "connectivity"):
        store.drop_records(kind)
    found = [task for stack in plan.stacks(space) for task in plan.tasks_of([stack], space.measures, store)]
    wanted = plan.missing_tasks(space, store)
    assert {task.id: task for task in found} == {task.id: task for task in wanted}
    assert plan.expected(plan.stacks(space), space.measures) == 12 + 8 + 12 + 12 + 4
    tiny["measures"]["connectivity"]["pairs"] = {"along": "batch_size"}
    beyond = parse(tiny)
    found = plan.tasks_of(plan.stacks(beyond)[:1], beyond.measures, store)
    assert "connectivity" not in {task.measure for task in found}


def events(run_folder: Path) -> list[dict[str, Any]]:
    trace = json.loads((run_folder / "profile/trace.json").read_text())
    return [event for event in trace["traceEvents"] if event["ph"] == "X"]


def test_measuring_begins_while_others_train_and_changes_nothing(
    tiny: dict[str, Any], tmp_path: Path, finished: Path
) -> None:
    tiny["resources"] = {"replicates_per_trial": 1}
    threads: list[str] = []
    beside = explorer.run(
        tiny,
        storage=str(tmp_path / "beside"),
        workers=1,
        profile=True,
        meanwhile=lambda: threads.append(threading.current_thread().name),
    )
    assert len(threads) == 1
    assert threads != ["MainThread"]
    done = events(tmp_path / "beside/tiny")
    work = [e for e in done if e["name"] in tiny["measures"]]
    trained = [e for e in done if e["name"] == "training" and e["args"]]
    assert len(trained) == 12
    assert len(work) == 3 * 4
    assert min(e["ts"] for e in work) < max(e["ts"] for e in trained)
    assert len({e["tid"] for e in work + trained}) == 1  # the same process: nothing was started for measuring

    tiny["resources"]["overlap"] = False
    apart = explorer.run(tiny, storage=str(tmp_path / "apart"), workers=1, profile=True)
    done = events(tmp_path / "apart/tiny")
    work = [e for e in done if e["name"] in tiny["measures"]]
    assert min(e["ts"] for e in work) > max(
        e["ts"] + e["dur"] for e in done if e["name"] == "training" and e["args"]
    )
    assert_equal_runs(beside, apart)
    assert apart.info["sessions"][0]["stages"]["measuring_s"] > 0


BROKEN = """
from torch import nn

class Picky(nn.Linear):
    def forward(self, x):
        if self.out_features == {width} and x.shape[-2] == 123:
            raise RuntimeError("no measuring of width {width}")
        return super().forward(x)

def net(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), Picky(shape[1] * shape[2], width), nn.Tanh(), nn.Linear(width, classes))
"""


@pytest.mark.slow
def test_what_fails_to_be_measured_is_tried_again_by_the_pool(
    tiny: dict[str, Any], tmp_path: Path, importable: Callable[[str, str], None]
) -> None:
    importable("pickynets", BROKEN.format(width=4))
    tiny["model"] = {"name": "pickynets:net", "width": 4}
    tiny["load"] = {"width": [8, 6, 4, 3]}
    tiny["temperature"] = {"batch_size": [50]}
    tiny["measures"] = {
        "hessian": {"inputs": 123, "lanczos_steps": 5, "probes": 4},
        "similarity": {"inputs": 100},
    }
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), workers=1)
    session = run.info["sessions"][0]
    assert (session["trained"], session["measured"], session["failed"]) == (12, 12 + 12 - 3, 3)
    assert set(run.models["status"]) == {"ok"}
    assert run.models.groupby("width")["hessian_trace"].count().to_dict() == {3: 3, 4: 0, 6: 3, 8: 3}
    assert run.pairs["cka"].notna().all()
    assert [f["error"] for f in run.info["failed_measures"]] == [
        "hessian: RuntimeError: no measuring of width 4"
    ] * 3
