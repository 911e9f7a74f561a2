"""Vega, Vega-Lite and Vega-Embed as one script, of the version that Altair writes for."""

from __future__ import annotations

import subprocess
import sys

import altair as alt

VERSION = ".".join(alt.VEGALITE_VERSION.removeprefix("v").split(".")[:2])
BUNDLE = """
import sys, vl_convert
sys.stdout.buffer.write(vl_convert.javascript_bundle(vl_version=sys.argv[1]).encode())
"""
_made: list[str] = []  # by an earlier page of this process


class Bundle:
    """The script, being made in a process of its own: vl-convert holds the interpreter lock for .9 s."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", BUNDLE, VERSION]
        self._process = (
            None if _made else subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        )

    def text(self) -> str:
        """The script, fit to stand inside a script element; RuntimeError where bundling failed."""
        if self._process is not None and not _made:
            script, _ = self._process.communicate()
            if self._process.returncode != 0 or not script:
                raise RuntimeError(
                    f"vl-convert could not bundle Vega-Lite {VERSION}; is vl-convert-python up to date?"
                )
            _made.append(script.decode().replace("</script", "<\\/script"))
        return _made[0]

    def close(self) -> None:
        """End the process, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
