"""The page of a study: first answer, verdicts, pictures, and how it reads on a phone and on a desk."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from explorer.phases.claims import FAILS, HOLDS
from explorer.phases.claims.paper import FOUND
from explorer.phases.claims.together import CONTRADICTED
from explorer.report.study_page import reason, summary, write_study
from explorer.studies import Study, markdown
from report.synthetic import synthetic_run
from report.test_browser import CHROMIUM, browser, opened
from report.test_explore import AXE
from report.test_write import embedded, text

__all__ = ["browser"]  # a fixture, used by name


@pytest.fixture(scope="module")
def study() -> Study:
    noise = {"label_noise": [0.0, 0.2]}
    return Study(
        [
            synthetic_run(widths=(2, 8, 32, 64), batch_sizes=(8, 16, 32), seeds=3, name="clean"),
            synthetic_run(widths=(2, 8, 32), batch_sizes=(8, 16), seeds=3, name="noisy", third=noise),
        ]
    )


@pytest.fixture(scope="module")
def index(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    return Path(write_study(study.runs, study.claims, out, {"clean": "../clean/index.html"}))


def test_every_claim_has_the_papers_own_finding(study: Study):
    assert set(FOUND) == {one.name for one in study.claims}


def test_first_words_of_the_page_answer_which_findings_hold(study: Study, index: Path):
    said = unescape(text(index))
    assert said.index(summary(study.claims)) < said.index("Findings against spaces")
    for one in study.claims:
        assert FOUND[one.name] in said
        assert one.statement in said
    assert said.count("What would decide it") >= 1
    assert "2 spaces" in said
    assert f"{sum(len(run.models) for run in study.runs)} models" in said
    assert "36 (2 diverged)" in said
    assert '<a href="../clean/index.html">clean</a>' in index.read_text(encoding="utf-8")


def test_page_counts_the_spaces_against_a_finding_that_holds_elsewhere(study: Study, tmp_path: Path):
    mixed = replace(study.claims[0], verdict="holds in 1 of 2", verdicts={"clean": HOLDS, "noisy": FAILS})
    said = text(Path(write_study(study.runs, [mixed], tmp_path, {})))
    assert said.count("1 of 2, not in 1") == 3  # first screen, table and card


def test_maps_have_squares_of_one_size_and_a_map_for_each_plane(index: Path):
    data = embedded(index.read_text(encoding="utf-8"), "data")
    maps = [f for f in data["figures"] if f["id"].startswith("map-")]
    assert [f["id"] for f in maps] == ["map-clean-0", "map-noisy-0", "map-noisy-1"]
    assert len({(f["spec"]["width"]["step"], f["spec"]["height"]["step"]) for f in maps}) == 1
    assert all(set(data["sets"][f["id"]]["label_noise"]) != {0.0, 0.2} for f in maps[1:])


def test_a_reason_is_named_only_if_a_run_supports_it(study: Study):
    runs = {run.name: run for run in study.runs}
    (one,) = (c for c in study.claims if c.name == "label-noise-spares-hessian")
    failing = replace(one, verdict=CONTRADICTED, verdicts={"noisy": FAILS})
    assert reason(replace(one, verdicts={"noisy": HOLDS}, verdict="holds in 1 of 1"), runs) == ""
    assert reason(failing, runs) == "No run of this study shows why."
    noise = {"label_noise": [0.0, 0.2]}
    noisy = synthetic_run(widths=(2, 8, 32), batch_sizes=(8, 16), seeds=3, third=noise)
    noisy.models.loc[noisy.models["label_noise"] == 0, "train_loss"] /= 100
    assert "times larger with the most wrong labels" in reason(failing, {"noisy": noisy})


def test_markdown_has_a_row_for_each_claim(study: Study):
    lines = markdown(study).splitlines()
    assert lines[0] == "| claim | all spaces | clean | noisy |"
    assert sum(line.startswith("| ") for line in lines) == 2 + len(study.claims)


def test_a_study_of_one_run_counts_spaces():
    claims = Study([synthetic_run(seeds=3)]).claims
    assert all(np.isnan(one.effect) for one in claims)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on this machine")
@pytest.mark.parametrize("width", [390, 1440])
def test_study_opens_from_disk_and_answers_on_its_first_screen(browser, index: Path, width: int):
    with opened(browser, index, width=width, cell=False) as site:
        assert site.evaluate("document.documentElement.scrollWidth") <= width
        answer = site.locator(".answer").bounding_box()
        assert answer["y"] + answer["height"] < 500
        assert site.locator(".chart svg.marks").count() >= 3
        if AXE is not None:
            site.add_script_tag(path=str(AXE))
            found = site.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == []
