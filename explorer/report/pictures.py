"""The main charts as SVG and PNG, for talks and READMEs."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases import ACCURACY
from explorer.report import charts, figures, theme
from explorer.report.labels import axis
from explorer.report.rows import Plane, measures, values, with_texts

MAPS = (ACCURACY, "mode_connectivity", "cka", "hessian_top_eigenvalue", "hessian_trace")


def saved_charts(groups: Mapping[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the charts of the page that are saved as pictures: by file name, ``title`` and ``spec``."""
    if not groups["map"]:
        return {}
    drawn = {"phase_map": groups["map"][0]}
    drawn |= {f["measure"]: f for f in groups["maps"] if f["measure"] in MAPS}
    if groups["scatter"]:
        drawn["local_vs_global"] = groups["scatter"][0]
    return drawn


def specs(
    cells: pd.DataFrame, axes: Plane, groups: Mapping[str, list[dict[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """Return the chosen charts as complete Vega-Lite specs with data and theme, by file name.

    With more than two axes, the charts show the plane of the most accurate cell, and the title says so.
    """
    drawn = saved_charts(groups)
    right, up, others = axes
    if not drawn or right is None:
        return {}
    note = ""
    if others:
        best = cells.iloc[int(np.nanargmax(cells[ACCURACY])) if ACCURACY in measures(cells) else 0]
        for name in others:
            cells = cells[cells[name] == best[name]]
        note = ", ".join(f"{axis(n).title} {best[n]}" for n in others)
    with_legend = figures.spec(charts.phase_map(cells, right, up), "cells")  # pages have their own legend
    drawn["phase_map"] = {**drawn["phase_map"], "spec": with_legend}
    rows = json.loads(with_texts(cells).to_json(orient="records"))
    floors = len(values(cells, up)) if up else 0
    return {name: _sized(figure, rows, name, note, floors=floors) for name, figure in drawn.items()}


def repacked(png: bytes) -> bytes:
    """Return the same picture, compressed better: PNGs of vl-convert shrink to about a quarter."""
    at, pixels, chunks = 8, b"", []
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"IDAT":
            pixels += body
        else:
            chunks.append((kind, body))
    chunks.insert(len(chunks) - 1, (b"IDAT", zlib.compress(zlib.decompress(pixels), 6)))  # before IEND
    packed = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return png[:8] + b"".join(packed)


def _sized(
    figure: Mapping[str, Any], rows: list[dict[str, Any]], name: str, note: str, *, floors: int
) -> dict[str, Any]:
    spec = {k: v for k, v in figure["spec"].items() if k != "autosize"}
    spec["title"] = {"text": figure["title"], "subtitle": note} if note else figure["title"]
    if name == "local_vs_global":
        spec |= {"width": 440, "height": 300}
    else:
        spec |= {"width": {"step": 52}, "height": {"step": max(40, figures.ROOM // floors)} if floors else 40}
    return {
        **spec,
        "datasets": {"cells": rows},
        "config": {**theme.config(), "background": "#ffffff", "aria": False},
        "padding": 12,
    }
