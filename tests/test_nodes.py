"""Machines that go and come while a run goes on: the run ends, with the tables of an undisturbed one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import in_process
import psutil
import pytest
from conftest import started
from test_engine import assert_equal_runs, descendants, wait_for_records

import explorer


@pytest.fixture
def cluster(brake: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head with one CPU; nodes are added by the test."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_health_check_period_ms", "1000")  # a lost node is noticed in 5 s, not in 15
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield cluster
    finally:
        cluster.shutdown()
        time.sleep(0.5)


def wait_for_training(node: Any, brake: Path) -> set[int]:
    """Return the processes of a cluster's node that are in the middle of a trial."""
    for file in brake.parent.glob("brake-*"):
        file.unlink()
    brake.touch()
    (raylet,) = node.all_processes["raylet"]
    found: set[int] = set()
    while not found:
        braked = {int(file.name.partition("-")[2]) for file in brake.parent.glob("brake-*")}
        found = braked & descendants(raylet.process.pid)
        time.sleep(0.1)
    return found | {psutil.Process(process).ppid() for process in found}  # users' code has its own process


@pytest.mark.slow
def test_nodes_that_leave_and_join_change_nothing(
    cluster: Any, brake: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """One is killed in mid-trial; another joins, takes over, and is killed in another."""
    tiny["load"]["width"] = [2, 3, 4, 6, 8, 16]
    tiny["training"]["loss"] = "braked:loss"
    (tmp_path / "space.yaml").write_text(str(tiny))
    first = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    process = started("run", "space.yaml", "--address", cluster.address, cwd=tmp_path)
    try:
        wait_for_records(tmp_path, "models", 2)
        wait_for_training(first, brake)
        cluster.remove_node(first, allow_graceful=False)
        second = cluster.add_node(num_cpus=1)
        theirs = wait_for_training(second, brake)
        brake.unlink()
        wait_for_records(tmp_path, "models", 6)
        theirs |= wait_for_training(second, brake)
        cluster.remove_node(second, allow_graceful=False)
        brake.unlink()
        output, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, output
    run = explorer.load(tmp_path / "runs/tiny")
    assert_equal_runs(run, in_process.run(tiny, tmp_path / "undisturbed"))
    (log,) = (tmp_path / "runs/tiny/sessions").glob("*.log")
    assert "The cluster has lost" in log.read_text()
    trained = re.findall(r" train\w+ .* process (\d+)$", log.read_text(), flags=re.M)
    assert theirs & set(map(int, trained)), "the node that joined did no work"
