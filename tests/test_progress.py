"""Unfinished runs look unfinished, and a start that failed leaves nothing."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from in_process import work
from typer.testing import CliRunner

import explorer
from explorer.cli.app import app
from explorer.cli.status import describe
from explorer.cli.work import _kept
from explorer.data import digits
from explorer.engine.cluster import RunOptions
from explorer.engine.run import run as start
from explorer.plan import provenance
from explorer.plan.progress import progress
from explorer.report import facts, write
from explorer.runs.lock import RunLock
from explorer.runs.store import Store
from explorer.settings import InputError
from explorer.space.reading import parse


@pytest.fixture
def half(tiny: dict[str, Any], tmp_path: Path) -> Store:
    """A run of which batch size 8 is trained and measured, without the curves of one of its two cells."""
    tiny["measures"] = {"connectivity": {"steps": 2, "points": 3}, "similarity": {"inputs": 20}}
    tiny["training"]["steps"] = 100
    clean, folder = digits.load(digits.Options()), tmp_path / "tiny"
    store = work(parse({**tiny, "temperature": {"batch_size": [8]}}), clean, folder)
    store.drop_record("connectivity", min(store.by_key("connectivity")))
    store.write_info(provenance.describe(parse(tiny), "tiny"))
    return Store(folder)


def test_progress_counts_what_is_done_of_what_the_space_asks_for(half: Store, tiny: dict[str, Any]) -> None:
    now = progress(parse(half.read_info()["space"]), half)
    assert (now.models.done, now.models.wanted, now.untrained) == (6, 12, "batch_size 50")
    assert now.measured == "connectivity of 3 of 12 pairs, similarity of 6 of 12 pairs"
    assert now.lacking["models"] == "the 6 models that are not trained yet (no model of batch_size 50 is)"
    assert now.lacking["mode_connectivity"] == "connectivity of 9 pairs"
    assert not now.complete
    assert now.unfinished == (
        "This run is not finished: 6 of 12 models are trained. Measured: connectivity of 3 of 12 pairs, similarity "
        "of 6 of 12 pairs. Nobody works on it now; `resume` does the rest."
    )
    done = progress(parse({**tiny, "temperature": {"batch_size": [8]}, "measures": {}}), half)
    assert (done.complete, done.unfinished, done.lacking) == (True, "", {})


def test_status_report_and_diagnose_say_it(half: Store, tmp_path: Path) -> None:
    said = "This run is not finished: 6 of 12 models are trained."
    index = write(explorer.load(half.location), tmp_path / "out", images=False)
    page = index.read_text(encoding="utf-8")
    assert said in page
    assert "6 of 12 models ·" in page
    for words in (["report", "--reports", str(tmp_path / "out")], ["diagnose"]):
        done = CliRunner().invoke(app, [words[0], half.location, *words[1:]])
        assert said in done.output, done.output
    status = CliRunner().invoke(app, ["status", half.location]).output
    for line in (
        "6 of 12 models",
        "connectivity of 3 of 12 pairs,",
        "nobody",
        "resume",
    ):
        assert line in status


def test_who_works_on_a_run_is_named(half: Store) -> None:
    with RunLock(half.files):
        (said,) = [facts.progress_of(explorer.load(half.location)).unfinished]
        assert f"Process {os.getpid()} on " in said
        assert "(since 20" in said
        assert said.endswith("works on it now.")
        assert not describe(half)[1].complete


def test_claims_that_cannot_be_told_yet_say_what_they_need(half: Store) -> None:
    run = explorer.load(half.location)
    claims = {c.name: c.why for c in facts.claims(run, run.cells, run.cuts(), facts.progress_of(run))}
    untrained = "It still needs the 6 models that are not trained yet (no model of batch_size 50 is)"
    assert claims["width-connects"].endswith(f"{untrained} and connectivity of 9 pairs.")
    assert claims["cka-ranks-accuracy"].endswith(f"{untrained} and similarity of 6 pairs.")
    assert claims["more-data"] == "The run does not vary the training-set size."  # nor will it
    assert (
        "Hessian" in claims["label-noise-spares-hessian"]
        or "label noise" in claims["label-noise-spares-hessian"]
    )
    assert "still needs" not in claims["label-noise-spares-hessian"]


def test_a_start_that_fails_leaves_no_folder(tiny: dict[str, Any], tmp_path: Path) -> None:
    for where in (RunOptions(callbacks=["tensorbord"]), RunOptions(address="127.0.0.1:1")):
        with pytest.raises(InputError):
            start(parse(tiny), storage=str(tmp_path), where=where)
        assert list(tmp_path.iterdir()) == []
    assert _kept("tiny", str(tmp_path), "then") == (
        "It had no result yet and left no run folder; the same command starts it again."
    )


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, InputError, OSError])
def test_only_a_new_folder_without_results_is_deleted(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    def interrupted(folder: Path, file: str) -> bool:
        store = Store(folder)
        with contextlib.suppress(interruption), RunLock(store.files, store.has_work):
            store.files.write(file, b"")
            raise interruption
        return folder.exists()

    assert not interrupted(tmp_path / "new", "run.yaml")
    assert not interrupted(tmp_path / "new", "sessions/1.log")
    assert interrupted(tmp_path / "records", "records/models/a.parquet")
    assert interrupted(tmp_path / "states", "states/a.state")
    (tmp_path / "old").mkdir()
    assert interrupted(tmp_path / "old", "run.yaml")
