"""Charts of a page by section, with their texts, as specs without data.

The page stores the rows of cells once and gives them to every chart of cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from explorer import phases
from explorer.measures.tables import columns_with_maps
from explorer.phases.claims import Chart, Claim
from explorer.report import charts
from explorer.report.labels import measure, measure_title
from explorer.report.rows import measures, values
from explorer.results import RunTables

SLICES = ("test_accuracy_percent", "train_loss", "mode_connectivity", "cka")
AGAINST_ACCURACY = ("hessian_trace", "mode_connectivity", "cka", "l2_distance")
ROOM = 130  # pixels that the title of a vertical axis needs
LOCAL_GLOBAL = (
    "Each point is a cell. Points further right are sharper ({}), higher points are better connected and "
    "lighter points are more accurate. If smoothness were enough, colour would change only from left to "
    "right. If colour also changes upwards, connectivity adds information."
)


def of_cells(rows: pd.DataFrame, right: str | None, up: str | None) -> dict[str, list[dict[str, Any]]]:
    """Return figures by section: ``id``, ``title``, ``caption``, ``spec``, ``measure`` of a map."""
    groups: dict[str, list[dict[str, Any]]] = {k: [] for k in ("map", "maps", "scatter", "against", "slices")}
    if right is None or rows.empty:
        return groups
    shown = measures(rows)
    lines, least = (len(values(rows, up)), ROOM) if up else (1, 0)  # least height in pixels
    one = rows.drop_duplicates([n for n in (right, up) if n])  # the plane's shape; scales come from all rows
    chart = charts.phase_map(one, right, up, legend=False)
    groups["map"].append(_figure("phase-map", chart, height=max(38 * lines, least)))
    for name in (n for n in columns_with_maps() if n in shown):
        chart = charts.heat_map(one, name, right, up, scale_from=rows)
        figure = _figure(f"map-{name}", chart, measure(name).caption, height=max(27 * lines, least))
        groups["maps"].append({**figure, "measure": name})
    local = next((n for n in phases.LOCAL[::-1] if n in shown), None)
    if local and "mode_connectivity" in shown:
        colour = phases.ACCURACY if phases.ACCURACY in shown else "phase"
        chart = charts.scatter(rows, local, "mode_connectivity", colour, right, up)
        groups["scatter"].append(_figure("local-global", chart, LOCAL_GLOBAL.format(measure(local).title)))
    for name in (n for n in AGAINST_ACCURACY if n in shown and phases.ACCURACY in shown):
        chart = charts.scatter(rows, name, phases.ACCURACY, "phase", right, up)
        groups["against"].append(_figure(f"against-{name}", chart))
    for name in (n for n in SLICES if n in shown):
        chart = charts.slices(one, name, right, up, scale_from=rows)
        groups["slices"].append(_figure(f"slice-{name}", chart))
    return groups


def of_claims(
    rows: pd.DataFrame, right: str | None, up: str | None, claims: Sequence[Claim]
) -> dict[str, dict[str, Any]]:
    """Return the chart of each claim by name, if this run's plane can show it."""
    figures = {}
    for claim in claims:
        chart = _claim_chart(rows, right, up, claim.chart) if claim.chart and right else None
        if chart is not None:
            figures[claim.name] = _figure(f"claim-{claim.name}", chart)
    return figures


def _claim_chart(rows: pd.DataFrame, right: str, up: str | None, chart: Chart) -> alt.LayerChart | None:
    shown = measures(rows)
    if chart.kind == "scatter":
        x, y, colour = chart.fields
        return charts.scatter(rows, x, y, colour, right, up) if {x, y, colour} <= set(shown) else None
    name, along = chart.fields
    if name not in shown:
        return None
    one = rows.drop_duplicates([n for n in (right, up) if n])
    if along == right:
        return charts.slices(one, name, right, up, scale_from=rows)
    if up and along == up:
        return charts.slices(one, name, up, right, scale_from=rows)
    return charts.scatter(rows, along, name, "phase", right, up)


def _figure(
    identity: str, chart: alt.LayerChart, caption: str = "", *, height: int | None = None
) -> dict[str, Any]:
    size = {} if height is None else {"height": height}
    return {
        "id": identity,
        "title": str(chart.title),
        "caption": caption,
        "spec": page_spec(chart, "cells") | size,
    }


def of_any(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Return a scatter chart of any two measures; the page replaces its fields ``x__`` and ``y__``."""
    if not measures(rows):
        return None
    blank = rows.iloc[:1].assign(x__=1.0, y__=1.0, x___text="", y___text="")
    return page_spec(charts.scatter(blank, "x__", "y__", "phase"), "cells")


def spec(chart: alt.LayerChart, data: str) -> dict[str, Any]:
    """Return the chart as Vega-Lite without schema and theme; its rows come from the dataset ``data``.

    The dataset is not part of the spec. Altair's own conversion would copy every layer several times.
    """
    rows = alt.NamedData(name=data)
    parts = {part: getattr(chart, part) for part in ("layer", "title", "height", "params")}
    bare = alt.TopLevelLayerSpec(data=rows, **parts)
    return bare.to_dict(validate=False, context={"data": rows, "top_level": False})


def page_spec(chart: alt.LayerChart, data: str) -> dict[str, Any]:
    """Return ``spec`` at the width of its container and without the title, which the page shows itself."""
    untitled = {k: v for k, v in spec(chart, data).items() if k != "title"}
    return {**untitled, "width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}


def of_one_cell(run: RunTables) -> list[dict[str, Any]]:
    """Return the charts of a cell's details for which the run has data; ``rows`` names the data."""
    paths = [str(p) for p in run.curves["path"].unique()] if "path" in run.curves else ["bezier"]
    paths = sorted(paths, key=lambda p: (p != "bezier", p != "linear", p))
    empty = pd.DataFrame()
    figures = []

    def add(identity: str, rows: str, chart: alt.LayerChart, title: str) -> None:
        figures.append({"id": identity, "rows": rows, "title": title, "spec": page_spec(chart, "rows")})

    for name in ("train_error_percent", "train_loss"):
        if name in run.curves and run.curves[name].notna().any():
            chart = charts.curves(empty, name, paths)
            add(f"curves-{name}", "curves", chart, f"{measure_title(name)} along the paths")
    for name in ("train_loss", "test_accuracy_percent"):
        if name in run.epochs and run.epochs[name].notna().any():
            chart = charts.histories(empty, name)
            add(f"histories-{name}", "histories", chart, f"{measure_title(name)} during training")
    if {"density_nodes", "density_weights"} <= set(run.models) and run.models["density_nodes"].notna().any():
        add("spectra", "spectra", charts.spectra(empty), "Spectrum of the Hessian")
    return figures
