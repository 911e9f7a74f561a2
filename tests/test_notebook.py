"""The notebook in the documents runs from top to bottom and draws what it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest
from notebooks import Notebook, cells

NOTEBOOK = Path(__file__).parent.parent / "docs" / "charts.ipynb"


def test_the_notebook_runs(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(finished / "tiny", tmp_path / "runs" / "digits")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    drawn = []
    active = alt.theme.active
    try:
        for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            *before, last = _statements("".join(cell["source"]))
            for statement in before:
                exec(statement, names)
            shown = _value(last, names)
            if isinstance(shown, alt.LayerChart):
                drawn.append(shown.to_dict())
    finally:
        alt.theme.enable(active)
    assert len(drawn) == 6
    assert len(names["claims"]) == 19


def _statements(source: str) -> list[str]:
    import ast

    return [ast.unparse(node) for node in ast.parse(source).body]


def _value(statement: str, names: dict[str, Any]) -> Any:
    """What a notebook shows of a cell's last statement."""
    try:
        return eval(statement, names)
    except SyntaxError:
        return exec(statement, names)


@pytest.mark.slow
def test_a_map_of_a_network_of_the_notebook_takes_twenty_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """Arrays in memory, functions as model and measure, 3 × 3 × 2 models, map and advice; twice, by any kernel."""
    code = cells(NOTEBOOK.with_name("python.ipynb"))
    assert sum(bool(line.strip()) for cell in code for line in cell.splitlines()) <= 20
    monkeypatch.chdir(tmp_path)
    first, *_ = ran = [Notebook(), Notebook()]
    shown = [[notebook.cell(source) for source in code] for notebook in ran]
    said = capfd.readouterr().out
    run, chart, table, advice = shown[0][-4:]
    assert "Training: 18 of 18 models" in said
    assert said.count("Everything is already done") == 1  # the second time
    assert repr(run) == "Run 'notebook': 9 cells, 18 models, 9 pairs"
    page = run._repr_html_()
    assert page.count("<svg") == 1
    assert page.count("<li>") == 3
    assert isinstance(chart, alt.LayerChart)
    assert (table["weight_norm"] > 0).all()
    assert set(table["phase"]) <= {"I", "II", "III", "IV-A", "IV-B"}
    assert len(advice) == 5
    assert (tmp_path / "reports/notebook/index.html").exists()
    pd.testing.assert_frame_equal(table, shown[1][-2])
    assert first.names["run"].info["versions"]
