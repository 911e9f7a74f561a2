"""Page that compares runs: the same maps on shared scales, and differences from the first run."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode

from explorer import phases
from explorer.report import charts, differences, figures, site, theme, vega
from explorer.report.files import write
from explorer.report.labels import axis, in_words, measure, measure_title
from explorer.report.payload import columns, script_json
from explorer.report.rows import completed, exponent, measures, plane, prepared, rounded, values
from explorer.results import Run
from explorer.settings import InputError


def write_comparison(runs: Sequence[Run], out: Path, *, cuts: dict[str, Any] | None) -> Path:
    """Write the comparison; see ``explorer.report.compare``."""
    with in_words(runs[0].task.words):
        return _write_comparison(runs, out, cuts)


def _write_comparison(runs: Sequence[Run], out: Path, cuts: dict[str, Any] | None) -> Path:
    runs, found = _named(runs), [run.cuts(cuts) for run in runs]
    tables = [phases.classify(run.grid, own) for run, own in zip(runs, found, strict=True)]
    sizes = [f"{len(t)} in {run.name}" for run, t in zip(runs, tables, strict=True)]
    axes, tables = _shared(runs, tables)
    names = phases.axis_names(axes)
    right, up, others = plane(axes)
    if right is None:
        raise InputError("the runs share no axis along which to compare them")
    every = pd.concat(tables, ignore_index=True)
    shown = [n for n in differences.COMPARED if all(n in measures(t) for t in tables)]
    rows = [prepared(rounded(completed(t, axes, {}), names), every) for t in tables]
    with debug_mode(False):
        data = {
            "sets": {f"run{k}": columns(r, 5, exact=names) for k, r in enumerate(rows)},
            "figures": [],
            "others": others,
            "values": {n: values(rows[0], n) for n in others},
            "config": theme.config("currentColor"),
        }
        sections = [
            _phases(runs, rows, right, up, data) | {"see": differences.of_phases(runs, tables, found)}
        ]
        for name in shown:
            sections.append(_measure(runs, rows, every, name, right, up, names, data))
    page = site.environment().get_template("compare.html.j2")
    content = page.render(
        title=" and ".join(r.name for r in runs),
        runs=runs,
        now=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        n_cells=len(tables[0]),
        axes=[axis(n).title for n in names],
        sizes=", ".join(sizes),
        others=[{"name": n, "title": axis(n).title, "values": values(rows[0], n)} for n in others],
        missing=differences.only_some(runs, tables, names),
        sections=sections,
        differences=differences.of_settings(runs),
        summary=differences.of_measures(runs, tables),
        css=site.asset("page.css"),
        js=site.asset("compare.js"),
        data=script_json(data),
        bundle=vega.script(),
    )
    index = out / "index.html"
    write(index, content.encode())
    return index


def _named(runs: Sequence[Run]) -> list[Run]:
    """Return copies of the runs; runs with the same name get their folder added to the name."""
    every = [run.name for run in runs]
    out = [copy(run) for run in runs]
    for run in out:
        run.name = f"{run.name} ({run.folder})" if every.count(run.name) > 1 else run.name
    return out


def _shared(
    runs: Sequence[Run], tables: list[pd.DataFrame]
) -> tuple[dict[str, list[str]], list[pd.DataFrame]]:
    """Return the axes that all runs share, and each run's cells at settings that all runs have."""
    axes = {
        kind: [n for n in runs[0].axes.get(kind, ()) if all(n in phases.axis_names(r.axes) for r in runs)]
        for kind in ("load", "temperature")
    }
    names = phases.axis_names(axes)
    for run, table in zip(runs, tables, strict=True):
        if names and table.duplicated(names).any():
            own = sorted(set(phases.axis_names(run.axes)) - set(names))
            raise InputError(
                f"run {run.name!r} has several cells at the same {', '.join(names)}: it varies {own} too"
            )
    common = tables[0][names] if names else tables[0].iloc[:0]
    for table in tables[1:]:
        common = common.merge(table[names], on=names) if names else common
    if names and common.empty:
        met = [
            f"{run.name} has "
            + (", ".join(f"{n} {_few(values(table, n))}" for n in names) if len(table) else "no cell yet")
            for run, table in zip(runs, tables, strict=True)
        ]
        raise InputError(f"the runs have no cell at the same {', '.join(names)}: {'; '.join(met)}")
    return axes, [common.merge(t, on=names, how="left") for t in tables] if names else tables


def _few(settings: Sequence[Any]) -> str:
    return "/".join(str(s) for s in settings[:8]) + ("/…" if len(settings) > 8 else "")


def _phases(
    runs: Sequence[Run], rows: Sequence[pd.DataFrame], right: str, up: str | None, data: dict[str, Any]
) -> dict[str, Any]:
    made = []
    height = 34 * (len(values(rows[0], up)) if up else 1)
    for k, (run, table) in enumerate(zip(runs, rows, strict=True)):
        made.append(
            _figure(
                f"phases-{k}",
                charts.phase_map(_plane(table, right, up), right, up, legend=False),
                run.name,
                k,
                height,
                data,
            )
        )
    return {"title": "Phases", "figures": made}


def _measure(
    runs: Sequence[Run], rows: Sequence[pd.DataFrame], every: pd.DataFrame, name: str,
    right: str, up: str | None, names: Sequence[str], data: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    made = []
    power = exponent(every[name], measure(name))
    height = 30 * (len(values(rows[0], up)) if up else 1)
    for k, (run, table) in enumerate(zip(runs, rows, strict=True)):
        chart = charts.heat_map(_plane(table, right, up), name, right, up, scale_from=every)
        made.append(_figure(f"{name}-{k}", chart, run.name, k, height, data))
    for k in range(1, len(rows)):
        gap = phases.column(rows[k], name) - phases.column(rows[0], name)
        apart = rows[k][["cell_id", *names]].assign(difference=gap, n_models=1)
        apart = prepared(apart.assign(difference_label=charts.told_differences(gap, name, power)))
        one = _plane(apart, right, up)
        chart = charts.difference_map(one, name, right, up, power=power, scale_from=apart)
        data["sets"][f"{name}-gap{k}"] = columns(apart, 5, exact=names)
        title = f"{runs[k].name} minus {runs[0].name}"
        made.append(_figure(f"{name}-gap{k}", chart, title, f"{name}-gap{k}", height, data))
    return {"title": measure_title(name, power), "see": measure(name).see, "figures": made}


def _plane(rows: pd.DataFrame, right: str, up: str | None) -> pd.DataFrame:
    return rows.drop_duplicates([n for n in (right, up) if n])


def _figure(
    identity: str, chart: alt.LayerChart, title: str, rows: int | str, height: int, data: dict[str, Any]
) -> dict[str, Any]:
    spec = figures.page_spec(chart, "cells") | {"height": max(height, figures.ROOM)}
    data["figures"].append(
        {"id": identity, "spec": spec, "rows": f"run{rows}" if isinstance(rows, int) else rows}
    )
    return {"id": identity, "title": title}
