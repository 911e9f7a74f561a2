"""Real runs with real Ray: train, measure, go on, fail, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, explore

import explorer
from explorer.runs.store import Store
from explorer.settings import InputError

TIMES = ["wall_s", "peak_memory_mb"]
TABLES = ("models", "epochs", "pairs", "curves", "cells")


def assert_equal_runs(a: Any, b: Any) -> None:
    """All columns of all tables but times and memory are equal to the last bit."""
    for name in TABLES:
        left, right = (getattr(run, name).drop(columns=TIMES, errors="ignore") for run in (a, b))
        pd.testing.assert_frame_equal(left, right, check_exact=True, obj=name)


def model_files(storage: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (storage / "tiny/records/models").glob("*.parquet")}


def test_run_leaves_every_model_and_pair(finished: Path) -> None:
    run = explorer.load("tiny", str(finished))
    assert set(run.models["status"]) == {"ok"}
    assert run.models[["width", "batch_size", "seed"]].drop_duplicates().shape[0] == 12
    assert run.pairs[["width", "batch_size", "seed_a", "seed_b"]].drop_duplicates().shape[0] == 12
    assert (run.pairs["seed_a"] < run.pairs["seed_b"]).all()
    assert (
        run.models[["hessian_top_eigenvalue", "hessian_trace", "train_loss", "test_accuracy_percent"]]
        .notna()
        .all()
        .all()
    )
    assert (
        run.pairs[["mode_connectivity", "linear_barrier", "cka", "l2_distance", "disagreement_percent"]]
        .notna()
        .all()
        .all()
    )
    assert sorted(run.curves["t"].unique()) == [0, 0.25, 0.5, 0.75, 1]
    assert set(run.curves["path"]) == {"bezier", "linear"}
    assert run.epochs.groupby("model_id")["step"].max().eq(150).all()
    session = run.info["sessions"][0]
    assert (session["trained"], session["measured"], session["failed"]) == (12, 12 + 12 + 12, 0)
    assert {"start_up_s", "training_s", "tables_s"} <= set(session["stages"])
    assert set(session["workers"]) == {"training_s", "hessian_s", "connectivity_s", "similarity_s"}
    assert all(seconds > 0 for seconds in session["workers"].values())


def test_tables_agree_with_each_other(finished: Path) -> None:
    run = explorer.load("tiny", str(finished))
    last = run.epochs.sort_values("step").groupby("model_id").last()["train_loss"]
    models = run.models.set_index("model_id")
    pd.testing.assert_series_equal(last, models["train_loss"].sort_index(), check_exact=True)
    curve = run.curves[run.curves["path"] == "bezier"].pivot(
        index=["model_a", "model_b"], columns="t", values="train_error_percent"
    )
    mean = (curve[0.0] + curve[1.0]) / 2
    pairs = run.pairs.set_index(["model_a", "model_b"])
    np.testing.assert_allclose(pairs["barrier"], (curve.max(axis=1) - mean).clip(lower=0)[pairs.index])
    ends = models["train_error_percent"].loc[curve.index.get_level_values("model_a")].to_numpy()
    np.testing.assert_allclose(curve[0.0], ends, atol=1e-9)


def test_trained_weights_give_the_accuracy_of_their_row(finished: Path) -> None:
    run = explorer.load("tiny", str(finished))
    row = run.models.iloc[-1]
    module = run.model(row["model_id"])
    data = run.data(row["model_id"])
    with torch.no_grad():
        answers = module(torch.tensor(data.x_test)).argmax(1).numpy()
    assert 100 * (answers == data.y_test).mean() == pytest.approx(row["test_accuracy_percent"])


@pytest.mark.ray
def test_two_workers_give_the_tables_of_one(finished: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    two = explorer.run(tiny, storage=str(tmp_path / "runs"), workers=2)
    assert_equal_runs(two, explorer.load("tiny", str(finished)))


def test_finished_run_starts_nothing(own_copy: Path, tiny: dict[str, Any]) -> None:
    before = model_files(own_copy)
    (own_copy.parent / "tiny.yaml").write_text(str(tiny))
    done = explore(
        "run", own_copy.parent / "tiny.yaml", "--storage", own_copy, "--reports", own_copy.parent / "reports"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was started" in done.stdout
    assert model_files(own_copy) == before
    assert (own_copy.parent / "reports/tiny/index.html").exists()


def test_what_is_missing_is_done_and_nothing_else(own_copy: Path, finished: Path) -> None:
    before = model_files(own_copy)
    lost = sorted(before)[0]
    os.unlink(own_copy / "tiny/records/models" / lost)
    for kind in ("hessian", "connectivity"):
        os.unlink(sorted((own_copy / "tiny/records" / kind).glob("*.parquet"))[1])
    done = explore(
        "resume", "tiny", "--storage", own_copy, "--reports", own_copy.parent / "reports", "--workers", "1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = model_files(own_copy)
    assert set(after) == set(before)
    assert [name for name in before if before[name] != after[name]] == [lost]
    run = explorer.load("tiny", str(own_copy))
    assert_equal_runs(run, explorer.load("tiny", str(finished)))
    session = run.info["sessions"][-1]
    assert session["stages"]["pages_s"] > 0
    assert session["wall_s"] >= sum(session["stages"].values()) - 0.1


def test_another_space_under_the_same_name_is_refused(own_copy: Path, tiny: dict[str, Any]) -> None:
    tiny["training"]["steps"] = 151
    with pytest.raises(InputError, match=r"training.steps: 150 in the run, 151 now"):
        explorer.run(tiny, storage=str(own_copy))


def test_measuring_again_with_another_budget(own_copy: Path) -> None:
    done = explore(
        "measure",
        "tiny",
        "--set",
        "measures.connectivity.steps=20",
        "--storage",
        own_copy,
        "--reports",
        own_copy.parent / "reports",
        "--workers",
        "1",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = explorer.load("tiny", str(own_copy))
    assert set(run.pairs["curve_steps"]) == {20}
    assert len(run.curves) == 120
    assert run.pairs["cka"].notna().all()
    assert run.info["sessions"][-1]["trained"] == 0
    assert run.info["sessions"][-1]["measured"] == 12
    refused = explore("measure", "tiny", "--set", "training.steps=20", "--storage", own_copy)
    assert refused.returncode == 2
    assert "only measures" in refused.stderr


def test_fractions_of_a_logical_gpu_let_trials_share_it(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["resources"] = {"cpus_per_trial": 0.5, "gpus_per_trial": 0.25}
    tiny["measures"] = {"similarity": {"inputs": 50}}
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), gpus=1)
    assert set(run.models["status"]) == {"ok"}
    assert run.info["sessions"][0]["resources"]["GPU"] == 1
    tiny["resources"]["gpus_per_trial"] = 2
    with pytest.raises(InputError, match=r"asks for 0\.5 CPUs and 2 GPUs"):
        explorer.run(tiny, storage=str(tmp_path / "more"), gpus=1)


USER_MODEL = """
from torch import nn

