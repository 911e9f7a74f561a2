"""The section Explore, the comparison and accessibility, in headless Chromium."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from explorer.report import compare
from explorer.results import RunTables
from report.synthetic import synthetic_run
from report.test_browser import CHROMIUM, browser, opened

__all__ = ["browser"]  # a fixture, used by name
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on this machine")
AXE = next(
    (
        file
        for folder in (
            os.environ.get("AXE_CORE", ""),
            "node_modules/axe-core",
        )
        if folder and (file := Path(folder) / "axe.min.js").is_file()
    ),
    None,
)


def explored(site):
    site.locator("#explore").scroll_into_view_if_needed()
    site.wait_for_selector("html[data-explore=yes]")
    return site


def count(site) -> str:
    return site.locator("#model-count").inner_text()


def test_a_range_on_an_axis_narrows_lines_scatter_and_models(browser, page: Path):
    with opened(browser, page) as site:
        explored(site)
        assert site.locator("#parallel path").count() == 40
        assert count(site).startswith("200 of 200 models")
        grip = site.locator("#parallel .grip").first  # width, log: 2 at the bottom, 64 on top
        grip.scroll_into_view_if_needed()
        box = grip.bounding_box()
        x = box["x"] + box["width"] / 2
        site.mouse.move(x, box["y"] + 2)
        site.mouse.down()
        site.mouse.move(x, box["y"] + box["height"] * 0.3, steps=4)
        site.mouse.up()
        assert site.locator("#kept").inner_text() == "10 of 40 cells are in range."
        assert site.locator("#parallel path.out").count() == 30
        assert count(site).startswith("50 of 200 models")
        site.wait_for_function(
            "document.querySelectorAll('#any .mark-symbol.layer_0_marks path').length === 10"
        )
        site.get_by_role("button", name="Show all").click()
        assert count(site).startswith("200 of 200 models")


def test_ranges_can_be_typed(browser, page: Path):
    with opened(browser, page) as site:
        explored(site)
        site.get_by_text("Ranges as numbers").click()
        low = site.get_by_label("Width, from")
        low.fill("32")
        low.press("Tab")
        assert site.locator("#kept").inner_text() == "10 of 40 cells are in range."


def test_models_can_be_sorted_filtered_and_lead_to_their_cell(browser, page: Path):
    with opened(browser, page) as site:
        explored(site)
        site.locator("#filter").fill("diverged")
        assert count(site).startswith("1 of 200 models")
        assert "loss is not finite" in site.locator("#models-table").inner_text()
        site.locator("#filter").fill("width=16 batch_size=8")
        assert count(site).startswith("5 of 200 models")
        site.locator("#filter").fill("")
        head = site.get_by_role("button", name="Test accuracy (%)")
        head.click()
        head = site.get_by_role("button", name="Test accuracy (%) ▲")
        head.click()
        accuracies = site.locator("#models-table tbody tr td:nth-child(5)").all_inner_texts()
        numbers = [float(v) for v in accuracies]
        assert numbers == sorted(numbers, reverse=True)
        assert len(numbers) == 25
        site.get_by_role("button", name="Show 100 more").click()
        assert site.locator("#models-table tbody tr").count() == 125
        site.locator("#filter").fill("width=6 batch_size=32")
        site.locator("#models-table tbody button").first.click()
        site.wait_for_function(
            "document.querySelector('#cell .place').innerText === 'Width 6, Batch size 32'"
        )


def test_any_measure_can_be_drawn_against_any(browser, page: Path):
    with opened(browser, page) as site:
        explored(site)
        site.locator("#any-x").select_option("hessian_trace")
        site.locator("#any-y").select_option("width")
        site.wait_for_function(
            "[...document.querySelectorAll('#any .role-axis-title')].map(t => t.textContent).join()"
            " === 'Hessian trace,Width'"
        )


def test_the_rows_of_a_chart_can_be_saved(browser, page: Path):
    with opened(browser, page) as site:
        site.wait_for_selector("html[data-drawn=yes]")
        chart = site.locator("#map-cka")
        chart.scroll_into_view_if_needed()
        chart.locator("summary").click()
        with site.expect_download() as caught:
            chart.get_by_text("Save as CSV").click()
        lines = Path(caught.value.path()).read_text().splitlines()
        assert caught.value.suggested_filename == "map-cka.csv"
        assert len(lines) == 41
        assert {"width", "batch_size", "cka", "cka_std"} <= set(lines[0].split(","))


def test_models_beside_the_page_are_read_when_asked_for(
    browser, run: RunTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from explorer.report import write

    monkeypatch.setattr("explorer.report.site.DETAIL_BYTES", 1000)
    with opened(browser, write(run, tmp_path, images=False)) as site:
        explored(site)
        assert count(site) == ""
        site.get_by_role("button", name="Load the models").click()
        site.wait_for_function("document.getElementById('model-count').innerText.startsWith('200 of 200')")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    one, other = (
        synthetic_run(
            widths=(2, 8, 32), batch_sizes=(8, 16), seeds=3, name=n, third={"label_noise": [0.0, 0.2]}
        )
        for n in ("clean", "noisy")
    )
    other.models.loc[other.models["label_noise"] > 0, "test_accuracy_percent"] -= 9.0
    return compare([one, other], tmp_path_factory.mktemp("comparison"))


@pytest.mark.parametrize("width", [390, 1440])
def test_a_comparison_opens_from_disk(browser, comparison: Path, width: int):
    with opened(browser, comparison, width=width, cell=False) as site:
        assert site.evaluate("document.documentElement.scrollWidth") <= width
        assert site.locator(".chart svg.marks").count() == 2 + 6 * 3
        gap = site.locator("#test_accuracy_percent-gap1")
        assert gap.get_by_text("0.0", exact=True).count() == 6
        site.get_by_label("Label noise").select_option(label="0.2")
        site.wait_for_function(
            "document.getElementById('test_accuracy_percent-gap1').textContent.includes('−9.0')"
        )
        assert gap.get_by_text("−9.0", exact=True).count() == 6


@pytest.mark.skipif(
    AXE is None, reason="axe-core is not installed (npm install axe-core, or AXE_CORE=folder)"
)
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_axe_finds_no_serious_fault(browser, page: Path, comparison: Path, width: int, scheme: str):
    for index in (page, comparison):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        )
        site = context.new_page()
        site.goto(index.as_uri())
        site.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
        if index == page:
            explored(site)
        site.evaluate("document.querySelectorAll('main details').forEach(d => { d.open = true; })")
        site.add_script_tag(path=str(AXE))
        found = site.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        context.close()
        grave = [v for v in found if v["impact"] in ("serious", "critical")]
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in grave] == []
