"""A disk that runs full: one clear error or a row, nothing half-written, and going on afterwards."""

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
