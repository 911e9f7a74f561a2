"""Charts as SVG and PNG, drawn in a process of their own.

vl-convert holds Python's lock while it draws, so a thread would stop the rest of the page. The process runs
this file alone, which imports no other file of Explorer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SPECS, ERRORS = "specs.json", "errors.txt"
# Runs with the caller's sys.path, so that no file beside this one hides a library.
START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)


class Artist:
    """A process that draws. Use it as a context manager: the process ends with the block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._names: list[str] = []

    def __enter__(self) -> Artist:
        self._folder = TemporaryDirectory(prefix="explorer-")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def start(self, specs: Mapping[str, dict[str, Any]], version: str, ink: str) -> None:
        """Start to draw Vega-Lite specs by name. ``ink`` is the colour of what has the colour of the text."""
        if not specs:
            return
        self._names = list(specs)
        order = {"specs": specs, "version": version, "ink": ink}
        Path(self._folder.name, SPECS).write_text(json.dumps(order), encoding="utf-8")
        command = [sys.executable, "-c", START, __file__, json.dumps(sys.path), self._folder.name]
        with Path(self._folder.name, ERRORS).open("wb") as errors:
            quiet = subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=errors)

    def pictures(self) -> dict[str, tuple[bytes, bytes]]:
        """Wait, and return the SVG and the PNG of each chart by name.

        Raises:
            ValueError: vl-convert cannot draw a chart.
        """
        folder = Path(self._folder.name)
        if self._process and self._process.wait():
            said = (folder / ERRORS).read_text(encoding="utf-8", errors="replace").strip()
            raise ValueError(f"the charts cannot be drawn: {said or f'exit code {self._process.returncode}'}")
        return {
            name: ((folder / f"{name}.svg").read_bytes(), (folder / f"{name}.png").read_bytes())
            for name in self._names
        }


def draw(folder: Path) -> None:
    """Draw the charts of the order in a folder, and write the pictures beside it."""
    import vl_convert

    order = json.loads((folder / SPECS).read_text(encoding="utf-8"))
    for name, spec in order["specs"].items():
        svg = vl_convert.vegalite_to_svg(spec, vl_version=order["version"])
        svg = svg.replace("currentColor", order["ink"])
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        (folder / f"{name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=2))


if __name__ == "__main__":
    try:
        draw(Path(sys.argv[3]))
    except ValueError as error:
        sys.exit(str(error))
