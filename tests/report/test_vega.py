"""The process that draws pictures, and the script that is kept between the pages."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from explorer.report import vega

SPEC = {"data": {"values": [{"a": 1}]}, "mark": "point", "encoding": {"x": {"field": "a"}}}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no script of an earlier page."""
    monkeypatch.setattr(vega.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    monkeypatch.setattr(vega, "_script", [])
    return tmp_path / "explorer"


def test_the_script_is_made_once_and_kept_for_later_programs(cache: Path) -> None:
    first = vega.Workshop("#000", pictures=False)
    made = first.script()
    first.close()
    assert "vegaEmbed" in made
    assert "</script" not in made
    assert [file.read_text() for file in cache.iterdir()] == [made]
    vega._script.clear()  # as in another program
    second = vega.Workshop("#000", pictures=False)
    assert second._process is None  # there is nothing to do
    assert second.script() == made
    second.close()


def test_without_a_place_to_keep_it_the_script_is_made_all_the_same(cache: Path) -> None:
    cache.write_text("a file, where the folder should be")
    workshop = vega.Workshop("#000", pictures=False)
    assert "vegaEmbed" in workshop.script()
    workshop.close()


def test_what_is_drawn_ahead_is_not_among_the_pictures() -> None:
    workshop = vega.Workshop("#123456")
    workshop.draw({"one": SPEC, "two": SPEC})
    drawn = list(workshop.pictures())
    workshop.close()
    assert [name for name, _, _ in drawn] == ["one", "two"]
    assert all(svg.startswith(b"<svg") and png.startswith(b"\x89PNG") for _, svg, png in drawn)


def test_a_chart_that_cannot_be_drawn_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    workshop = vega.Workshop("#000")
    workshop.draw({"one": {"mark": "no such mark"}})
    with pytest.raises(RuntimeError, match="vl-convert failed"):
        list(workshop.pictures())
    workshop.close()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_program_that_ends_leaves_no_process_and_no_traceback() -> None:
    code = "import sys; from explorer.report import vega; w = vega.Workshop('#000'); print(w._process.pid)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert ended.stderr == ""  # run() has waited until the painter, too, had closed it
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(ended.stdout)).wait(10)  # TimeoutExpired if it goes on


def test_who_is_stopped_while_asking_leaves_no_traceback() -> None:
    command = [sys.executable, "-c", vega.WORK, vega.VERSION, "#000", "", ""]
    done = subprocess.run(command, input=b'{"phase_map": {"data', capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
