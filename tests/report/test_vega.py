"""The script of the pages, and pictures of charts."""

from __future__ import annotations

from pathlib import Path

import pytest

from explorer.report import theme, vega
from explorer.report.artist import Artist

SPEC = {
    "data": {"values": [{"a": 1}]},
    "mark": {"type": "point", "color": "currentColor"},
    "encoding": {"x": {"field": "a"}},
}


def test_the_script_fits_inside_a_page() -> None:
    assert "vegaEmbed" in vega.script()
    assert "</script" not in vega.script()


def test_a_chart_becomes_two_pictures_in_the_ink_of_the_page() -> None:
    with Artist() as artist:
        artist.start({"points": SPEC}, vega.VERSION, theme.INK)
        ((name, (svg, png)),) = artist.pictures().items()
    assert name == "points"
    assert svg.decode() == vega.svg(SPEC)
    assert theme.INK.encode() in svg
    assert b"currentColor" not in svg
    assert png.startswith(b"\x89PNG")


def test_a_chart_that_cannot_be_drawn_is_an_error() -> None:
    with Artist() as artist:
        artist.start({"wrong": {"mark": "no such mark"}}, vega.VERSION, theme.INK)
        with pytest.raises(ValueError, match=r"cannot be drawn: .*conversion failed"):
            artist.pictures()


def test_no_process_and_no_folder_is_left() -> None:
    with Artist() as artist:
        artist.start({"points": SPEC}, vega.VERSION, theme.INK)
    assert artist._process
    assert artist._process.returncode is not None
    assert not Path(artist._folder.name).exists()
