"""The main charts as SVG and PNG, for talks and READMEs."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from explorer.phases import ACCURACY
from explorer.report import charts, figures, theme, vega
from explorer.report.labels import axis
from explorer.report.rows import measures, plane, prepared, values

MAPS = (ACCURACY, "mode_connectivity", "cka", "hessian_top_eigenvalue", "hessian_trace")


def write(
    cells: pd.DataFrame,
    axes: Mapping[str, Sequence[str]],
    folder: Path,
    write_file: Callable[[Path, bytes], None],
) -> list[dict[str, str]]:
    """Draw what the cells allow; return ``file`` (without ending) and ``title`` of each.

    With more than two axes the pictures show the plane of the most accurate cell, which the title says.
    """
    right, up, others = plane({k: [n for n in v if n in cells] for k, v in axes.items()})
    if right is None or cells.empty:
        return []
    shown, note = measures(cells), ""
    if others:
        best = cells.iloc[int(np.nanargmax(cells[ACCURACY])) if ACCURACY in shown else 0]
        for name in others:
            cells = cells[cells[name] == best[name]]
        note = ", ".join(f"{axis(n).title} {best[n]}" for n in others)
    drawn: dict[str, alt.LayerChart] = {"phase_map": charts.phase_map(cells, right, up)}
    drawn |= {name: charts.heat_map(cells, name, right, up) for name in MAPS if name in shown}
    local = next((n for n in ("hessian_trace", "hessian_top_eigenvalue", "train_loss") if n in shown), None)
    if local and {"mode_connectivity", ACCURACY} <= set(shown):
        drawn["local_vs_global"] = charts.scatter(cells, local, "mode_connectivity", ACCURACY, right, up)
    rows = json.loads(prepared(cells).to_json(orient="records"))
    for name, chart in drawn.items():
        svg = vl_convert.vegalite_to_svg(
            _sized(chart, rows, name, note, floors=len(values(cells, up)) if up else 0),
            vl_version=vega.VERSION,
        ).replace("currentColor", theme.INK)
        write_file(folder / f"{name}.svg", svg.encode())
        write_file(folder / f"{name}.png", repacked(vl_convert.svg_to_png(svg, scale=2)))
    return [{"file": name, "title": str(chart.title)} for name, chart in drawn.items()]


def repacked(png: bytes) -> bytes:
    """The same picture, its pixels deflated harder: vl-convert's PNGs shrink to about a quarter."""
    at, pixels, chunks = 8, b"", []
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"IDAT":
            pixels += body
        else:
            chunks.append((kind, body))
    chunks.insert(len(chunks) - 1, (b"IDAT", zlib.compress(zlib.decompress(pixels), 9)))  # before IEND
    packed = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return png[:8] + b"".join(packed)


def _sized(
    chart: alt.LayerChart, rows: list[dict[str, Any]], name: str, note: str, *, floors: int
) -> dict[str, Any]:
    spec = figures.spec(chart, "cells")
    title = spec.get("title", name)
    spec["title"] = {"text": title, "subtitle": note} if note else title
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
