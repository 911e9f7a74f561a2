"""Real runs with real Ray: train, measure, go on, fail, stop."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import in_process
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import explore

import explorer
from explorer import report
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


def test_another_space_under_the_same_name_is_refused(own_copy: Path, tiny: dict[str, Any]) -> None:
    tiny["training"]["steps"] = 151
    with pytest.raises(InputError, match=r"training.steps: 150 in the run, 151 now"):
        explorer.run(tiny, storage=str(own_copy))


USER_MODEL = """
import os, resource, signal
import torch
from torch import nn

class Greedy(nn.Linear):
    def forward(self, x):
        if len(x) > 16 and not self.training and self.out_features != 4:
            with open(f"FOLDER/tried{self.out_features}", "a") as file:
                file.write("x")
            if self.out_features == 5:  # what the kernel does to the greediest
                os.kill(os.getpid(), signal.SIGKILL)
            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (2**34, before[1]))
            try:
                torch.empty(2**35)  # more than the process may have
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)
        return super().forward(x)

def net(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), Greedy(shape[1] * shape[2], width), nn.Tanh(), nn.Linear(width, classes))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_failures_are_rows_after_bounded_retries_and_exit_code_3(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """A network that asks for too much memory, which is an error, and one whose process is killed."""
    source = USER_MODEL.replace("FOLDER", str(tmp_path))
    (tmp_path / "mynets.py").write_text(source)
    tiny["model"] = {"name": "mynets:net", "width": 4}
    tiny["load"] = {"width": [3, 4, 5]}
    tiny["temperature"] = {"batch_size": [50]}
    (tmp_path / "space.yaml").write_text(str(tiny))
    done = explore("run", "space.yaml", "--workers", "2", cwd=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Finished with 6 failures" in done.stderr
    for width, why in ((3, "memory"), (5, "killed by SIGKILL")):
        assert re.search(rf"model at width {width}, batch_size 50, seed 0.*{why}", done.stderr), done.stderr
    run = explorer.load(tmp_path / "runs/tiny")
    models = run.models.set_index("width")
    status = models["status"].groupby("width").unique().map(list).to_dict()
    assert status == {3: ["failed"], 4: ["ok"], 5: ["failed"]}
    assert models.loc[3, "error"].str.contains("memory").all()
    assert models.loc[5, "error"].str.contains("killed by SIGKILL").all()
    for width in (3, 5):
        assert len((tmp_path / f"tried{width}").read_text()) == 3, f"width {width} was not tried three times"
    assert len(run.pairs) == 3
    (tmp_path / "mynets.py").write_text(source.replace("Greedy", "Greedier"))
    changed = explore("resume", "tiny", cwd=tmp_path)
    assert changed.returncode == 2
    assert "mynets.py differs from the copy that the run was trained with" in changed.stderr


def test_diverged_models_are_rows_that_do_not_stop_their_neighbours(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    tiny["temperature"] = {"learning_rate": [0.05, 1e6]}
    run = in_process.run(tiny, tmp_path)
    status = run.models.groupby("learning_rate")["status"].unique().map(list).to_dict()
    assert status == {0.05: ["ok"], 1e6: ["diverged"]}
    assert set(run.pairs["learning_rate"]) == {0.05}
    assert run.cells.set_index("learning_rate").loc[1e6, "n_diverged"].tolist() == [3, 3]


def test_null_of_an_axis_is_none_in_tables_and_on_the_page(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["temperature"] = {"linear_scaling": [None, 8]}
    run = in_process.run(tiny, tmp_path / "tiny")
    for table in (run.models, run.pairs, run.cells):
        assert set(table["linear_scaling"]) == {"none", "8"}
    assert len(run.cells) == 4
    page = Path(report.write(run, tmp_path / "page", images=False)).read_text(encoding="utf-8")
    assert "Learning rate is for batch size (none = for all)" in page
    assert '"linear_scaling":["none","8","none","8"]' in page
    assert explorer.load(tmp_path / "tiny").cells["linear_scaling"].equals(run.cells["linear_scaling"])


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


def wait_for(happens: Callable[[], object], seconds: float = 300) -> None:
    """Return as soon as what is called gives something true."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def wait_for_records(folder: Path, kind: str, number: int) -> None:
    records = folder / "runs/tiny/records" / kind
    wait_for(lambda: len(list(records.glob("*.parquet"))) >= number)


def test_store_knows_the_run(finished: Path) -> None:
    assert Store(finished / "tiny").read_info()["name"] == "tiny"
