"""The page as a reader meets it: opened from disk in headless Chromium, pointed at and clicked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from explorer.report import write
from explorer.results import RunTables
from report.synthetic import synthetic_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on this machine")
QUIET = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-quic"
)
NASTY = '<img src=x onerror="alert(1)"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield chromium
        chromium.close()


@contextmanager
def opened(
    browser, index: Path, *, fragment: str = "", width: int = 1440, scheme: str = "light", cell: bool = True
):
    """The page when all is drawn; on leaving, that it reported no error and asked nothing of a network."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("dialog", lambda d: (complaints.append(f"dialog {d.message}"), d.dismiss()))
    local = ("file:", "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(local) else complaints.append(f"request {r.url}"))
    page.set_default_timeout(10_000)
    page.goto(f"{index.as_uri()}{fragment}")
    page.wait_for_function(
        "document.documentElement.dataset.ready === 'yes'"
        + (" && document.querySelector('#cell').dataset.cell" if cell else "")
    )
    yield page
    context.close()
    assert complaints == []


def place(page) -> str:
    return page.locator("#cell .place").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_opens_from_disk_and_a_click_shows_a_cell(browser, page: Path, width: int, scheme: str):
    with opened(browser, page, width=width, scheme=scheme) as site:
        assert place(site) == "Width 64, Batch size 4"  # the best cell
        assert site.evaluate("document.documentElement.scrollWidth") <= width
        site.wait_for_selector("html[data-drawn=yes]")
        specs = "JSON.parse(document.getElementById('data').textContent).figures.length"
        in_main = "document.querySelectorAll('main .chart:not(#any) svg.marks').length"
        assert site.evaluate(f"{in_main} === {specs}")
        paper = site.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(v) for v in paper[4:-1].split(",")) < 300) == (scheme == "dark")
        square = site.locator("#map-mode_connectivity .mark-rect.layer_1_marks path").nth(0)
        square.scroll_into_view_if_needed()
        square.click()
        site.wait_for_function("document.querySelector('#cell .place').innerText === 'Width 2, Batch size 4'")
        site.wait_for_selector("#histories-test_accuracy_percent svg.marks")
        assert "#cell=" in site.url
        shown = site.locator("#cell").inner_text()
        assert "diverged" in shown
        assert "loss is not finite" in shown
        assert (
            site.locator("#curves-train_error_percent .mark-line path").count() == 6 * 2 + 2
        )  # pairs × paths, means
        assert site.locator("#cell").evaluate("e => e.getBoundingClientRect().top < innerHeight")


def test_pointing_at_a_cell_tells_its_number_and_marks_it_in_all_maps(browser, page: Path):
    with opened(browser, page) as site:
        marked = site.locator("#map-cka .mark-rect path[stroke-dasharray]")
        assert marked.count() == 0
        site.locator("#map-train_loss .mark-rect.layer_1_marks path").nth(5).hover()
        site.wait_for_function(
            "document.querySelectorAll('#map-cka .mark-rect path[stroke-dasharray]').length === 1"
        )
        site.wait_for_selector("#vg-tooltip-element.visible")
        tooltip = site.locator("#vg-tooltip-element").inner_text()
        assert "Training loss (nats)" in tooltip
        assert "±" in tooltip


def test_a_link_leads_to_its_cell(browser, page: Path, run: RunTables):
    cell = run.models.query("width == 8 and batch_size == 32")["cell_id"].iloc[0]
    with opened(browser, page, fragment=f"#cell={cell}") as site:
        assert place(site) == "Width 8, Batch size 32"


def test_all_works_from_the_keyboard_with_tables_in_place_of_charts(browser, page: Path):
    with opened(browser, page) as site:
        site.get_by_text("All cells as a table").focus()
        site.keyboard.press("Enter")
        site.get_by_role("button", name="Details of cell 3, 16", exact=True).focus()
        site.keyboard.press("Enter")
        site.wait_for_function(
            "document.querySelector('#cell .place').innerText === 'Width 3, Batch size 16'"
        )
        assert site.evaluate("document.activeElement.id") == "cell"
        behind = site.locator("details[data-measure=cka]")
        behind.locator("summary").focus()
        site.keyboard.press("Enter")
        behind.locator("tbody tr").nth(4).wait_for()
        assert behind.locator("tbody tr").count() == 5
        assert behind.locator("tbody button").count() == 40


