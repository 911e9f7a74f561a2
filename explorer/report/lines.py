"""Charts with continuous axes: scatter charts, slices, paths, histories and spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from explorer.phases import words_of
from explorer.report import theme
from explorer.report.encodings import (
    FRAME,
    INK,
    colour_by,
    escaped,
    layer,
    layer_cells,
    line_legend,
    measure_axis,
    of_setting,
    phase_colour,
    place_tips,
    plane_rows,
    position_scale,
    tip,
    value_axis,
    vertical_order,
)
from explorer.report.labels import axis_title, measure, measure_title
from explorer.report.rows import with_texts

PATHS = {"bezier": "Bézier curve, fitted", "linear": "straight line"}


def scatter(
    cells: pd.DataFrame, x: str, y: str, colour: str, load: str | None = None, temperature: str | None = None
) -> alt.LayerChart:
    """Plot one measure against another, one point per cell; ``colour`` is a third measure or ``phase``."""
    rows = with_texts(cells)
    names = [n for n in (x, y, colour) if f"{n}_text" in rows]
    tips = [
        *place_tips(load, temperature),
        *(tip(f"{n}_text", measure_title(n)) for n in names),
        tip("phase", "Phase"),
    ]
    at = {"x": measure_axis(alt.X, rows, x), "y": measure_axis(alt.Y, rows, y)}
    known = " && ".join(f"isValid(datum['{n}'])" for n in (x, y))
    dots, by = alt.Chart().transform_filter(known), phase_colour()
    if colour != "phase":
        dots, _, by = colour_by(dots, rows[colour], colour, measure_title(colour))
    points = dots.mark_circle(size=70, opacity=1, stroke="#888", strokeWidth=0.6).encode(
        **at, color=by, tooltip=tips
    )
    ring = _highlighted(known).mark_point(size=190, stroke=INK, strokeWidth=2.2, opacity=1)
    layers: list[Any] = [points, ring.encode(**at, tooltip=tips)]
    if measure(y).diverging:
        layers.insert(0, alt.Chart().mark_rule(strokeDash=[4, 3], opacity=0.5).encode(y=alt.YDatum(0)))
    return layer_cells(layers, rows, f"{measure(y).title} against {words_of(x)}", height=230)


def slices(
    cells: pd.DataFrame,
    name: str,
    load: str,
    temperature: str | None = None,
    *,
    scale_from: pd.DataFrame | None = None,
) -> alt.LayerChart:
    """Plot a measure along one axis, one line per value of the other axis, coloured from hot to cold.

    Bars show ± one standard deviation. ``scale_from`` is as in ``heat_map``.
    """
    rows = plane_rows(cells, load, temperature)
    x = value_axis(rows, load)
    colour: Any = alt.ColorValue(theme.BEZIER)
    if temperature:
        order = vertical_order(rows, temperature)
        colour = alt.Color(
            field=escaped(temperature),
            type="nominal",
            sort=order,
            scale=alt.Scale(domain=order, range=theme.temperature_colours(len(order))),
            legend=line_legend(axis_title(temperature), columns=6, labelExpr=of_setting(order)),
        )
    title = measure_title(name)
    tips = [*place_tips(load, temperature), tip(f"{name}_text", title), tip("phase", "Phase")]
    known = f"isValid(datum['{name}'])"
    base = alt.Chart().transform_filter(known).encode(x=x, color=colour)
    spanned = rows if scale_from is None else scale_from
    scale = position_scale(spanned, name, spread=True)
    y = measure_axis(alt.Y, spanned, name).scale(scale)
    mean, spread = f"datum['{name}']", f"datum['{name}_std']"
    down = f"{mean} > {spread} ? {mean} - {spread} : {mean}" if measure(name).log else f"{mean} - {spread}"
    bars = (
        base.transform_filter(f"isValid({spread})")
        .transform_calculate(low=down, high=f"{mean} + {spread}")
        .mark_rule(opacity=0.45)
        .encode(y=alt.Y(field="low", type="quantitative", title=title, scale=scale), y2=alt.Y2(field="high"))
    )
    points = base.mark_circle(size=34, opacity=1).encode(y=y, tooltip=tips)
    ring = _highlighted(known).mark_point(size=130, stroke=INK, strokeWidth=2).encode(x=x, y=y)
    line = base.mark_line(strokeWidth=1.8).encode(y=y)
    return layer_cells([bars, line, points, ring], rows, title, height=190)


def _highlighted(known: str) -> alt.Chart:
    """Return a layer of the marked and the chosen cell, if they pass the Vega test ``known``."""
    cells = alt.Chart().transform_filter(f"{known} && (datum.cell_id === marked || datum.cell_id === chosen)")
    return cells.properties(name=FRAME)


def curves(
    points: pd.DataFrame, name: str = "train_error_percent", paths: Sequence[str] = ("bezier", "linear")
) -> alt.LayerChart:
    """Plot a measure along the paths between models: a thin line per pair, the mean over pairs bold.

    ``points`` has ``t``, ``path``, ``pair`` and the measure: the rows of one cell in the table ``curves``.
    """
    shades = [theme.BEZIER, theme.LINEAR, "#6a9f58", "#a8719f"]
    words = ", ".join(f"'{k}': '{v}'" for k, v in PATHS.items())
    key = line_legend(None, labelExpr=f"({{{words}}})[datum.value] || datum.label")
    by = alt.Color("path:N", legend=key, scale=alt.Scale(domain=list(paths), range=shades[: len(paths)]))
    x = alt.X("t:Q", title="Position on the path (0 and 1 = the two models)", scale=alt.Scale(domain=[0, 1]))
    title = measure_title(name)
    y = alt.Y(field=name, type="quantitative", title=title, scale=alt.Scale(zero=False, nice=True))
    y_mean = alt.Y(field=name, type="quantitative", aggregate="mean", title=title)
    tips = [tip("pair", "Seeds"), tip("path", "Path"), tip("t", "t"), tip(name, title)]
    base = alt.Chart().encode(x=x, color=by)
    thin = base.mark_line(strokeWidth=1, opacity=0.35).encode(y=y, detail="pair:N", tooltip=tips)
    mean = base.mark_line(strokeWidth=3).encode(y=y_mean)
    return layer([thin, mean], points, title, height=170)


def histories(points: pd.DataFrame, name: str = "train_loss") -> alt.LayerChart:
    """Plot a measure over training steps, one line per replicate (``step``, ``seed`` and the measure)."""
    log, title = measure(name).log, measure_title(name)
    x = alt.X("step:Q", title="Optimiser steps", axis=alt.Axis(tickCount=5))
    y = alt.Y(
        field=name,
        type="quantitative",
        title=title,
        scale=alt.Scale(type="log") if log else alt.Scale(zero=False),
        axis=alt.Axis(grid=not log, tickCount=5),
    )
    tips = [tip("seed", "Seed"), tip("step", "Step"), tip(name, title)]
    line = (
        alt.Chart()
        .transform_filter(f"datum['{name}'] > 0" if log else f"isValid(datum['{name}'])")
        .mark_line(strokeWidth=1.3, opacity=0.75, color=theme.TRAIN)
        .encode(x=x, y=y, detail="seed:N", tooltip=tips)
    )
    return layer([line], points, title, height=150)


def spectra(points: pd.DataFrame) -> alt.LayerChart:
    """Plot the spectral density of the Hessian: share of eigenvalues (log), one point per node and model.

    ``points`` has ``seed``, ``eigenvalue`` and ``weight``. The scale of eigenvalues is linear near 0 and
    logarithmic beyond, so both the bulk near 0 and the few large eigenvalues are visible.
    """
    x = alt.X(
        "eigenvalue:Q",
        title="Eigenvalue",
        scale=alt.Scale(type="symlog", constant=0.1),
        axis=alt.Axis(tickCount=6),
    )
    y = alt.Y(
        "weight:Q",
        title="Share of the eigenvalues",
        scale=alt.Scale(type="log"),
        axis=alt.Axis(grid=False, tickCount=4, format="~e"),
    )
    tips = [tip("seed", "Seed"), tip("eigenvalue", "Eigenvalue"), tip("weight", "Share")]
    dots = alt.Chart().mark_circle(size=26, opacity=0.65, color=theme.TRAIN).encode(x=x, y=y, tooltip=tips)
    return layer([dots], points, "Spectrum of the Hessian", height=150)
