"""Interrupted, grown, damaged, held: what is finished stays, what is missing is done."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import in_process
import pytest
import ray
import yaml
from conftest import ROOT, explore
from ray.air.execution._internal import event_manager
from ray.exceptions import OutOfMemoryError, RayActorError
from test_engine import assert_equal_runs, model_files

import explorer
from explorer.engine import pool, sweep
from explorer.engine.cluster import RunOptions
from explorer.engine.run import resume
from explorer.settings import InputError


@pytest.mark.slow
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
        ({"seeds": 2}, r"seeds: \[2\] in the run, not now"),
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
    assert len(explorer.run(tiny, storage=str(own_copy)).models) == 12


@pytest.mark.slow
def test_damaged_files_are_made_again(own_copy: Path, finished: Path) -> None:
    folder = own_copy / "tiny"
    weights = sorted((folder / "weights").glob("*.safetensors"))
    content = weights[0].read_bytes()
    weights[0].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the right size: a worker finds it
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


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["weights", "records/models"])
def test_a_measure_without_some_models_is_no_success(own_copy: Path, tmp_path: Path, lost: str) -> None:
    file = min((own_copy / "tiny" / lost).iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    places = ("--storage", own_copy, "--reports", tmp_path / "reports")
    shown = explore("measure", "tiny", "--add", "sharpness", *places)
    assert shown.returncode == 3
    assert "Not everything is measured: files of models are damaged and set aside" in shown.stderr
    assert "resume tiny" in shown.stderr
    assert explore("resume", "tiny", *places).returncode == 0
    assert explore("measure", "tiny", *places).returncode == 0
    assert explorer.load("tiny", own_copy).models["sharpness"].notna().sum() == 12


def test_a_run_whose_run_yaml_is_lost_gets_it_from_the_space(own_copy: Path, tiny: dict[str, Any]) -> None:
    before = model_files(own_copy)
    (own_copy / "tiny/run.yaml").unlink()
    run = explorer.run(tiny, storage=str(own_copy), workers=1)
    assert model_files(own_copy) == before
    assert run.info["space"]["seeds"] == 3


@pytest.mark.slow
def test_a_run_of_an_earlier_version_goes_on_and_does_nothing_but_what_is_missing(
    own_copy: Path, finished: Path
) -> None:
    file = own_copy / "tiny/run.yaml"
    info = yaml.safe_load(file.read_text())
    info["space"]["resources"] = {"overlap": False, "graphs": "auto"}
    file.write_text(yaml.safe_dump({**info, "graphs": {"0123": {"why": "there are no graphs"}}}))
    before = model_files(own_copy)
    lost = sorted(before)[0]
    (own_copy / "tiny/records/models" / lost).unlink()
    for kind in ("hessian", "connectivity"):
        sorted((own_copy / "tiny/records" / kind).glob("*.parquet"))[1].unlink()
    for command in (["resume", "tiny", "--workers", "1"], ["report", "tiny"]):
        done = explore(*command, "--storage", own_copy, "--reports", own_copy / "reports")
        assert done.returncode == 0, done.stdout + done.stderr
        said = "settings of another version are ignored: resources.graphs, resources.overlap"
        assert (done.stdout + done.stderr).replace("\n", " ").count(said) == 1
    after = model_files(own_copy)
    assert set(after) == set(before)
    assert [name for name in before if before[name] != after[name]] == [lost]
    run = explorer.load("tiny", str(own_copy))
    assert_equal_runs(run, explorer.load("tiny", str(finished)))
    session = run.info["sessions"][-1]
    assert session["stages"]["pages_s"] > 0
    assert session["wall_s"] >= sum(session["stages"].values()) - 0.1


FAILING = """
import os
from pathlib import Path
from explorer.engine.sweep import StackTrial

before = StackTrial.METHOD

def METHOD(self, *new):
    turns = Path(os.environ["TURNS"])
    turn = len(list(turns.iterdir()))
    if hasattr(self, "worker") and turn < 2:
        (turns / f"{self.place}-{os.getpid()}").touch()
        if turn in KILLED:
            os.kill(os.getpid(), 9)
        raise OSError("no turn")
    return before(self, *new)
