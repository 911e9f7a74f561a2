"""The script of the pages, and pictures of charts, both made by vl-convert."""

from __future__ import annotations

from functools import cache
from typing import Any

import altair as alt
import vl_convert

from explorer.report import theme

VERSION = ".".join(alt.VEGALITE_VERSION.removeprefix("v").split(".")[:2])


@cache
def script() -> str:
    """Return Vega, Vega-Lite and Vega-Embed, fit to stand inside a script element."""
    bundle = vl_convert.javascript_bundle(vl_version=VERSION)  # pyright: ignore[reportCallIssue]
    return bundle.replace("</script", "<\\/script")


def draw(spec: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return the SVG and the PNG of a Vega-Lite spec.

    Raises:
        ValueError: vl-convert cannot draw it.
    """
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VERSION).replace("currentColor", theme.INK)
    return svg.encode(), vl_convert.svg_to_png(svg, scale=2)
