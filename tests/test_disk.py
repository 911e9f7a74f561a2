"""Disk and memory that run out: one clear error or a row, nothing half-written, and going on afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import explore
from test_engine import assert_equal_runs

import explorer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, full but for 68 kB: a ballast lies there that can be thrown off."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        (place / "ballast").write_bytes(bytes(1980 * 1024))
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_resume_completes_it(
    small_disk: Path, tiny: dict[str, Any], tmp_path: Path, finished: Path
) -> None:
    (tmp_path / "space.yaml").write_text(str(tiny))
    options = ("--storage", str(small_disk / "runs"), "--workers", "2")
    full = explore("run", "space.yaml", *options, cwd=tmp_path)
    assert full.returncode == 3, full.stdout + full.stderr
    assert full.stderr.count("Error:") == 1
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stdout + full.stderr
    assert "resume tiny" in full.stderr
    folder = small_disk / "runs/tiny"
    assert not list(folder.rglob("*.tmp"))
    kept = {p.name: p.stat().st_mtime_ns for p in (folder / "records/models").glob("*.parquet")}
    assert 0 < len(kept) < 4
    (small_disk / "ballast").unlink()
    done = explore("resume", "tiny", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "damaged").exists()
    for name, written in kept.items():
        assert (folder / "records/models" / name).stat().st_mtime_ns == written
    assert_equal_runs(explorer.load(folder), explorer.load("tiny", str(finished)))


GREEDY = """
import os, resource, signal
import torch
from torch import nn

def tried(width):
    with open(f"FOLDER/tried{width}", "a") as file:
        file.write("x")

class Greedy(nn.Linear):
    def forward(self, x):
        if len(x) > 16 and not self.training and self.out_features == 3:  # more than the process may have
            tried(3)
            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (2**34, before[1]))
            try:
                torch.empty(2**35)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)
        if len(x) > 16 and not self.training and self.out_features == 5:  # what the kernel does to the greediest
            tried(5)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)

def net(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), Greedy(shape[1] * shape[2], width), nn.Tanh(), nn.Linear(width, classes))
"""


@pytest.mark.slow
def test_workers_out_of_memory_are_rows_after_bounded_retries(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mynets.py").write_text(GREEDY.replace("FOLDER", str(tmp_path)))
    tiny["model"] = {"name": "mynets:net", "width": 4}
    tiny["load"] = {"width": [3, 4, 5]}
    tiny["temperature"] = {"batch_size": [50]}
    (tmp_path / "space.yaml").write_text(str(tiny))
    done = explore("run", "space.yaml", "--workers", "2", cwd=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Finished with 6 failures" in done.stderr
    models = explorer.load(tmp_path / "runs/tiny").models.set_index("width")
    assert models["status"].groupby("width").unique().map(list).to_dict() == {
        3: ["failed"],
        4: ["ok"],
        5: ["failed"],
    }
    assert models.loc[3, "error"].str.contains("memory").all()
    assert models.loc[5, "error"].str.contains("the worker process died").all()
    for width in (3, 5):
        assert len((tmp_path / f"tried{width}").read_text()) == 3, f"width {width} was not tried three times"
