"""The notebook in the documents runs from top to bottom and draws what it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import altair as alt
import pytest

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
