"""Axes, colour scales, tooltips and frames shared by the charts."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from explorer.measures.tables import AVERAGED_PAIRS, CURVE_COLUMNS
from explorer.phases import PHASES
from explorer.report import theme
from explorer.report.labels import axis, axis_title, measure, measure_title
from explorer.report.rows import values, with_texts

FRAME = "frame"  # page.css lets the pointer pass through marks of this name, which would otherwise flicker
INK = "currentColor"  # on a page, the colour of the surrounding text; in a notebook or picture, black


def layer(layers: list[Any], rows: pd.DataFrame, title: str, height: Any = alt.Undefined) -> alt.LayerChart:
    """Return a chart of layers over one table."""
    chart = alt.LayerChart(data=rows, title=title, height=height)
    chart.layer = layers  # as an argument, Altair would copy them twice
    return chart


def layer_cells(
    layers: list[Any], rows: pd.DataFrame, title: str, height: Any = alt.Undefined
) -> alt.LayerChart:
    """Return layers over one table of cells, with the parameters that link charts of cells."""
    chart = layer(layers, rows, title, height)
    chart.params = [alt.VariableParameter(name=n, value="") for n in ("marked", "chosen")]
    return chart


def plane_rows(cells: pd.DataFrame, load: str, temperature: str | None) -> pd.DataFrame:
    """Return the prepared rows of one plane; raise ValueError if two of them share a position."""
    keys = [k for k in (load, temperature) if k]
    if cells.duplicated(keys).any():
        raise ValueError(
            f"several cells share a position on the plane of {' and '.join(keys)}: "
            "choose one value of each other axis first"
        )
    return with_texts(cells)


def position_channels(
    rows: pd.DataFrame, load: str, temperature: str | None, *, label_size: float = 11
) -> dict[str, Any]:
    """Return the ordinal channels ``x`` and, if there is a second axis, ``y`` of a map.

    ``label_size`` is the font size of the values below the map, in pixels.
    """
    style = {"labelAngle": 0, "labelFontSize": label_size}
    at = {"x": _bands(alt.X, load, values(rows, load), gap=0.04, **style)}
    if temperature:
        at["y"] = _bands(alt.Y, temperature, vertical_order(rows, temperature), gap=0.06)
    return at


def _bands(channel: Any, name: str, order: list[Any], *, gap: float, **style: Any) -> Any:
    """Return an ordinal channel with a band for each value; ``gap`` is the share of space between bands."""
    return channel(
        field=escaped(name),
        type="ordinal",
        sort=order,
        title=axis_title(name),
        scale=alt.Scale(paddingInner=gap, paddingOuter=gap / 2),
        axis=alt.Axis(labelExpr=of_setting(order), **style),
    )


def vertical_order(rows: pd.DataFrame, name: str) -> list[Any]:
    """Return the values of an axis from the top of a map downwards, with the hot end on top."""
    up = values(rows, name)
    return up[::-1] if axis(name).large_on_top and pd.api.types.is_numeric_dtype(rows[name]) else up


def value_axis(rows: pd.DataFrame, name: str) -> alt.X:
    """Return an axis: logarithmic if the values span a factor of eight, otherwise linear; bands for words."""
    if not pd.api.types.is_numeric_dtype(rows[name]):
        return alt.X(field=escaped(name), type="ordinal", sort=values(rows, name), title=axis_title(name))
    ticks = values(rows, name)
    log = ticks[0] > 0 and ticks[-1] / ticks[0] >= 8
    return alt.X(
        field=escaped(name),
        type="quantitative",
        title=axis_title(name),
        axis=alt.Axis(values=ticks, labelExpr=of_setting(ticks, whole="'' + datum.value")),
        scale=alt.Scale(type="log", nice=False, padding=8) if log else alt.Scale(zero=False, padding=8),
    )


def measure_axis(channel: Any, rows: pd.DataFrame, name: str) -> Any:
    """Return a measure on ``alt.X`` or ``alt.Y``, logarithmic if the measure asks for it and allows it."""
    scale = position_scale(rows, name)
    axis_ = (
        alt.Axis(values=_powers(rows[name]), labelExpr=in_units(0))
        if scale.to_dict().get("type") == "log"
        else alt.Axis(tickCount=5)
    )
    return channel(field=name, type="quantitative", title=measure_title(name), axis=axis_, scale=scale)


def _powers(column: pd.Series) -> list[float]:
    """Return about six powers of ten at most, in and around the values, as ticks of a log axis.

    Without ticks, Vega draws a line for each digit. If fewer than two powers lie between the values, 2 and 5
    times each power are added.
    """
    low, high = int(np.floor(np.log10(column.min()))), int(np.ceil(np.log10(column.max())))
    powers = [float(f"1e{k}") for k in range(low, high + 1, max(1, -(-(high - low) // 6)))]
    if sum(column.min() <= power <= column.max() for power in powers) > 1:
        return powers
    return [float(f"{m}e{k}") for k in range(low, high + 1) for m in (1, 2, 5)]


def position_scale(rows: pd.DataFrame, name: str, *, spread: bool = False) -> alt.Scale:
    """Return the scale of ``measure_axis``; with ``spread``, the scale spans all rows with their spread."""
    log = measure(name).log and bool((rows[name].dropna() > 0).all())
    ends = _reach(rows, name, log=log) if spread else alt.Undefined
    if log:
        return alt.Scale(type="log", domain=ends, nice=False, padding=8)
    return alt.Scale(domain=ends, zero=False, padding=8)


def _reach(rows: pd.DataFrame, name: str, *, log: bool) -> Any:
    """Return the ends of all means ± standard deviation; on a log axis, no end reaches 0."""
    mean = rows[name].astype(float)
    error = rows[f"{name}_std"].astype(float).fillna(0.0) if f"{name}_std" in rows else 0.0 * mean
    low, high = (mean - error).where((mean > error) if log else mean.notna(), mean), mean + error
    known = [float(v) for v in (low.min(), high.max()) if np.isfinite(v)]
    return known if len(known) == 2 and known[0] < known[1] else alt.Undefined


def _colour_scale(column: pd.Series, name: str) -> alt.Scale:
    """Return a diverging (centred on 0), logarithmic or linear colour scale, as the measure asks for."""
    known = column[np.isfinite(column.to_numpy(dtype=float, na_value=np.nan))].astype(float)
    if measure(name).diverging:
        reach = float(known.abs().max()) if len(known) and known.abs().max() > 0 else 1.0
        return alt.Scale(domain=list(np.linspace(-reach, reach, len(theme.DIVERGING))), range=theme.DIVERGING)
    if measure(name).log and (known > 0).any():
        low, high = float(known[known > 0].min()), float(known.max())
        return alt.Scale(
            type="log", scheme=theme.SEQUENTIAL, domain=[low, high if high > low else low * 10], clamp=True
        )
    ends = [float(known.min()), float(known.max())] if len(known) else alt.Undefined
    return alt.Scale(scheme=theme.SEQUENTIAL, domain=ends, clamp=True, nice=False, zero=False)


def colour_by(
    cells: alt.Chart, column: pd.Series, name: str, title: str | None = None, power: int = 0
) -> tuple[alt.Chart, str, alt.Color]:
    """Return the layer of cells, the field that gives their colour, and the colour channel of a measure.

    The scale spans ``column``. Its legend has a few short numbers, in units of ten to the ``power``. On a log
    scale, negative values (such as an estimated trace near 0) take the colour of the smallest positive value.
    """
    scale, field = _colour_scale(column, name), name
    form = scale.to_dict()
    log = form.get("type") == "log"
    if log and (column < 0).any():
        cells, field = cells.transform_calculate(shade=f"max(datum['{name}'], {form['domain'][0]})"), "shade"
    ticks = _log_ticks(*form["domain"]) if log else []
    legend = colour_legend(power, title=title, values=ticks or alt.Undefined)
    return cells, field, alt.Color(field=field, type="quantitative", scale=scale, legend=legend)


def colour_legend(power: int, *, title: str | None = None, values: Any = alt.Undefined) -> alt.Legend:
    """Return the legend of a colour scale, with numbers in units of ten to the ``power``."""
    return alt.Legend(title=title, gradientLength=140, tickCount=3, values=values, labelExpr=in_units(power))


def phase_colour(legend: alt.Legend | None = None, *, name: str = "phase") -> alt.Color:
    """Return the colour channel of the phases in the column ``name``."""
    colours = alt.Scale(domain=list(PHASES), range=[theme.PHASE_COLOURS[p] for p in PHASES])
    return alt.Color(f"{name}:N", legend=legend, scale=colours)


def line_legend(title: str | None, **options: Any) -> alt.Legend:
    """Return a legend that shows the colours of lines."""
    return alt.Legend(title=title, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1, **options)


def in_units(power: int) -> str:
    """Return the Vega expression of a legend's labels: three digits, in units of ten to the ``power``."""
    v = f"datum.value * 1e{-power}"
    return f"abs({v}) < 1e3 ? format({v}, '.3~g') : format({v}, abs({v}) < 1e9 ? '.3~s' : '.2~g')"


