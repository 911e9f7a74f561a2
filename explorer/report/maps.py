"""Maps of the load × temperature plane: one square per cell."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from explorer.phases import CERTAIN, PHASES, READINGS
from explorer.report import theme
from explorer.report.encodings import (
    INK,
    choose_by,
    colour_by,
    colour_legend,
    counted_in,
    escaped,
    highlight,
    layer_cells,
    phase_colour,
    place_tips,
    plane_rows,
    position_channels,
    tip,
)
from explorer.report.labels import measure, measure_title
from explorer.report.rows import exponent, format_compact, measures

UNCERTAIN = (
    f"isValid(datum.phase_probability) && datum.phase_probability < {CERTAIN} && datum.second_phase !== ''"
)
UNFINISHED = "isValid(datum.curves_converged_share) && datum.curves_converged_share < 1"
NARROW = 8  # with more columns than this, numbers in and below cells are smaller
CROWDED = 11  # with this many columns or more, cells have no room for a number


def phase_map(
    cells: pd.DataFrame,
    load: str,
    temperature: str | None = None,
    *,
    legend: bool = True,
    letters: bool = True,
) -> alt.LayerChart:
    """Plot the cells of the load × temperature plane coloured by phase; ``letters`` name the phases.

    The square of an uncertain phase is split: the right half has the second most probable phase. A ring marks
    a cell whose certainty is unknown, a triangle a cell with curves that have not converged. A pale square is
    a cell that was not run, with its predicted phase.

    ``cells`` is the result of ``explorer.phases.classify`` with one row per grid point of the plane.

    Raises:
        ValueError: two cells share a grid point; choose the values of the other axes first.
    """
    rows = plane_rows(cells, load, temperature)
    pale = "predicted" in rows
    tips = [
        *place_tips(load, temperature),
        tip("phase", "Phase"),
        tip("phase_probability", "Probability of the phase"),
        tip("second_phase", "Second phase"),
        tip("near_cut", "Near the cut of"),
        tip("note", "Note"),
        *([tip("predicted", "Predicted phase"), tip("predicted_probability", "Its probability")] * pale),
        tip("n_models", "Models"),
        tip("n_diverged", "Diverged or failed"),
        tip("n_pairs", "Pairs"),
        tip("curves_text", "Curves converged"),
        *(tip(f"{m}_text", measure_title(m)) for m in measures(rows)),
    ]
    at = position_channels(rows, load, temperature)
    words = ", ".join(f"'{p}': '{p}  {READINGS[p]}'" for p in PHASES)
    key = alt.Legend(
        title=None,
        orient="bottom",
        columns=2,
        labelLimit=320,
        symbolType="square",
        labelExpr=f"({{{words}}})[datum.value]",
    )
    colour = phase_colour(key if legend else None)
    base = alt.Chart().encode(**at, tooltip=tips)
    sure = base.transform_filter(f"!({UNCERTAIN})")
    label = [_letters(sure, at["x"], "phase", 12)] if letters else []
    unsure = base.transform_filter(UNCERTAIN)
    second = phase_colour(name="second_phase")
    split = [
        unsure.mark_rect().encode(
            x=_at_band(at["x"], 0.5), x2=alt.X2(field=escaped(load), bandPosition=1), color=second
        ),
        *(
            _letters(unsure, _at_band(at["x"], where), name, 9)
            for where, name in ((0.27, "phase"), (0.73, "second_phase"))
            if letters
        ),
    ]

    def corner(test: str, shape: str, size: int, x: float, y: float) -> alt.Chart:
        """Mark the cells that have a phase and pass the test by a sign at a place in their squares."""
        there = {"x": _at_band(at["x"], x)} | ({"y": _at_band(at["y"], y)} if "y" in at else {})
        ink = choose_by(_on_dark("phase"), "#ffffff", theme.INK, alt.StrokeValue)
        marked = alt.Chart().transform_filter(f"datum.phase !== '' && {test}")
        return marked.mark_point(shape=shape, size=size, strokeWidth=1.6, filled=False, opacity=1).encode(
            **there, tooltip=tips, stroke=ink
        )

    unknown = corner("!isValid(datum.phase_probability)", "circle", 34, 0.86, 0.18)
    unfinished = corner(UNFINISHED, "triangle-up", 24, 0.14, 0.84)
    layers = [
        _ground(base),
        base.transform_filter("datum.phase !== ''").mark_rect().encode(color=colour),
        *label,
        *split,
        unknown,
        *(_predictions(base, letters) if pale else []),
        unfinished,
        _notes(base),
        _unsorted(base),
        *highlight(at),
    ]
    return layer_cells(layers, rows, "Phases of learning", height=alt.Step(38) if temperature else 38)


def heat_map(
    cells: pd.DataFrame,
    name: str,
    load: str,
    temperature: str | None = None,
    *,
    scale_from: pd.DataFrame | None = None,
) -> alt.LayerChart:
    """Plot the mean of a measure over the plane, with the number in each cell; rows as in ``phase_map``.

    The palette is sequential, on a log scale for losses and curvature; for mode connectivity it diverges
    from 0. Numbers of a small measure are in thousandths or smaller units, which the title states. The
    palette spans the table ``scale_from`` (``cells`` by default), so several planes can share one palette.
    """
    rows = plane_rows(cells, load, temperature)
    tips = [
        *place_tips(load, temperature),
        tip(f"{name}_text", measure_title(name)),
        tip(*counted_in(rows, name)),
        tip("phase", "Phase"),
        tip("note", "Note"),
    ]
    wide = rows[load].nunique()
    at = position_channels(rows, load, temperature, label_size=11 if wide <= NARROW else 9)
    base = alt.Chart().encode(**at, tooltip=tips)
    spanned = (rows if scale_from is None else scale_from)[name]
    power = exponent(spanned, measure(name))
    measured = base.transform_filter(f"isValid(datum['{name}'])")
    measured, field, colour = colour_by(measured, spanned, name, power=power)
    squares = _squares(measured, colour, field, f"{name}_label", wide)
    layers = [_ground(base), *squares, _notes(base), *highlight(at)]
    return layer_cells(layers, rows, measure_title(name, power))


def _squares(cells: alt.Chart, colour: alt.Color, field: str, label: str, columns: int) -> list[alt.Chart]:
    """Return coloured squares, and the numbers in them if the map has few enough columns."""
    squares = cells.mark_rect().encode(color=colour)
    if columns >= CROWDED:
        return [squares]
    size = 10 if columns <= NARROW else 8  # five characters must fit into a narrow cell
    dark = f"luminance(scale('color', datum['{field}'])) < .18"  # here black and white have equal contrast
    numbers = cells.mark_text(fontSize=size).encode(
        text=alt.Text(field=label, type="nominal"), color=choose_by(dark, "#ffffff", "#111111")
    )
    return [squares, numbers]


def difference_map(
    cells: pd.DataFrame,
    name: str,
    load: str,
    temperature: str | None = None,
    *,
    power: int = 0,
    scale_from: pd.DataFrame | None = None,
) -> alt.LayerChart:
    """Plot the difference of a measure between two runs, column ``difference``; blue is positive.

    Numbers are in units of ten to the ``power``; ``scale_from`` is as in ``heat_map``.
    """
    labels = difference_labels(cells["difference"], name, power)
    rows = plane_rows(cells.assign(difference_label=labels), load, temperature)
    wide = rows[load].nunique()
    at = position_channels(rows, load, temperature, label_size=11 if wide <= NARROW else 9)
    reach = float((rows if scale_from is None else scale_from)["difference"].abs().max())
    ends = np.linspace(-reach, reach, len(theme.DIVERGING)) if reach > 0 else [-1.0, 0.0, 1.0]
    tips = [*place_tips(load, temperature), tip("difference", f"Difference of {measure_title(name)}")]
    base = alt.Chart().encode(**at, tooltip=tips)
    colour = alt.Color(
        field="difference",
        type="quantitative",
        scale=alt.Scale(domain=list(ends), range=theme.DIVERGING if reach > 0 else theme.DIVERGING[2:5]),
        legend=colour_legend(power),
    )
    measured = base.transform_filter("isValid(datum.difference)")
    layers = [_ground(base), *_squares(measured, colour, "difference", "difference_label", wide)]
    return layer_cells(layers, rows, f"Difference of {measure_title(name, power)}")


def difference_labels(differences: pd.Series, name: str, power: int = 0) -> list[str]:
    """Return the numbers in the cells of a ``difference_map``."""
    return [format_compact(v * 10.0**-power, measure(name)) for v in differences]


def _letters(cells: alt.Chart, x: alt.X, name: str, size: int) -> alt.Chart:
    """Write the phase in the column ``name`` at ``x`` of each cell."""
    colour = choose_by(_on_dark(name), "#ffffff", theme.INK)
    return cells.mark_text(fontSize=size, fontWeight=600).encode(x=x, text=f"{name}:N", color=colour)


def _at_band(channel: Any, where: float) -> Any:
    moved = channel.copy()
    moved.bandPosition = where
    return moved


def _on_dark(name: str) -> str:
    """Return the Vega test of whether the phase in the column ``name`` has a dark colour."""
    dark = (p for p, ink in theme.PHASE_INKS.items() if ink == "#ffffff")
    return " || ".join(f"datum.{name} === '{p}'" for p in dark)


def _ground(base: alt.Chart) -> alt.Chart:
    """Draw a faint square for each grid point, so empty grid points are visible."""
    return base.mark_rect(fillOpacity=0.06, fill=INK, strokeOpacity=0.25, stroke=INK, strokeWidth=0.5)


def _notes(base: alt.Chart) -> alt.Chart:
    """Draw × if every model of a cell failed, and a dot if the cell was not run and is not predicted."""
    return (
        base.transform_filter("datum.note !== '' && !datum.predicted")
        .mark_text(fontSize=13, fill=INK, opacity=0.75)
        .encode(text=choose_by("datum.n_diverged > 0", "×", "·", alt.TextValue))
    )


def _predictions(base: alt.Chart, letters: bool) -> list[alt.Chart]:
    """Draw a pale square, with a small letter, for each cell whose phase is predicted."""
    cells = base.transform_filter("isValid(datum.predicted) && datum.predicted !== ''")
    squares = cells.mark_rect(opacity=0.35).encode(color=phase_colour(name="predicted"))
    text = cells.mark_text(fontSize=9, fontStyle="italic", fill=INK, opacity=0.75)
    return [squares, *([text.encode(text=alt.Text("predicted:N"))] if letters else [])]


def _unsorted(base: alt.Chart) -> alt.Chart:
    """Draw a question mark if a cell has models but lacks a measure that decides."""
    return (
        base.transform_filter("datum.note === '' && datum.phase === ''")
        .mark_text(fontSize=12, fill=INK, opacity=0.75)
        .encode(text=alt.TextValue("?"))
    )
