"""What vl-convert makes, in a process of its own: the script of the pages, and pictures of charts.

vl-convert holds the interpreter lock while it works; so it works beside the page, not before it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any

import altair as alt

VERSION = ".".join(alt.VEGALITE_VERSION.removeprefix("v").split(".")[:2])
# In: a line of JSON, the specs by name. Out, each behind a line with its length: the script (empty unless
# asked for), then SVG and PNG of every spec.
WORK = """
import json, sys, vl_convert
def send(part):
    sys.stdout.buffer.write(b"%d\\n" % len(part) + part)
    sys.stdout.buffer.flush()
version, ink, bundle = sys.argv[1:]
send(vl_convert.javascript_bundle(vl_version=version).encode() if bundle == "yes" else b"")
for spec in json.loads(sys.stdin.readline() or "{}").values():
    svg = vl_convert.vegalite_to_svg(spec, vl_version=version).replace("currentColor", ink)
    send(svg.encode())
    send(vl_convert.svg_to_png(svg, scale=2))
"""
_made: list[str] = []  # the script, by an earlier page of this process


class Workshop:
    """The process. Ask in this order: ``draw`` (once), ``script``, ``pictures``, ``close``."""

    def __init__(self, ink: str) -> None:
        command = [sys.executable, "-c", WORK, VERSION, ink, "no" if _made else "yes"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        self._names: list[str] = []

    def draw(self, specs: Mapping[str, dict[str, Any]]) -> None:
        """Have these charts drawn; returns at once."""
        self._names = list(specs)
        threading.Thread(target=self._ask, args=(json.dumps(specs),), daemon=True).start()

    def _ask(self, line: str) -> None:
        try:
            with self._pipe(self._process.stdin) as pipe:
                pipe.write(f"{line}\n".encode())
        except BrokenPipeError:  # the process ended: whoever reads its answers says so
            pass

    def script(self) -> str:
        """Vega, Vega-Lite and Vega-Embed, fit to stand inside a script element; RuntimeError on failure."""
        bundle = self._part().decode()
        if not _made:
            _made.append(bundle.replace("</script", "<\\/script"))
        return _made[0]

    def pictures(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Name, SVG and PNG of each chart asked for."""
        for name in self._names:
            yield name, self._part(), self._part()

    def _part(self) -> bytes:
        pipe = self._pipe(self._process.stdout)
        size = pipe.readline()
        if not size:
            raise RuntimeError(
                f"vl-convert failed with Vega-Lite {VERSION}; is vl-convert-python up to date?"
            )
        return pipe.read(int(size))

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise RuntimeError("the process was started without pipes")
        return pipe

    def close(self) -> None:
        """End the process, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._pipe(self._process.stdout).close()
