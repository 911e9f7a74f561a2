"""Vega script of the pages, and charts as SVG, both made by vl-convert."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import pooch
import vl_convert

from explorer.report import theme
from explorer.runs.files import Files

VERSION = ".".join(alt.VEGALITE_VERSION.removeprefix("v").split(".")[:2])


@cache
def script() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as text for a script element.

    The script is cached in the user's cache folder, because vl-convert takes some seconds to build it.
    """
    file = Path(pooch.os_cache("explorer")) / f"vega-{version('vl-convert-python')}-{VERSION}.js"
    with suppress(OSError):
        return file.read_text(encoding="utf-8")
    bundle = vl_convert.javascript_bundle(vl_version=VERSION)  # pyright: ignore[reportCallIssue]
    bundle = bundle.replace("</script", "<\\/script")
    with suppress(OSError):
        Files(file.parent).write(file.name, bundle.encode())
    return bundle


def svg(spec: dict[str, Any]) -> str:
    """Return the SVG of a Vega-Lite spec. Raise ValueError if vl-convert cannot draw it."""
    return vl_convert.vegalite_to_svg(spec, vl_version=VERSION).replace("currentColor", theme.INK)
