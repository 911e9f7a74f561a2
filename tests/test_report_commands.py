"""The commands report (one run, several, watched) and export, as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import explore
from report.synthetic import synthetic_run

from explorer import report
from explorer.cli.pages import draw


def test_the_commands_watch_compare_and_export(finished: Path, tmp_path: Path):
    done = explore("report", "tiny", "--watch", "--storage", finished, "--reports", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Watching" in done.stdout
    assert 'http-equiv="refresh"' not in (tmp_path / "tiny" / "index.html").read_text(encoding="utf-8")
    both = explore("report", "tiny", str(finished / "tiny"), "--storage", finished, "--reports", tmp_path)
    assert both.returncode == 0, both.stderr
    assert (tmp_path / "tiny-vs-tiny" / "index.html").is_file()
    out = explore("export", "tiny", "--storage", finished, "--out", tmp_path / "t.csv")
    assert out.returncode == 0, out.stderr
    assert len(pd.read_csv(tmp_path / "t.csv")) == 12
    wrong = explore("report", "tiny", "tiny", "--watch", "--storage", finished)
    assert wrong.returncode == 2


def test_a_run_under_way_is_told_of_tables_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run = synthetic_run(widths=(2, 4), batch_sizes=(8,), seeds=2)  # of a folder without tables
    monkeypatch.setattr(report, "write", lambda run, out, **_: f"{out}/index.html")
    draw(run, tmp_path, {})
    assert f"Tables: {tmp_path}/digits/tables" in capsys.readouterr().out
    draw(run, tmp_path, {}, written=True)
    assert "Tables: runs/digits/tables" in capsys.readouterr().out
