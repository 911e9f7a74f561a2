"""Interrupted, grown, damaged, held: what is finished stays, what is missing is done."""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from conftest import ROOT, explore
from ray.air.execution._internal import event_manager
from ray.exceptions import OutOfMemoryError, RayActorError
from test_engine import assert_equal_runs, longer, model_files, started, wait_for_records

import explorer
from explorer.engine import pool, sweep
from explorer.engine.cluster import RunOptions
from explorer.engine.run import resume
from explorer.settings import InputError


def test_a_grown_space_trains_what_is_new(own_copy: Path, tiny: dict[str, Any]) -> None:
    before = model_files(own_copy)
    tiny["load"]["width"] = [2, 8, 4]
    tiny["seeds"] = 4
    tiny["measures"]["hessian"] = {"inputs": 100, "lanczos_steps": 5, "probes": 4}
    run = explorer.run(tiny, storage=str(own_copy), workers=2)
    after = model_files(own_copy)
    assert before.items() <= after.items()
    assert len(run.models) == 3 * 2 * 4
    assert len(run.pairs) == 6 * 6
    assert run.models["hessian_trace"].notna().all()
    assert run.pairs[["mode_connectivity", "cka"]].notna().all().all()
    assert run.info["sessions"][-1]["trained"] == 24 - 12
    assert run.info["space"]["seeds"] == 4
    assert sorted(run.cells["n_pairs"]) == [6] * 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": 2}, "seeds: 3 in the run, 2 now"),
        ({"load": {"width": [2]}}, r"load.width: \[8\] in the run, not now"),
        ({"training": {"steps": 150, "momentum": 0.8}}, "training"),
        (
            {"resources": {"replicates_per_trial": 1}},
            "resources.replicates_per_trial: 'all' in the run, 1 now",
        ),
        ({"measures": {"similarity": {"inputs": 100}}}, "measures.hessian"),
    ],
)
def test_a_space_that_cannot_be_compared_is_refused(
    own_copy: Path, tiny: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        explorer.run({**tiny, **change}, storage=str(own_copy))


def test_where_it_runs_may_change(own_copy: Path, tiny: dict[str, Any]) -> None:
    tiny["resources"] = {"cpus_per_trial": 2}
    tiny["training"]["batch_size"] = 7  # the axis decides
    assert len(explorer.run(tiny, storage=str(own_copy)).models) == 12


def test_damaged_files_are_made_again(own_copy: Path, finished: Path) -> None:
    folder = own_copy / "tiny"
    weights = sorted((folder / "weights").glob("*.safetensors"))
    weights[0].write_bytes(weights[0].read_bytes()[:100])
    weights[1].unlink()
    for kind in ("connectivity", "similarity", "hessian", "curves"):  # so that the weights are needed
        for file in (folder / "records" / kind).glob("*.parquet"):
            file.unlink()
    records = sorted((folder / "records/models").glob("*.parquet"))
    records[2].write_bytes(bytes(len(records[2].read_bytes())))
    sorted((folder / "records/epochs").glob("*.parquet"))[3].unlink()
    said: list[str] = []

    class Listener:
        def say(self, message: str) -> None:
            said.append(message)

        def stage(self, name: str, total: int) -> None: ...
        def advance(self, stage: str, done: int, failed: int) -> None: ...

    run = resume("tiny", storage=str(own_copy), observer=Listener(), where=RunOptions(workers=1))
    assert any("records/models" in s and "damaged" in s for s in said)
    assert_equal_runs(run, explorer.load("tiny", str(finished)))
    assert list((folder / "damaged").iterdir())
    (log, *_) = sorted((folder / "sessions").glob("*.log"), reverse=True)
    assert re.search(r"is tried again .*damaged", log.read_text())
    assert run.info["sessions"][-1]["failed"] == 0, "what failed was made again in the next round"


def test_a_run_whose_run_yaml_is_lost_gets_it_from_the_space(own_copy: Path, tiny: dict[str, Any]) -> None:
    before = model_files(own_copy)
    (own_copy / "tiny/run.yaml").unlink()
    run = explorer.run(tiny, storage=str(own_copy), workers=1)
    assert model_files(own_copy) == before
    assert run.info["space"]["seeds"] == 3


def test_a_run_of_an_earlier_version_goes_on_without_its_removed_settings(own_copy: Path) -> None:
    file = own_copy / "tiny/run.yaml"
    info = yaml.safe_load(file.read_text())
    info["space"]["resources"] = {"overlap": False, "graphs": "auto"}
    file.write_text(yaml.safe_dump({**info, "graphs": {"0123": {"why": "there are no graphs"}}}))
    for record in (own_copy / "tiny/records/similarity").glob("*.parquet"):
        record.unlink()
    for command in (["resume"], ["measure", "--again", "hessian"], ["report"]):
        done = explore(
            *command[:1], "tiny", *command[1:], "--storage", own_copy, "--reports", own_copy / "reports"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said = "settings of another version are ignored: resources.graphs, resources.overlap"
        # Once a command; measuring again writes what this version knows.
        assert (done.stdout + done.stderr).replace("\n", " ").count(said) == (command != ["report"])
    assert "overlap" not in str(yaml.safe_load(file.read_text()))


def test_a_held_run_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    process = started(longer(tiny), tmp_path)
    try:
        wait_for_records(tmp_path, "models", 1)
        second = explore("resume", "tiny", cwd=tmp_path)
        assert second.returncode == 2
        assert f"held by process {process.pid}" in second.stderr
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)


@pytest.mark.slow
def test_a_long_training_goes_on_where_it_was(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["load"]["width"], tiny["temperature"]["batch_size"] = [16], [16]
    tiny["training"].update(steps=30_000, history_points=50)
    tiny["resources"] = {"save_every_minutes": 0.002}
    tiny["measures"] = {"similarity": {"inputs": 100}}
    process = started(tiny, tmp_path)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "runs/tiny/states").glob("*.state")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not list((tmp_path / "runs/tiny/records/models").glob("*.parquet"))
    done = explore("resume", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((tmp_path / "runs/tiny/states").glob("*.state"))
    undisturbed = explorer.run(tiny, storage=str(tmp_path / "other"), workers=1)
    assert_equal_runs(explorer.load(tmp_path / "runs/tiny"), undisturbed)


FAILING = """
import os
from pathlib import Path
from explorer.engine.sweep import StackTrial

before = StackTrial.METHOD

def METHOD(self, *new):
    turns = Path(os.environ["TURNS"])
    if hasattr(self, "worker") and len(list(turns.iterdir())) < 2:
        (turns / f"{self.place}-{os.getpid()}").touch()
        HAPPENS
    return before(self, *new)
"""
KILLED = "os.kill(os.getpid(), 9)"


class NoMemory:
    """Ray, to which it looks as if a worker that died had been killed because memory ran out."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ray, name)

    def get(self, *arguments: Any, **named: Any) -> Any:
        try:
            return ray.get(*arguments, **named)
        except RayActorError as error:
            raise OutOfMemoryError("Memory on the node was low.") from error


@pytest.mark.ray
@pytest.mark.parametrize(
    ("method", "what", "no_memory", "said"),
    [
        ("reset_config", KILLED, False, "the worker process died"),
        ("reset_config", "raise OSError('no turn')", False, "OSError: no turn"),
        ("step", KILLED, True, "Ray killed the worker process"),
    ],
)
def test_a_worker_that_fails_whenever_it_may_loses_nothing(
    importable: Callable[[str, str], None],
    tiny: dict[str, Any],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    what: str,
    no_memory: bool,
    said: str,
) -> None:
    """Also as it turns to its next trial; twice."""
    name = f"failing_{tmp_path.name}"
    importable(name, FAILING.replace("METHOD", method).replace("HAPPENS", what))
    turns = tmp_path / "turns"
    turns.mkdir()
    monkeypatch.setenv("TURNS", str(turns))
    monkeypatch.setattr(sweep.StackTrial, method, getattr(importlib.import_module(name), method))
    if no_memory:
        monkeypatch.setattr(event_manager, "ray", NoMemory())
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), workers=1)
    assert len(list(turns.iterdir())) == 2
    assert_equal_runs(run, explorer.load("tiny", str(finished)))
    assert run.info["sessions"][0]["failed"] == 0
    (log,) = (tmp_path / "runs/tiny/sessions").glob("*.log")
    assert len(re.findall(rf"is tried again \(try 1 of 3 failed\): {said}", log.read_text())) >= 1
    assert len(re.findall(rf"is tried again \(try \d of 3 failed\): {said}", log.read_text())) >= 2


DYING = """
import os
from pathlib import Path
from torch import nn

class Dying(nn.Tanh):
    def forward(self, x):
        turns = Path(os.environ["TURNS"])
        if x.shape[-2] == 123 and len(list(turns.iterdir())) < 2:
            (turns / str(os.getpid())).touch()
            os.kill(os.getpid(), 9)
        return super().forward(x)

def net(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], width), Dying(), nn.Linear(width, classes))
"""


@pytest.mark.ray
@pytest.mark.parametrize("no_memory", [False, True])
def test_a_worker_of_the_pool_that_dies_loses_nothing(
    importable: Callable[[str, str], None],
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_memory: bool,
) -> None:
    importable("dyingnets", DYING)
    (tmp_path / "turns").mkdir()
    monkeypatch.setenv("TURNS", str(tmp_path / "turns"))
    if no_memory:
        monkeypatch.setattr(pool, "ray", NoMemory())
    tiny |= {"model": {"name": "dyingnets:net"}, "load": {"width": [3, 4]}}
    tiny["measures"] = {"hessian": {"inputs": 123, "lanczos_steps": 5, "probes": 4}}
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), workers=1)
    assert len(list((tmp_path / "turns").iterdir())) == 2
    assert run.info["sessions"][0]["failed"] == 0
    assert run.models["hessian_trace"].notna().all()


@pytest.mark.ray
def test_max_hours_stops_cleanly(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["training"]["steps"] = 2_000_000
    (tmp_path / "space.yaml").write_text(str(tiny))
    command = f"trap '' INT; exec {sys.executable} {ROOT}/run_explore.py run space.yaml --max-hours"
    for hours in (
        "0.00005",
        "0.005",
    ):  # the first is over while Ray starts; SIGINT is ignored, as after `… &`
        done = subprocess.run(
            ["bash", "-c", f"{command} {hours}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 4, done.stdout + done.stderr
        assert f"Stopped after {float(hours):g} hours" in done.stdout
        assert "resume tiny" in done.stdout


def test_a_read_only_folder_is_told(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("explorer.runs.files.os.makedirs", refused)
    with pytest.raises(InputError, match="cannot be written"):
        explorer.run(tiny, storage=str(tmp_path / "runs"))