def test_the_switch_turns_the_page_dark_and_back(browser, page: Path):
    with opened(browser, page) as site:

        def ink() -> str:
            return site.locator("#phase-map .role-axis-label text").first.evaluate(
                "e => getComputedStyle(e).fill"
            )

        before = ink()
        site.locator("#theme").click()
        assert site.locator("html").get_attribute("data-theme") == "dark"
        assert ink() != before  # the charts follow
        site.locator("#theme").click()
        assert ink() == before


def test_a_selector_moves_all_maps_to_another_plane(browser, tmp_path: Path):
    run = synthetic_run(widths=(2, 8), batch_sizes=(8, 16), seeds=2, third={"label_noise": [0.0, 0.2]})
    run.models.loc[run.models["label_noise"] == 0.2, "test_accuracy_percent"] = 50.0
    with opened(browser, write(run, tmp_path, images=False)) as site:
        texts = "#map-test_accuracy_percent .mark-text text"
        numbers = f"[...document.querySelectorAll('{texts}')].map(t => t.textContent)"
        assert "50.0" not in site.evaluate(numbers)
        site.get_by_role("combobox", name="Label noise").select_option(label="0.2")
        site.wait_for_function(f"{numbers}.filter(t => t === '50.0').length === 4")


def test_maps_can_be_turned_to_any_two_axes(browser, tmp_path: Path):
    run = synthetic_run(widths=(2, 8), batch_sizes=(8, 16), seeds=3, third={"label_noise": [0.0, 0.2, 0.4]})
    titles = "[...document.querySelectorAll('#map-cka .role-axis-title')].map(t => t.textContent).join()"
    with opened(browser, write(run, tmp_path, images=False)) as site:
        site.wait_for_selector("html[data-drawn=yes]")
        assert site.evaluate(titles) == "Width (small = high load),Batch size (small = hot)"
        assert site.locator("#map-cka .mark-rect.layer_1_marks path").count() == 4
        site.get_by_label("Upwards").select_option("label_noise")
        site.wait_for_function(f"{titles} === 'Width (small = high load),Label noise (large = high load)'")
        assert site.locator("#map-cka .mark-rect.layer_1_marks path").count() == 6
        assert site.get_by_role("combobox", name="Label noise").count() == 0
        site.get_by_role("combobox", name="Batch size").select_option("1")
        site.get_by_label("To the right").select_option("label_noise")  # they change places
        site.wait_for_function(f"{titles} === 'Label noise (large = high load),Width (small = high load)'")


def test_details_beside_the_page_are_read_on_a_click(
    browser, run: RunTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("explorer.report.site.DETAIL_BYTES", 1000)
    with opened(browser, write(run, tmp_path, images=False)) as site:
        assert site.locator("#cell-tables tbody tr").count() == 5 + 10  # models and pairs


def test_markup_in_names_settings_and_errors_is_just_text(browser, tmp_path: Path):
    run = synthetic_run(
        widths=(2, 4),
        batch_sizes=(8,),
        seeds=3,
        third={"activation": [NASTY, "relu"]},
        name=NASTY,
        description=NASTY,
        error=NASTY,
    )
    run.models["cell_id"] += NASTY
    run.pairs["cell_id"] += NASTY
    with opened(browser, write(run, tmp_path, images=False)) as site:
        assert site.locator("h1").inner_text() == NASTY
        site.locator("#phase-map .mark-rect.layer_1_marks path").first.click()
        site.wait_for_function("document.querySelector('#cell-tables').innerText.includes('Replicates')")
        assert site.locator("img, #cell script, #vg-tooltip-element script").count() == 0
        assert NASTY in site.locator("#cell").inner_text()