def of_setting(steps: list[Any], whole: str = "datum.label") -> Any:
    """Return the Vega expression for axis labels: three digits, or more if needed to distinguish values.

    Whole numbers and words are unchanged. ``whole`` is the expression for whole numbers on continuous axes.
    Vega's own labels there have as many digits as the distance of two values needs: 8 and 32 become 8 and
    3e+1.
    """
    broken = [v for v in steps if isinstance(v, float) and v % 1]
    if not broken:
        return alt.Undefined if whole == "datum.label" else whole
    digits = next((d for d in range(3, 17) if len({f"{v:.{d}g}" for v in broken}) == len(broken)), 17)
    return f"isNumber(datum.value) && datum.value % 1 ? format(datum.value, '.{digits}~g') : {whole}"


def _log_ticks(low: float, high: float) -> list[float]:
    """Return at most four powers of ten between two numbers; if fewer than two, 1, 2 and 5 times each."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [float(f"1e{k}") for k in decades if low <= float(f"1e{k}") <= high]
    if len(ticks) < 2:
        return [t for k in decades for m in (1, 2, 5) if low <= (t := float(f"{m}e{k}")) <= high]
    return ticks[:: -(-len(ticks) // 4)]


def highlight(at: dict[str, Any]) -> list[alt.Chart]:
    """Return a black frame on white around the cell, visible on every colour and in dark mode."""
    frames = []
    for who, dash in (("chosen", alt.Undefined), ("marked", [4, 3])):
        spot = alt.Chart().transform_filter(f"datum.cell_id === {who}").encode(**at)
        white = spot.mark_rect(fillOpacity=0, stroke="#ffffff", strokeWidth=5)
        black = spot.mark_rect(fillOpacity=0, stroke="#111111", strokeWidth=2.2, strokeDash=dash)
        frames += [
            white.properties(name=f"{FRAME}_{who}_white"),
            black.properties(name=f"{FRAME}_{who}_black"),
        ]
    return frames


def choose_by(test: str, yes: str, no: str, channel: Any = alt.ColorValue) -> Any:
    """Choose between two values by a Vega expression; ``alt.condition`` without its slow schema check."""
    return channel(no, condition={"test": test, "value": yes})


def place_tips(load: str | None, temperature: str | None) -> list[alt.Tooltip]:
    """Return tooltips that identify the cell."""
    return [tip(escaped(n), axis(n).title) for n in (load, temperature) if n]


def tip(field: str, title: str) -> alt.Tooltip:
    """Return one line of a tooltip."""
    return alt.Tooltip(field=field, title=title)


def escaped(name: str) -> str:
    """Return a column name as a Vega field, with dots and brackets escaped."""
    for sign in "\\.[]":
        name = name.replace(sign, "\\" + sign)
    return name


def counted_in(cells: pd.DataFrame, name: str) -> tuple[str, str]:
    """Return the column that counts the values behind a mean, and its title."""
    if name in CURVE_COLUMNS and "n_curves" in cells:
        return "n_curves", "n, curves"
    return ("n_pairs", "n, pairs") if name in AVERAGED_PAIRS else ("n_models", "n, models")
