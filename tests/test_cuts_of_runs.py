"""Cuts of a run: one rule for all that sort its cells into phases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report.synthetic import synthetic_run

from explorer import phases, report
from explorer.report.diagnosis import diagnose
from explorer.report.export import export
from explorer.results import RunTables

OWN = {"train_loss": 0.0321, "connected": 1.234, "cka": "auto"}


@pytest.fixture(scope="module")
def run() -> RunTables:
    made = synthetic_run()
    return replace(made, info={**made.info, "space": {**made.info["space"], "phases": OWN}})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"train_loss": 0.0321, "connected": 1.234}),
        ({}, {"train_loss": 0.0321, "connected": 1.234}),
        ({"connected": 7.5}, {"train_loss": 0.0321, "connected": 7.5}),
        ({"connected": "auto", "cka": 0.777}, {"train_loss": 0.0321, "cka": 0.777}),
    ],
)
def test_what_is_given_stands_for_the_same_cut_of_the_space(
    run: RunTables, given: dict[str, Any] | None, expected: dict[str, float]
) -> None:
    cuts = run.cuts(given)
    assert {name: cut.value for name, cut in cuts.items() if cut.by_user} == expected
    assert list(cuts) == ["train_loss", "connected", "cka"]


@pytest.mark.parametrize("info", [{}, {"space": None}, {"space": {"phases": None}}, {"space": {"phases": 3}}])
def test_a_run_that_says_nothing_has_cuts_that_are_found(run: RunTables, info: dict[str, Any]) -> None:
    silent = replace(run, info=info)
    assert silent.cuts() == phases.find_cuts(run.grid)
    assert silent.cells["phase"].tolist() == phases.classify(run.grid, silent.cuts())["phase"].tolist()


def test_all_who_sort_cells_go_by_the_same_cuts(
    run: RunTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    original = phases.classify

    def noted(cells: Any, cuts: Any, *more: Any) -> Any:
        used.append({name: cut.value for name, cut in cuts.items()})
        return original(cells, cuts, *more)

    monkeypatch.setattr(phases, "classify", noted)
    given = {"connected": 7.5}
    wanted = {name: cut.value for name, cut in run.cuts(given).items()}
    for sort in (
        lambda: report.write(run, tmp_path / "page", cuts=given, images=False),
        lambda: report.compare([run, run], tmp_path / "both", cuts=given),
        lambda: diagnose(run, cuts=given),
        lambda: export(run, tmp_path / "table.csv", cuts=given),
    ):
        used.clear()
        sort()
        assert used
        assert used[0] == wanted