class Picky(nn.Linear):
    def forward(self, x):
        if not self.training and self.out_features == 3:
            raise RuntimeError("no network of width 3")
        return super().forward(x)

def broken(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), Picky(shape[1] * shape[2], width), nn.Tanh(), nn.Linear(width, classes))
"""


@pytest.mark.ray
def test_failures_are_rows_and_exit_code_3(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mynets.py").write_text(USER_MODEL)
    tiny["model"] = {"name": "mynets:broken", "width": 4}
    tiny["load"] = {"width": [3, 4]}
    tiny["temperature"] = {"batch_size": [50]}
    (tmp_path / "space.yaml").write_text(str(tiny))
    done = explore("run", "space.yaml", cwd=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Finished with 3 failures" in done.stderr
    assert "model at width 3, batch_size 50, seed 0" in done.stderr
    assert "no network of width 3" in done.stderr
    run = explorer.load(tmp_path / "runs/tiny")
    assert run.models.groupby("width")["status"].unique().map(list).to_dict() == {3: ["failed"], 4: ["ok"]}
    assert len(run.pairs) == 3
    (tmp_path / "mynets.py").write_text(USER_MODEL.replace("== 3", "== 5"))
    changed = explore("resume", "tiny", cwd=tmp_path)
    assert changed.returncode == 2
    assert "mynets.py differs from the copy that the run was trained with" in changed.stderr


def test_diverged_models_are_rows_that_do_not_stop_their_neighbours(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["temperature"] = {"learning_rate": [0.05, 1e6]}
    run = explorer.run(tiny, storage=str(tmp_path / "runs"), workers=2)
    status = run.models.groupby("learning_rate")["status"].unique().map(list).to_dict()
    assert status == {0.05: ["ok"], 1e6: ["diverged"]}
    assert set(run.pairs["learning_rate"]) == {0.05}
    assert run.cells.set_index("learning_rate").loc[1e6, "n_diverged"].tolist() == [3, 3]


def processes() -> dict[int, int]:
    """Parent of every process, zombies left out."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return {int(pid): int(parent) for pid, parent, stat in rows if not stat.startswith("Z")}


