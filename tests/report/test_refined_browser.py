"""The slider through the rounds of a refined run, moved in headless Chromium."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_refined_runs import RAW, work

from explorer.report import write
from explorer.results import read
from explorer.space.reading import parse
from report.test_browser import browser, opened, pytestmark

__all__ = ["browser", "pytestmark"]
PREDICTED = """() => { const v = explorerPage.views.find(v => v.figure && v.figure.id === "phase-map");
    return v.view.data(v.name).filter(r => r.predicted).length; }"""


@pytest.mark.parametrize("width", [1440, 390])
def test_the_slider_steps_through_the_rounds(browser, tmp_path: Path, width: int) -> None:
    index = write(read(work(parse(RAW), tmp_path / "tiny")), tmp_path / "out", images=False)
    with opened(browser, Path(index), width=width) as page:
        assert page.evaluate(PREDICTED) == 18
        for number, predicted in ((1, 26), (2, 22), (3, 18)):
            page.locator("#round").fill(str(number))
            assert (
                page.locator("#round-text")
                .inner_text()
                .startswith(f"Round {number}: {4 * number} of 30 cells")
            )
            page.wait_for_function(f"({PREDICTED})() === {predicted}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator("#round").fill("2")
        box = page.locator("#phase-map svg.marks").bounding_box()
        page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.45 * box["height"])
        page.wait_for_selector("#vg-tooltip-element.visible")
        told = page.locator("#vg-tooltip-element").inner_text()
        assert "Predicted phase" in told
        assert "Its probability" in told
        assert "null" not in told
        tip = page.locator("#vg-tooltip-element").bounding_box()
        assert min(tip["x"], tip["y"]) >= 0
        assert tip["x"] + tip["width"] <= width
        if folder := os.environ.get("EXPLORER_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/refined-{width}.png")
