"""Damage of a run folder: found by `verify`, named, set aside, and mended by `resume`."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import explore
from test_engine import assert_equal_runs

import explorer
from explorer.runs.store import Store, weights_name
from explorer.runs.verify import verify

CHECKED = ("weights/", "records/", "tables/")


def checked_files(folder: Path) -> list[Path]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if str(path.relative_to(folder)).startswith(CHECKED)]


def test_a_sound_run_has_no_damage(own_copy: Path) -> None:
    Store(own_copy / "tiny").compact("similarity", 2)
    number, found = verify(Store(own_copy / "tiny"))
    assert found == []
    assert number >= len(checked_files(own_copy / "tiny"))


def test_each_of_100_changed_bytes_is_found(own_copy: Path) -> None:
    folder, draw = own_copy / "tiny", random.Random(0)
    for kind in ("similarity", "epochs"):
        Store(folder).compact(kind, 2)
    files = checked_files(folder)
    for _ in range(100):
        file = draw.choice(files)
        content = bytearray(file.read_bytes())
        place = draw.randrange(len(content))
        content[place] ^= draw.randrange(1, 256)
        before = file.read_bytes()
        file.write_bytes(content)
        assert str(file.relative_to(folder)) in [damage.file for damage in verify(Store(folder))[1]], place
        file.write_bytes(before)


def deleted(file: Path) -> None:
    file.unlink()


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def replaced(file: Path) -> None:
    file.write_bytes(max(file.parent.iterdir(), key=lambda path: path.stat().st_size).read_bytes() + b" ")


@pytest.mark.parametrize("how", [deleted, emptied, truncated, replaced])
def test_a_stack_without_its_weights_counts_as_untrained(own_copy: Path, how: Callable[[Path], None]) -> None:
    warnings: list[str] = []
    store = Store(own_copy / "tiny", warn=warnings.append)
    stack = store.read_records("models").to_pydict()["stack"][0]
    store.drop_lost_weights()
    assert store.has_record("models", stack)
    assert not warnings
    how(own_copy / "tiny" / weights_name(stack))
    store.drop_lost_weights()
    assert not store.has_record("models", stack)
    assert not store.has_record("epochs", stack)
    assert f"{weights_name(stack)} are " in warnings[0]


def test_damage_is_listed_marked_set_aside_and_mended(own_copy: Path, finished: Path) -> None:
    folder, pages = own_copy / "tiny", own_copy.parent / "pages"
    stack = Store(folder).read_records("models").to_pydict()["stack"][0]
    records = sorted((folder / "records/similarity").iterdir())
    damaged = [folder / weights_name(stack), records[0], folder / "tables/pairs.parquet"]
    for file in damaged:
        truncated(file)
    shutil.copy(records[2], records[1])  # sound, under another name
    names = [str(file.relative_to(folder)) for file in (*damaged, records[1])]
    options = ("tiny", "--storage", own_copy)
    listed = explore("verify", *options)
    assert listed.returncode == 3
    assert all(name in listed.stderr for name in names)
    assert "Damaged files: 4 of " in listed.stdout
    assert all(file.exists() for file in damaged), "only --repair moves files"
    assert "verification" in explore("status", *options).stdout
    drawn = explore("report", *options, "--reports", pages)
    assert "found damaged files (4)" in drawn.stdout
    assert "found damaged files (4)" in (pages / "tiny/index.html").read_text()

    assert explore("verify", *options, "--repair").returncode == 3
    assert explore("resume", *options, "--workers", "1", "--reports", pages).returncode == 0
    sound = explore("verify", *options)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "found damaged" not in (pages / "tiny/index.html").read_text()
    assert_equal_runs(explorer.load("tiny", own_copy), explorer.load("tiny", finished))
