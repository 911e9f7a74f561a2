"""What users of command lines and of notebooks expect: versions, help, lists, dry runs, a browser, parts of runs."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest
import yaml
from conftest import ROOT, explore

import explorer
from explorer import api, report
from explorer.cli import options
from explorer.report.selection import select
from explorer.settings import InputError


def test_version_help_and_completion() -> None:
    assert explore("--version").stdout == f"explorer {version('explorer-landscapes')}\n"
    assert explorer.__version__ == version("explorer-landscapes")
    assert explore("-h").stdout == explore("--help").stdout
    assert "--dry-run" in explore("run", "-h").stdout
    # The shell is the parent process, whichever started the tests.
    command = f"{sys.executable} {ROOT}/run_explore.py --show-completion; exit"
    assert "complete" in subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout


def test_a_notebook_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # kernels set it
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert not api._display().live


def test_names_of_runs_are_completed(own_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_copy.parent)
    assert (options._runs("ti"), options._runs("x")) == (["tiny"], [])


def test_runs_are_listed_with_their_state(own_copy: Path) -> None:
    (own_copy / "broken").mkdir()
    (own_copy / "broken/run.yaml").write_text("a: 1")
    done = explore("runs", "--storage", own_copy)
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if "tiny" in line]
    assert line.split()[1:6] == ["complete", "12", "of", "12", "models"]
    assert "broken cannot be read: " in done.stderr


def test_a_dry_run_says_what_is_trained_and_changes_nothing(own_copy: Path, tiny: dict[str, Any]) -> None:
    def dry(**changes: Any) -> tuple[int, str, str]:
        (own_copy.parent / "tiny.yaml").write_text(yaml.safe_dump({**tiny, **changes}))
        done = explore("run", "tiny.yaml", "--dry-run", cwd=own_copy.parent)
        return done.returncode, done.stdout, done.stderr

    before = {path: path.read_bytes() for path in own_copy.rglob("*") if path.is_file()}
    code, said, _ = dry()
    assert code == 0
    assert "Run runs/tiny exists: 12 of 12 models are trained.\nNothing is left to do.\n" in said
    assert "Nothing was started." in said  # as `check` says
    code, said, _ = dry(seeds=4)
    assert "Run runs/tiny exists with a smaller space: 12 of 16 models are trained." in said
    assert "There is no run runs/other yet: nothing is trained." in dry(name="other")[1]
    code, _, said = dry(task="regression")
    assert code == 2
    code, _, said = dry(model={"name": "mlp", "depth": 3})
    assert (code, "exists with a different space" in said) == (2, True)
    assert {path: path.read_bytes() for path in own_copy.rglob("*") if path.is_file()} == before


def test_the_report_opens_in_the_browser(own_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda page: bool(opened.append(page)))
    done = explore("report", "tiny", "--open", cwd=own_copy.parent)
    assert opened == [(own_copy.parent / "reports/tiny/index.html").as_uri()]
    assert "There is no browser here" in done.stdout


def test_runs_with_different_axes_are_compared_at_one_value(finished: Path, tmp_path: Path) -> None:
    one = explorer.load("tiny", str(finished))
    more = one.models.assign(
        learning_rate=0.1, model_id="x" + one.models["model_id"], cell_id="x" + one.models["cell_id"]
    )
    axes = {**one.axes, "temperature": [*one.axes["temperature"], "learning_rate"]}
    other = replace(one, name="rates", axes=axes, models=pd.concat([one.models, more]), of_cells=one.of_cells)
    with pytest.raises(InputError, match="several cells at the same width, batch_size"):
        report.compare([one, other], tmp_path / "page")
    both = [select(run, ["learning_rate=0.05"]) for run in (one, other)]
    assert both[1].axes == one.axes
    pd.testing.assert_frame_equal(both[1].models, one.models)
    assert Path(report.compare(both, tmp_path / "page")).exists()


def test_a_notebook_shows_a_run_as_map_and_sentences(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = explorer.load("tiny", str(finished))
    sentences = ["<script>alert(1)</script>", "two", "three", "four"]
    monkeypatch.setattr(type(run), "findings", property(lambda _: sentences))
    page = run._repr_html_()
    assert page.count("<svg") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "three" in page
    assert "four" not in page
    assert len(repr(run)) < 80
    assert isinstance(run.phase_map(), alt.LayerChart)
    with pytest.raises(
        InputError,
        match=r"'depth' is no other axis of this run; other axes: none besides width and batch_size",
    ):
        run.phase_map(depth=2)
