"""What vl-convert makes, in a process of its own: the script of the pages, and pictures of charts.

vl-convert holds the interpreter lock while it works; so it works beside the page, not before it. The script
takes it a second, so that is kept in the user's cache folder, a file for each version.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import altair as alt
import platformdirs

from explorer.report.files import write

VERSION = ".".join(alt.VEGALITE_VERSION.removeprefix("v").split(".")[:2])
# In: a line of JSON, the specs by name. Out, each behind a line with its length: the script (empty unless
# asked for), then SVG and PNG of every spec. The first picture of a process takes half a second, for fonts
# and scripts are loaded: one is made, and thrown away, before there is anything to draw.
WORK = """
import json, os, sys, vl_convert
def send(part):
    sys.stdout.buffer.write(b"%d\\n" % len(part) + part)
    sys.stdout.buffer.flush()
def drawn(spec):
    svg = vl_convert.vegalite_to_svg(spec, vl_version=version).replace("currentColor", ink)
    return svg.encode(), vl_convert.svg_to_png(svg, scale=2)
version, ink, bundle, first = sys.argv[1:]  # the last two are empty where they are not wanted
try:
    if bundle:
        send(vl_convert.javascript_bundle(vl_version=version).encode())
    if first:
        drawn(json.loads(first))
    asked = sys.stdin.readline()  # half a line is of somebody who was stopped
    for spec in json.loads(asked if asked.endswith("\\n") else "{}").values():
        for part in drawn(spec):
            send(part)
except BrokenPipeError:  # nobody waits for it any more
    os._exit(0)
"""
FIRST = {
    "data": {"values": [{"a": "a", "b": 1}]},
    "mark": "rect",
    "encoding": {"x": {"field": "a", "type": "nominal"}, "y": {"field": "b", "type": "quantitative"}},
}
_script: list[str] = []  # once it is there


class Workshop:
    """The process. Ask in this order: ``draw`` (once, if there are to be pictures), ``script``, ``pictures``,
    ``close``. Without pictures and with the script at hand, none is started.
    """

    def __init__(self, ink: str, pictures: bool = True) -> None:
        if not _script:
            with suppress(OSError):
                _script.append(_kept().read_text(encoding="utf-8"))
        wanted = ("" if _script else "bundle", json.dumps(FIRST) if pictures else "")
        self._names: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        if any(wanted):
            self._process = subprocess.Popen(
                [sys.executable, "-c", WORK, VERSION, ink, *wanted],
                stdout=subprocess.PIPE,
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us; it ends when its input does
            )

    def draw(self, specs: Mapping[str, dict[str, Any]]) -> None:
        """Have these charts drawn; returns at once."""
        self._names = list(specs)
        if specs:
            threading.Thread(target=self._ask, args=(json.dumps(specs),), daemon=True).start()

    def _ask(self, line: str) -> None:
        try:
            with self._pipe("stdin") as pipe:
                pipe.write(f"{line}\n".encode())
        except BrokenPipeError:  # the process ended: whoever reads its answers says so
            pass

    def script(self) -> str:
        """Vega, Vega-Lite and Vega-Embed, fit to stand inside a script element; RuntimeError on failure."""
        if not _script:
            bundle = self._part().decode()
            _script.append(bundle.replace("</script", "<\\/script"))
            with suppress(OSError):  # a home that cannot be written to
                write(_kept(), _script[0].encode())
        return _script[0]

    def pictures(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Name, SVG and PNG of each chart asked for."""
        for name in self._names:
            yield name, self._part(), self._part()

    def _part(self) -> bytes:
        pipe = self._pipe("stdout")
        size = pipe.readline()
        if not size:
            raise RuntimeError(
                f"vl-convert failed with Vega-Lite {VERSION}; is vl-convert-python up to date?"
            )
        return pipe.read(int(size))

    def _pipe(self, name: str) -> IO[bytes]:
        pipe = getattr(self._process, name, None)
        if pipe is None:
            raise RuntimeError("the process was started without pipes, or not at all")
        return pipe

    def close(self) -> None:
        """End the process, if there is one that still runs."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._pipe("stdout").close()
        if not self._names:  # otherwise whoever asked for pictures has closed it
            self._pipe("stdin").close()


def _kept() -> Path:
    name = f"vega-lite-{VERSION}-vl-convert-{version('vl-convert-python')}.js"
    return Path(platformdirs.user_cache_dir("explorer")) / name