def descendants(pid: int) -> set[int]:
    """All processes that a process has started, directly or not."""
    parents, found = processes(), {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found - {pid}
        found |= more


def started(space: dict[str, Any], folder: Path) -> subprocess.Popen[str]:
    """A run in a process of its own, with Ctrl-C working as in a terminal."""
    (folder / "space.yaml").write_text(str(space))
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run_explore.py"), "run", "space.yaml", "--workers", "2"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_records(folder: Path, kind: str, number: int) -> None:
    deadline = time.monotonic() + 300
    while len(list((folder / "runs/tiny/records" / kind).glob("*.parquet"))) < number:
        assert time.monotonic() < deadline, f"no {number} records of {kind} in 300 s"
        time.sleep(0.02)


def longer(space: dict[str, Any]) -> dict[str, Any]:
    """Enough work that a stop falls into the middle of it."""
    space["load"]["width"] = [2, 3, 4, 6, 8, 16]
    space["training"]["steps"] = 1000
    return space


@pytest.mark.slow
def test_stopped_and_killed_runs_end_as_an_undisturbed_one(tiny: dict[str, Any], tmp_path: Path) -> None:
    space = longer(tiny)
    process = started(space, tmp_path)
    wait_for_records(tmp_path, "models", 2)
    everything = descendants(process.pid)
    assert len(everything) > 3
    process.send_signal(signal.SIGINT)
    mark = time.monotonic()
    output, _ = process.communicate(timeout=100)
    assert time.monotonic() - mark < 5
    assert process.returncode == 130, output
    assert "resume tiny" in output
    assert not everything & set(processes())
    kept = model_files(tmp_path / "runs")
    assert 0 < len(kept) < 12

    process = started(space, tmp_path)  # killed while training
    wait_for_records(tmp_path, "models", len(kept) + 2)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    process = started(space, tmp_path)  # killed while measuring
    wait_for_records(tmp_path, "connectivity", 1)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    trained = model_files(tmp_path / "runs")
    assert kept.items() <= trained.items()

    done = explore("resume", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert trained.items() <= model_files(tmp_path / "runs").items()  # nothing finished was done again
    undisturbed = explorer.run(space, storage=str(tmp_path / "other"), workers=2)
    assert_equal_runs(explorer.load(tmp_path / "runs/tiny"), undisturbed)


@pytest.mark.ray
@pytest.mark.slow
def test_killed_workers_are_replaced(tiny: dict[str, Any], tmp_path: Path, finished: Path) -> None:
    """A user's model whose process kills itself, once while training and once while measuring."""
    (tmp_path / "mynets.py").write_text(
        textwrap.dedent("""
        import os, pathlib, signal
        from torch import nn

        class Deadly(nn.Linear):
            def forward(self, x):
                for what in pathlib.Path("traps").glob(f"*{self.out_features}"):
                    what.unlink(missing_ok=True)
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().forward(x)

        def net(shape, classes, width=4):
            return nn.Sequential(nn.Flatten(), Deadly(shape[1] * shape[2], width), nn.Tanh(), nn.Linear(width, classes))
    """)
    )
    tiny["model"] = {"name": "mynets:net", "width": 4}
    tiny["temperature"] = {"batch_size": [50]}
    (tmp_path / "traps").mkdir()
    process = started(tiny, tmp_path)
    wait_for_records(tmp_path, "models", 1)
    (tmp_path / "traps/training8").touch()
    (tmp_path / "traps/training2").touch()
    wait_for_records(tmp_path, "models", 2)
    (tmp_path / "traps/measuring8").touch()
    output, _ = process.communicate(timeout=800)
    assert process.returncode == 0, output
    run = explorer.load(tmp_path / "runs/tiny")
    assert set(run.models["status"]) == {"ok"}
    assert run.pairs["mode_connectivity"].notna().all()
    assert not list((tmp_path / "traps").iterdir())


def test_store_knows_the_run(finished: Path) -> None:
    assert Store(finished / "tiny").read_info()["name"] == "tiny"
