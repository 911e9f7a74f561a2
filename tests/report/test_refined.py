"""The page of a refined run: predicted cells, their probabilities, and a slider through the rounds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from test_refined_runs import RAW, work

from explorer import report, results
from explorer.report.diagnosis import diagnose
from explorer.report.export import export
from explorer.runs.store import Store
from explorer.space.reading import parse

SENTENCE = (
    r"12 of 30 cells were run; \d+ % of phases are expected to be right\. Claims, correlations and advice use"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return work(parse(RAW), tmp_path_factory.mktemp("refined") / "tiny")


def test_the_page_shows_predicted_cells_and_rounds(store: Store, tmp_path: Path) -> None:
    run = results.read(store)
    page = Path(report.write(run, tmp_path, images=False)).read_text(encoding="utf-8")
    assert re.search(SENTENCE, page)
    assert "12 of 30 cells · 24 models" in page
    assert 'id="round" type="range" min="1" max="3" value="3"' in page
    (data,) = re.findall(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.S)
    rounds = json.loads(data)["rounds"]
    assert [one["text"].partition(" cells")[0] for one in rounds] == [
        f"Round {k}: {n} of 30" for k, n in ((1, 4), (2, 8), (3, 12))
    ]
    assert [sum(p != "" for p in one["predicted"]) for one in rounds] == [26, 22, 18]
    assert all(
        (p == "") == (s is None)
        for one in rounds
        for p, s in zip(one["predicted"], one["probability"], strict=True)
    )
    assert (tmp_path / "tables/map.csv").is_file()


def test_everything_that_counts_cells_uses_measured_ones_and_says_so(store: Store, tmp_path: Path) -> None:
    run = results.read(store)
    assert re.search(SENTENCE, "\n".join(diagnose(run)))
    export(run, tmp_path / "t.csv")
    assert re.search(SENTENCE, (tmp_path / "t.md").read_text(encoding="utf-8"))
    assert len(run.cells) == 12


def test_a_run_of_the_whole_grid_says_nothing_of_it(store: Store, tmp_path: Path) -> None:
    raw = {name: value for name, value in RAW.items() if name != "refine"}
    raw |= {"load": {"width": [2, 3]}, "temperature": {"batch_size": [8, 50]}}
    run = results.read(work(parse(raw), tmp_path / "tiny"))
    page = Path(report.write(run, tmp_path / "out", images=False)).read_text(encoding="utf-8")
    assert "were run;" not in page
    assert 'id="round"' not in page
    assert (run.map["source"] == "measured").all()
    assert "round" not in run.map
