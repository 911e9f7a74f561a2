"""Machines that go and come while a run goes on: the run ends, with the tables of an undisturbed one."""

from __future__ import annotations

import copy
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, explore
from test_engine import assert_equal_runs, descendants, longer, processes, wait_for_records

import explorer
from explorer.results import Run

NAPS = """
import os, time
from explorer.tasks import Classification

def loss(outputs, y):
    time.sleep(float(os.environ.get("NAP_S", 0)))
    return Classification().loss(outputs, y)
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Twelve trials, of four seconds or more where they nap: what happens to a node falls into one.

    And a node that joins finds some left: that one has left is noticed after about fifteen seconds.
    """
    folder = tmp_path_factory.mktemp("naps")
    (folder / "naps.py").write_text(NAPS)
    space = longer(copy.deepcopy(TINY))
    space["training"].update(steps=200, loss="naps:loss")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        yield space


@pytest.fixture(scope="module")
def undisturbed(space: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return explorer.run(space, storage=str(tmp_path_factory.mktemp("undisturbed")), workers=2)


@pytest.fixture
def naps(undisturbed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on trainings nap at every step."""
    monkeypatch.setenv("NAP_S", "0.02")


@pytest.fixture
def cluster(naps: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head with one CPU; nodes are added by the test. Trials last longer than the start of a worker."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("NAP_S", "0.06")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield cluster
    finally:
        cluster.shutdown()
        time.sleep(0.5)


def begun(space: dict[str, Any], folder: Path, *options: str) -> subprocess.Popen[str]:
    """A run from the command line, in a process of its own."""
    (folder / "space.yaml").write_text(str(space))
    command = [sys.executable, str(ROOT / "run_explore.py"), "run", "space.yaml", *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def raylet_of(pid: int) -> int:
    """The raylet that a process has started."""
    listed = subprocess.run(["ps", "-wweo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    titles = dict(line.strip().split(" ", 1) for line in listed.splitlines())
    (found,) = [p for p in descendants(pid) if "/raylet/raylet " in titles.get(str(p), "")]
    return found


def processes_of(node: Any) -> set[int]:
    """Ids of the processes that a cluster's node has started: its workers among them."""
    (raylet,) = node.all_processes["raylet"]
    return descendants(raylet.process.pid)


@pytest.mark.slow
def test_nodes_that_leave_and_join_change_nothing(
    cluster: Any, space: dict[str, Any], undisturbed: Run, tmp_path: Path
) -> None:
    """One is killed in mid-trial; another joins, takes over, and is killed near the end of the training."""
    first = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    process = begun(space, tmp_path, "--address", cluster.address)
    try:
        wait_for_records(tmp_path, "models", 2)
        cluster.remove_node(first, allow_graceful=False)
        second = cluster.add_node(num_cpus=1)
        theirs: set[int] = set()
        deadline = time.monotonic() + 400
        while len(list((tmp_path / "runs/tiny/records/models").glob("*.parquet"))) < 11:
            theirs |= processes_of(second)
            assert time.monotonic() < deadline
            time.sleep(0.1)
        cluster.remove_node(second, allow_graceful=False)
        output, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, output
    run = explorer.load(tmp_path / "runs/tiny")
    assert_equal_runs(run, undisturbed)
    (log,) = (tmp_path / "runs/tiny/sessions").glob("*.log")
    trained = re.findall(r" train\w+ .* process (\d+)$", log.read_text(), flags=re.M)
    assert theirs & set(map(int, trained)), "the node that joined did no work"


@pytest.mark.slow
def test_a_killed_raylet_of_our_own_loses_nothing(
    naps: None, space: dict[str, Any], undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = begun(space, tmp_path, "--workers", "2")
    try:
        wait_for_records(tmp_path, "models", 2)
        everything = descendants(process.pid)
        os.kill(raylet_of(process.pid), signal.SIGKILL)
        output, _ = process.communicate(timeout=400)
        assert process.returncode != 2, output  # workers that had started may have done all there was
    finally:
        process.kill()
    deadline = time.monotonic() + 60
    while everything & set(processes()):
        assert time.monotonic() < deadline, "processes of the killed run live on"
        time.sleep(0.2)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "runs/tiny/records/models").glob("*.parquet")}
    monkeypatch.delenv("NAP_S")
    done = explore("resume", "tiny", "--workers", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, written in kept.items():
        assert (tmp_path / "runs/tiny/records/models" / name).stat().st_mtime_ns == written
    assert_equal_runs(explorer.load(tmp_path / "runs/tiny"), undisturbed)
