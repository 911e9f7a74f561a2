"""Runs of a part of a grid, chosen in rounds: the same cells and tables after any interruption."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import explore, started
from test_engine import assert_equal_runs, wait_for_records

import explorer
from explorer import refine, results
from explorer.engine.context import load_data
from explorer.engine.rounds import choose_round
from explorer.engine.run import continue_run
from explorer.engine.session import Session, SilentObserver
from explorer.engine.worker import Worker
from explorer.phases import Cut
from explorer.plan import provenance, refinement
from explorer.plan.progress import progress
from explorer.report.refined import refinement_sentence
from explorer.runs.store import Store
from explorer.settings import InputError
from explorer.space.model import CheckedSpace, RefineOptions
from explorer.space.reading import parse

RAW: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits", "train_size": 100},
    "model": {"name": "mlp"},
    "load": {"width": [2, 3, 4, 6, 8, 16]},
    "temperature": {"batch_size": [8, 16, 24, 32, 50]},
    "seeds": 2,
    "training": {"steps": 60, "learning_rate": 0.1, "history_points": 2},
    "measures": {"connectivity": {"steps": 4, "points": 3}, "similarity": {"inputs": 20}},
    "refine": {"budget": 0.4, "start": 2, "round": 4, "until": 1},
}


WRONG_BUDGETS = (0, -1, 1.5, math.inf, math.nan, True, None, "a third", "35%", [1])


def work(space: CheckedSpace, folder: Path, most: int = 1000) -> Store:
    """Do this many pieces of work of a refined run in this process."""
    (clean,) = load_data(space).values()
    store = Store(folder)
    worker = Worker(str(folder), lambda _: clean, {}, threads=1, gpus=0)
    if not store.exists():
        store.write_info(provenance.describe(space, space.name))
    while True:
        todo = refinement.missing(space, store)
        for piece in [*todo.stacks, *todo.tasks]:
            if (most := most - 1) < 0:
                return store
            (worker.train if piece in todo.stacks else worker.measure)(piece)
        if not todo:
            if not refinement.is_open(space, refinement.rounds_of(store)):
                return store
            choose_round(space, store, Session(store, SilentObserver()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return work(parse(RAW), tmp_path_factory.mktemp("refined") / "tiny")


def test_rounds_add_cells_until_the_budget_is_spent(whole: Store) -> None:
    rounds = refinement.rounds_of(whole)
    assert [len(one["cells"]) for one in rounds] == [4, 4, 4]
    assert all(0 < one["expected"] <= 1 for one in rounds)
    run = results.read(whole)
    assert len(run.cells) == 12
    assert set(run.cells["cell_id"]) == {cell for one in rounds for cell in one["cells"]}
    assert {(2, 8), (2, 50), (16, 8), (16, 50)} < set(
        zip(run.cells["width"], run.cells["batch_size"], strict=True)
    )
    assert (run.cells["phase"] != "").all()


def test_the_map_has_every_cell_and_what_is_known_of_it(whole: Store) -> None:
    run = results.read(whole)
    table = run.map
    assert len(table) == 30
    assert (table["source"] == "measured").sum() == 12
    assert table["round"].value_counts().to_dict() == {1: 4, 2: 4, 3: 4}
    assert table["round"].isna().sum() == 18
    measured = table[table["source"] == "measured"].merge(run.cells, on=["width", "batch_size"])
    assert measured["phase_x"].tolist() == measured["phase_y"].tolist()
    assert measured["cka_x"].tolist() == measured["cka_y"].tolist()
    assert explorer.refine.expected_share(table) == pytest.approx(run.rounds[-1]["expected"], abs=1e-3)


@pytest.mark.parametrize("pieces", [5, 30])
def test_an_interrupted_run_chooses_the_same_cells(whole: Store, tmp_path: Path, pieces: int) -> None:
    space = parse(RAW)
    work(space, tmp_path / "tiny", pieces)
    again = work(space, tmp_path / "tiny")
    assert refinement.rounds_of(again) == refinement.rounds_of(whole)
    one, other = results.read(whole), results.read(again)
    assert_equal_runs(one, other)
    pd.testing.assert_frame_equal(one.map, other.map)


def test_cells_that_are_not_chosen_are_not_unfinished(whole: Store, tmp_path: Path) -> None:
    space = parse(RAW)
    now = progress(space, whole)
    assert (now.complete, now.unfinished, now.lacking) == (True, "", {})
    assert (str(now.models), str(now.cells)) == ("24 of 24 models", "12 of 30 cells")
    store = work(space, tmp_path / "tiny", 6)
    now = progress(space, store)
    assert not now.complete
    assert "are trained, and more cells are to be chosen. " in now.unfinished
    assert not now.lacking.get("models", "").count("no model of")


def test_a_larger_budget_adds_rounds_and_no_budget_fills_the_grid(whole: Store, tmp_path: Path) -> None:
    space = parse({**RAW, "refine": {**RAW["refine"], "budget": 9}})
    store = work(space, tmp_path / "tiny")
    assert [len(one["cells"]) for one in refinement.rounds_of(store)] == [4, 4, 1]
    trained = set(store.read_records("models", ["model_id"]).to_pydict()["model_id"])
    work(parse(RAW), tmp_path / "tiny")
    assert [len(one["cells"]) for one in refinement.rounds_of(store)] == [4, 4, 1, 3]
    full = parse({name: value for name, value in RAW.items() if name != "refine"})
    missing = refinement.missing(full, store)
    assert sum(stack.size for stack in missing.stacks) == 36
    assert not trained & {i for stack in missing.stacks for i in stack.model_ids}


def test_a_larger_grid_is_judged_anew(whole: Store, tmp_path: Path) -> None:
    shutil.copytree(whole.location, tmp_path / "tiny")
    store, refined = Store(tmp_path / "tiny"), {**RAW["refine"], "until": 0.5}
    larger = {**RAW, "load": {"width": [*RAW["load"]["width"], 32, 64]}, "refine": refined}
    for raw, stays in (({**RAW, "refine": refined}, True), (larger, False)):
        space, changed = continue_run(store, parse(raw), accept_source_change=False)
        assert changed
        assert "expected" not in refinement.rounds_of(store)[-1]
        assert refinement.is_open(space, refinement.rounds_of(store))
        choose_round(space, store, Session(store, SilentObserver()))
        now = refinement.rounds_of(store)
        assert [one["cells"] for one in now] == [one["cells"] for one in refinement.rounds_of(whole)]
        assert (now == refinement.rounds_of(whole)) == stays


def test_a_run_of_the_rest_keeps_the_expected_shares(whole: Store, tmp_path: Path) -> None:
    shutil.copytree(whole.location, tmp_path / "tiny")
    store, full = Store(tmp_path / "tiny"), {n: value for n, value in RAW.items() if n != "refine"}
    assert continue_run(store, parse(full), accept_source_change=False)[1]
    assert refinement.rounds_of(store) == refinement.rounds_of(whole)
    continue_run(store, parse(RAW), accept_source_change=False)
    assert "expected" not in refinement.rounds_of(store)[-1]


def test_a_cut_that_the_last_round_has_moved_is_told(whole: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = results.read(whole)
    cuts, found = run.cuts(), run.cuts

    def moved_cuts(cuts: dict[str, Cut]) -> str:
        return results.moved_cuts(run, cuts, refine.predict(*run.of_rounds(), cuts))

    assert not moved_cuts(cuts) or "train_loss" in moved_cuts(cuts)

    def moved(given: dict[str, float] | None = None, cells: pd.DataFrame | None = None) -> dict[str, Cut]:
        return found({"train_loss": 5.0, **(given or {})}, cells)

    monkeypatch.setattr(run, "cuts", moved)
    said = moved_cuts(cuts)
    assert re.match(
        r"The last round moved the cut of train_loss from 5 to .*: \d+ of 30 cells have another", said
    )
    assert "`phases: {train_loss: …}`" in said
    assert said in refinement_sentence(run, progress(parse(RAW), whole), cuts)
    assert not moved_cuts(found({"train_loss": 0.03, "cka": 0.5}))


def test_the_expected_share_is_that_of_the_cuts_in_use(whole: Store) -> None:
    run, now = results.read(whole), progress(parse(RAW), whole)
    for given in ({}, {"train_loss": 1.5}):
        cuts = run.cuts(given)
        share = explorer.refine.expected_share(explorer.refine.predict(*run.of_rounds(), cuts))
        assert f"; {100 * share:.0f} % of phases are expected" in refinement_sentence(run, now, cuts)


def test_cells_that_a_run_already_has_are_known(tmp_path: Path) -> None:
    raw = {name: value for name, value in RAW.items() if name != "refine"}
    work(parse({**raw, "load": {"width": [2, 3]}}), tmp_path / "tiny")
    store = work(parse(RAW), tmp_path / "tiny")
    first = refinement.rounds_of(store)[0]["cells"]
    assert len(first) == 11, "ten that were there, and the corner of the start that was not"


def test_a_refinement_that_cannot_work_is_one_sentence() -> None:
    for changed, said in (
        ({"measures": {"connectivity": {}}}, "need the measure similarity; add"),
        ({"seeds": 1}, "need at least 2 seeds"),
        (
            {"measures": {"hessian": {}}, "seeds": 1},
            "need the measure connectivity and the measure similarity and at least 2 seeds; add",
        ),
        *(({"refine": {"budget": n}}, "share of the grid below 1") for n in WRONG_BUDGETS),
        ({"refine": {"starts": 3}}, "known: start"),
        (
            {"measures": {"similarity": {}, "connectivity": {"pairs": {"along": "batch_size"}}}},
            "measures.connectivity.pairs needs every cell",
        ),
    ):
        with pytest.raises(InputError, match=said):
            parse({**RAW, **changed})


def test_damaged_rounds_are_one_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path / "tiny")
    space = parse(RAW)
    for rounds in ("x", [1], [{"cells": 3}], [{"cells": [], "expected": "x"}]):
        store.write_info({**provenance.describe(space, "tiny"), "rounds": rounds})
        with pytest.raises(InputError, match=r"run\.yaml is damaged: rounds"):
            refinement.rounds_of(store)


def test_budgets_are_shares_or_numbers() -> None:
    def options(**given: Any) -> RefineOptions:
        return RefineOptions.model_validate(given)

    assert options().most(169) == 59
    assert options(budget=0.25).most(169) == 42
    assert options(budget=7).most(169) == 7
    assert options(budget=7.0).most(169) == 7
    assert options(budget=500).most(169) == 169
    assert options(budget=0.001).most(169) == 1
    assert (options().next(169), options().next(20), options(round=9).next(20)) == (7, 4, 9)


def test_refine_in_python_is_the_budget_of_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(space: CheckedSpace, **_: Any) -> None:
        raise InterruptedError(space.refine)

    monkeypatch.setattr("explorer.engine.run.run", start)
    plain = {name: value for name, value in RAW.items() if name != "refine"}
    for raw in (RAW, plain):
        for budget in (0.25, 9):
            with pytest.raises(InterruptedError) as caught:
                explorer.run(raw, set="seeds=3", refine=budget)
            want = RefineOptions.model_validate({**raw.get("refine", {}), "budget": budget})
            assert caught.value.args == (want,)
    with pytest.raises(InputError, match="share of the grid below 1"):
        explorer.run(RAW, refine=1.5)


@pytest.mark.slow
def test_a_killed_run_is_resumed_with_the_same_cells_and_tables(whole: Store, tmp_path: Path) -> None:
    raw = {name: value for name, value in RAW.items() if name != "refine"}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(raw))
    options = ("--set", "refine={start: 2, round: 4, until: 1}", "--refine", "0.4")
    process = started("run", "space.yaml", "--workers", "2", *options, cwd=tmp_path)
    wait_for_records(tmp_path, "similarity", 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = explore("resume", "tiny", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = explorer.load("tiny", str(tmp_path / "runs"))
    assert run.rounds == refinement.rounds_of(whole)
    assert_equal_runs(run, results.read(whole))
    saved = pd.read_parquet(tmp_path / "runs/tiny/tables/map.parquet")
    pd.testing.assert_frame_equal(saved, run.map, check_dtype=False)
    assert "12 of 30 cells were run;" in done.stdout
    assert "12 of 30 cells chosen" in explore("status", "tiny", cwd=tmp_path).stdout
