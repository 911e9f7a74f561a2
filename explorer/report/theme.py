"""Colours and fonts of all charts and pages.

Charts on a page are SVG with ``currentColor`` as ink. So the dark mode, its switch and the print style of the
page apply to charts without drawing them again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

INK = "#1d2733"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# The colours differ in lightness and in hue, so they remain distinct with colour blindness and in greyscale.
PHASE_COLOURS = {"I": "#8c2f1b", "II": "#f2b134", "III": "#c58fbb", "IV-A": "#b3d9f2", "IV-B": "#1d6fa8"}
PHASE_INKS = {"I": "#ffffff", "II": "#1d2733", "III": "#1d2733", "IV-A": "#1d2733", "IV-B": "#ffffff"}

SEQUENTIAL = "viridis"
# From a barrier over 0 to a dip.
DIVERGING = ["#8c2d04", "#d9682b", "#f7c59f", "#f3f1ec", "#a9cbe3", "#3f86bd", "#0b4a82"]
HOT_TO_COLD = ["#c8452f", "#e09f3e", "#6a9f58", "#2f7fb5"]
BEZIER, LINEAR, TRAIN, TEST = "#2f7fb5", "#d0722b", "#2f7fb5", "#d0722b"


def temperature_colours(n: int) -> list[str]:
    """Return ``n`` colours from hot to cold, readable on light and dark backgrounds."""
    stops = np.array([list(bytes.fromhex(c[1:])) for c in HOT_TO_COLD])  # (colours, 3)
    places = np.linspace(0, len(stops) - 1, n)
    mixed = np.stack([np.interp(places, range(len(stops)), channel) for channel in stops.T], axis=1)
    return [f"#{bytes(rgb).hex()}" for rgb in np.rint(mixed).astype(np.uint8)]


def config(ink: str = INK) -> dict[str, Any]:
    """Return the Vega-Lite config of every chart; ``ink="currentColor"`` for charts on a page."""
    return {
        "background": None,
        "font": FONT,
        "view": {"stroke": None, "continuousHeight": 180, "discreteHeight": {"step": 27}},
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "domainColor": ink,
            "tickColor": ink,
            "gridColor": ink,
            "gridOpacity": 0.12,
            "domainOpacity": 0.4,
            "tickOpacity": 0.4,
            "labelFontSize": 11,
            "titleFontSize": 11.5,
            "titleFontWeight": 500,
            "titlePadding": 6,
            "labelOverlap": "greedy",
            "labelLimit": 90,
        },
        "axisBand": {"grid": False, "ticks": False, "domain": False, "labelAngle": 0},
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": 500,
            "gradientStrokeColor": ink,
            "gradientThickness": 9,
            "orient": "bottom",
            "offset": 6,
        },
        "title": {
            "color": ink,
            "subtitleColor": ink,
            "fontSize": 14,
            "subtitleFontSize": 11,
            "anchor": "start",
            "fontWeight": 600,
        },
        "text": {"fontSize": 11, "fill": ink},
        "rule": {"stroke": ink},
    }


def enable() -> None:
    """Make this the theme of the Altair charts of a notebook."""
    import altair as alt

    alt.theme.register("explorer", enable=True)(lambda: alt.theme.ThemeConfig({"config": config()}))  # type: ignore[typeddict-item]