"""


def failing(
    method: str,
    killed: set[int],
    importable: Callable[[str, str], None],
    patch: pytest.MonkeyPatch,
    folder: Path,
) -> Path:
    """Make a method of the trials fail twice; return a folder with a file for each time."""
    name = f"failing_{method}"
    importable(name, FAILING.replace("METHOD", method).replace("KILLED", str(killed)))
    turns = folder / method
    turns.mkdir()
    patch.setenv("TURNS", str(turns))
    patch.setattr(sweep.StackTrial, method, getattr(importlib.import_module(name), method))
    return turns


def failures(run: explorer.Run, message: str) -> int:
    """How often the log of a run says that something is tried again, and why."""
    (log,) = (Path(run.folder) / "sessions").glob("*.log")
    return len(re.findall(rf"is tried again \(try \d of 3 failed\): {message}", log.read_text()))


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_that_fails_as_it_turns_to_its_next_trial_loses_nothing(
    importable: Callable[[str, str], None],
    tiny: dict[str, Any],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = failing("reset_config", {0}, importable, monkeypatch, tmp_path)
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), workers=1)
    assert len(list(turns.iterdir())) == 2
    assert_equal_runs(run, explorer.load("tiny", str(finished)))
    assert run.info["sessions"][0]["failed"] == 0
    assert failures(run, "the worker process died") == 1
    assert failures(run, "OSError: no turn") == 1


class NoMemory:
    """Ray, to which every second death of a worker looks as if it was killed because memory ran out."""

    def __init__(self) -> None:
        self.deaths = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(ray, name)

    def get(self, *arguments: Any, **named: Any) -> Any:
        try:
            return ray.get(*arguments, **named)
        except RayActorError as error:
            self.deaths += 1
            if self.deaths % 2:
                raise
            raise OutOfMemoryError("Memory on the node was low.") from error


DYING = """
import os
import time
from pathlib import Path
from torch import nn

class Dying(nn.Tanh):
    def forward(self, x):
        turns = Path(os.environ["MEASURED"])
        if x.shape[-2] == 123 and len(list(turns.iterdir())) < 2:
            (turns / str(os.getpid())).touch()
            os.kill(os.getppid(), 9)  # Ray's worker, which has started this process
            time.sleep(60)
        return super().forward(x)

def net(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], width), Dying(), nn.Linear(width, classes))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_workers_that_die_while_training_and_measuring_lose_nothing(
    importable: Callable[[str, str], None],
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of each; one is killed by itself, the other, so it seems, by Ray."""
    importable("dyingnets", DYING)
    measured = tmp_path / "measured"
    measured.mkdir()
    monkeypatch.setenv("MEASURED", str(measured))
    trained = failing("step", {0, 1}, importable, monkeypatch, tmp_path)
    monkeypatch.setattr(event_manager, "ray", NoMemory())
    monkeypatch.setattr(pool, "ray", NoMemory())
    tiny |= {"model": {"name": "dyingnets:net"}, "load": {"width": [3, 4]}}
    tiny["measures"] = {"hessian": {"inputs": 123, "lanczos_steps": 5, "probes": 4}}
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), workers=1)
    assert [len(list(folder.iterdir())) for folder in (trained, measured)] == [2, 2]
    undisturbed = in_process.run(tiny, tmp_path / "undisturbed", run.info["execution"])
    assert_equal_runs(run, undisturbed)
    assert run.info["sessions"][0]["failed"] == 0
    assert failures(run, "the worker process died") >= 2
    assert failures(run, "Ray killed the worker process") >= 2


@pytest.mark.ray
@pytest.mark.slow
def test_max_hours_stops_cleanly(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["training"]["steps"] = 2_000_000
    (tmp_path / "space.yaml").write_text(str(tiny))
    command = f"trap '' INT; exec {sys.executable} {ROOT}/run_explore.py run space.yaml --max-hours"
    for hours in (
        "0.00005",
        "0.003",
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
