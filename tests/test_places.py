"""Where runs, pages and tables are: folders and URIs, copies, renamed and moved folders."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import explore, started
from report.synthetic import synthetic_run
from test_engine import wait_for_records
from typer.testing import CliRunner

from explorer import report
from explorer.cli.app import app
from explorer.engine.cancel import Cancellation
from explorer.engine.local_ray import watched
from explorer.report.files import write_shown_runs
from explorer.results import RunTables
from explorer.runs.files import Files, GoneError, join, resolve, split
from explorer.runs.lock import RunLock
from explorer.runs.store import Store
from explorer.settings import InputError


def call(*words: str | Path) -> str:
    """Call the command line in this process and return what it prints."""
    done = explore(*words, cwd=Path.cwd())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


INFO = {"name": "x", "space": {"measures": {}}}


def test_locations() -> None:
    home = str(Path.home())
    for given, path in (
        ("runs/", "runs"),
        ("", "."),
        ("~/runs", f"{home}/runs"),
        ("file:///data/my%20runs/", "/data/my runs"),
        ("file://localhost/data", "/data"),
        ("FILE:/data", "/data"),
        ("a:b", "a:b"),
        (Path("a"), "a"),
    ):
        assert resolve(given) == path
    assert join("runs", "a") == "runs/a"
    assert join("what?", "a") == "what?/a"
    assert join("s3://bucket/runs/?scheme=http", "a b") == "s3://bucket/runs/a%20b?scheme=http"
    assert split("s3://bucket/runs/a%20b.csv?scheme=http") == ("s3://bucket/runs?scheme=http", "a b.csv")
    assert split("file:///data/t.csv") == ("/data", "t.csv")
    assert split("t.csv") == ("", "t.csv")


@pytest.mark.parametrize(
    "uri", ["http://host/x", "file:x", "file://host/x", "s3://", "file:///a?b", "s3://a b"]
)
def test_a_wrong_uri_is_told_before_anything_starts(
    uri: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(str(tiny))
    Store("run").write_info(INFO)
    for words in (
        ["run", "space.yaml", "--storage", uri],
        ["run", "space.yaml", "--reports", uri],
        ["resume", uri],
        ["measure", uri, "--add", "sharpness"],
        ["status", uri],
        ["report", "run", "--reports", uri],
        ["report", uri, "run"],
        ["diagnose", uri],
        ["export", uri],
    ):
        error = CliRunner().invoke(app, words).exception
        assert isinstance(error, InputError), words
        assert re.search(r"give a folder, file:///folder or s3://bucket/folder$", str(error))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "space.yaml"]


def test_a_file_uri_is_the_folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage, pages = finished.as_uri(), (tmp_path / "my pages").as_uri()
    for words in (
        ["status", f"{storage}/tiny"],
        ["report", "tiny", "--storage", storage, "--reports", pages],
        ["report", finished / "tiny", "--reports", tmp_path / "my pages"],
        ["diagnose", "tiny", "--storage", storage],
        ["export", f"{storage}/tiny", "--out", f"{pages}/t.csv"],
    ):
        call(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["my pages"]
    assert {path.name for path in (tmp_path / "my pages").iterdir()} == {"tiny", "t.csv", "t.md"}
    with RunLock(Files(f"{storage}/new")), pytest.raises(InputError, match="is held by"):
        RunLock(Files(finished / "new")).__enter__()
    shutil.rmtree(finished / "new")


def at(folder: Path, created: str = "2026-01-01T00:00:00+00:00") -> RunTables:
    """A run in a folder."""
    Store(folder).write_info(INFO)
    run = synthetic_run(widths=(2, 4), batch_sizes=(8,), seeds=2)
    return replace(run, name=folder.name, folder=str(folder), info={**run.info, "created": created})


def page(reports: Path, *runs: RunTables) -> str:
    """The name of the folder in which a page of runs is drawn."""
    folder = report.page_folder(runs, reports)
    write_shown_runs(runs, Files(folder))
    return Path(folder).name


def test_a_run_has_a_page_of_its_own_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = tmp_path / "pages"
    first, copied = at(tmp_path / "a/x"), at(tmp_path / "b/x")
    assert page(pages, first) == "x"
    assert page(pages, copied) == "x-2"
    assert [page(pages, run) for run in (first, copied, first)] == ["x", "x-2", "x"]
    monkeypatch.chdir(tmp_path / "b")
    assert page(pages, replace(copied, folder="x")) == "x-2"
    assert page(pages, replace(copied, folder=(tmp_path / "b/x").as_uri())) == "x-2"
    assert page(pages, at(tmp_path / "x-2")) == "x-2-2"
    assert page(pages, first, copied) == "x-vs-x"
    assert page(pages, copied, first) == "x-vs-x-2"
    assert page(pages, first, copied) == "x-vs-x"
    assert page(pages, at(tmp_path / "x (copy)")) == "x-copy"


def test_a_moved_run_takes_its_page_along_and_no_other(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    assert page(pages, at(tmp_path / "a/x")) == "x"
    (tmp_path / "a").rename(tmp_path / "b")
    assert page(pages, at(tmp_path / "c/x", created="2026-02-02T00:00:00+00:00")) == "x-2"  # another run
    assert page(pages, at(tmp_path / "b/x")) == "x"
    assert page(pages, at(tmp_path / "b/x", created="2026-03-03T00:00:00+00:00")) == "x"  # made again there
    (tmp_path / "b/x").rename(tmp_path / "b/y")
    assert page(pages, at(tmp_path / "b/y")) == "y"


def test_the_same_path_on_two_machines_is_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages, run = tmp_path / "pages", at(tmp_path / "x")
    assert page(pages, run) == "x"
    monkeypatch.setattr("explorer.report.files.socket.gethostname", lambda: "elsewhere")
    assert page(pages, at(tmp_path / "x", created="2026-02-02T00:00:00+00:00")) == "x-2"
    assert page(pages, run) == "x", "the hosts of containers change"


def test_a_copied_run_does_not_overwrite_the_page_of_the_first(own_copy: Path, tmp_path: Path) -> None:
    shutil.copytree(own_copy, tmp_path / "other")
    (tmp_path / "other/tiny").rename(tmp_path / "other/renamed")
    shutil.copytree(own_copy, tmp_path / "copy")
    pages = tmp_path / "pages"
    for run, name in ((own_copy / "tiny", "tiny"), ("copy/tiny", "tiny-2"), ("other/renamed", "renamed")):
        assert f"Report: {pages / name}/index.html" in call("report", tmp_path / run, "--reports", pages)
    assert {path.name for path in pages.iterdir()} == {"tiny", "tiny-2", "renamed"}


def test_nothing_is_written_for_a_run_that_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "x", warn=print)
    store.write_info(INFO)
    store.write_record("models", "a", [{"model_id": "a"}])
    (tmp_path / "x").rename(tmp_path / "y")
    for write in (
        lambda: store.write_record("models", "b", [{"model_id": "b"}]),
        lambda: store.write_state("b", {}, {}),
        lambda: store.write_log("2026", "text"),
    ):
        with pytest.raises(
            GoneError, match=rf"{tmp_path}/x has no run.yaml: this folder was moved or deleted"
        ):
            write()
    store.damaged("weights/a.safetensors", ValueError("missing"))
    store.drop_records("models")
    assert [path.name for path in tmp_path.iterdir()] == ["y"]


@pytest.mark.parametrize("how", ["moved", "replaced", "deleted"])
def test_a_folder_that_is_moved_ends_the_work_and_its_new_place_is_told(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explorer.runs.lock.RENEW_EVERY_S", 0.01)
    folder, cancel = tmp_path / "x", Cancellation()

    def work() -> None:
        while how == "deleted" and folder.exists():  # again if the lock was being renewed
            shutil.rmtree(folder, ignore_errors=True)
        if how != "deleted":
            folder.rename(tmp_path / "new")
        if how == "replaced":
            Store(folder).write_info(INFO)
        cancel.sleep(30)

    said = f"{folder} was deleted" if how == "deleted" else f"{folder} was moved to {tmp_path / 'new'} during"
    with (  # noqa: PT012
        pytest.raises(GoneError, match=said),
        RunLock(Files(folder)) as lock,
        watched(cancel, 0.05, lock.find_loss, error=GoneError),
    ):
        Store(folder).write_info(INFO)
        assert not lock.find_loss()
        cancel.run(work, 1.0)
    expected = {"moved": {"new"}, "replaced": {"new", "x"}, "deleted": set()}[how]
    assert {path.name for path in tmp_path.iterdir()} == expected
    if how != "deleted":
        with RunLock(Files(tmp_path / "new")):  # the hold that is left there does not block
            pass


@pytest.mark.slow
def test_a_run_whose_folder_is_moved_stops(tiny: dict[str, Any], brake: Path, tmp_path: Path) -> None:
    tiny["training"]["loss"] = "braked:loss"
    (tmp_path / "space.yaml").write_text(str(tiny))
    process = started("run", "space.yaml", cwd=tmp_path)
    wait_for_records(tmp_path, "models", 1)
    brake.touch()
    (tmp_path / "runs/tiny").rename(tmp_path / "moved")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 3, output
    assert f"{tmp_path}/runs/tiny was moved to {tmp_path}/moved during the work" in output
    assert not list((tmp_path / "runs").iterdir())
    assert "of 12 models" in explore("status", tmp_path / "moved").stdout
