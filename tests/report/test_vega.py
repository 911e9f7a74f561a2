"""The script of the pages, and pictures of charts."""

from __future__ import annotations

import pytest

from explorer.report import theme, vega

SPEC = {
    "data": {"values": [{"a": 1}]},
    "mark": {"type": "point", "color": "currentColor"},
    "encoding": {"x": {"field": "a"}},
}


def test_the_script_fits_inside_a_page() -> None:
    assert "vegaEmbed" in vega.script()
    assert "</script" not in vega.script()


def test_a_chart_becomes_two_pictures_in_the_ink_of_the_page() -> None:
    svg, png = vega.draw(SPEC)
    assert svg.startswith(b"<svg")
    assert theme.INK.encode() in svg
    assert b"currentColor" not in svg
    assert png.startswith(b"\x89PNG")


def test_a_chart_that_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(ValueError, match="conversion failed"):
        vega.draw({"mark": "no such mark"})
