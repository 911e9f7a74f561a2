"""Runs side by side: the same maps on shared scales, and the difference from the first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from altair.utils.schemapi import debug_mode

from explorer import phases
from explorer.report import charts, facts, figures, site, theme, vega
from explorer.report.files import write
from explorer.report.labels import axis, in_words, measure, measure_title
from explorer.report.payload import columns, script_json
from explorer.report.rows import completed, exponent, measures, plane, prepared, rounded, values
from explorer.results import Run
from explorer.settings import InputError

COMPARED = (
    "test_accuracy_percent",
    "bleu",
    "test_perplexity",
    "train_loss",
    "mode_connectivity",
    "loss_barrier",
    "cka",
    "hessian_trace",
)
SPREADS = 2.0  # standard errors beyond which a cell counts as different


def write_comparison(runs: Sequence[Run], out: Path, *, cuts: dict[str, Any] | None) -> Path:
    """See ``explorer.report.compare``."""
    with in_words(runs[0].task.words):
        return _write_comparison(runs, out, cuts)


def _write_comparison(runs: Sequence[Run], out: Path, cuts: dict[str, Any] | None) -> Path:
    tables = [phases.classify(run.grid, run.cuts(cuts)) for run in runs]
    axes, tables = _shared(runs, tables)
    names = phases.axis_names(axes)
    right, up, _ = plane(axes)
    if right is None:
        raise InputError("the runs share no axis along which to compare them")
    workshop = vega.Workshop(theme.INK, pictures=False)
    try:
        every = pd.concat(tables, ignore_index=True)
        shown = [n for n in COMPARED if all(n in measures(t) for t in tables)]
        rows = [prepared(rounded(completed(t, axes, {}), names), every) for t in tables]
        with debug_mode(False):
            data = {
                "sets": {f"run{k}": columns(r, 5, exact=names) for k, r in enumerate(rows)},
                "figures": [],
                "config": theme.config("currentColor"),
            }
            sections = [_phases(runs, rows, right, up, data)]
            for name in shown:
                sections.append(_measure(runs, rows, every, name, right, up, names, data))
        page = site.environment().get_template("compare.html.j2")
        content = page.render(
            title=" and ".join(r.name for r in runs),
            runs=runs,
            now=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
            n_cells=len(tables[0]),
            axes=[axis(n).title for n in names],
            left_out=sorted({n for r in runs for n in phases.axis_names(r.axes)} - set(names)),
            sections=sections,
            differences=settings_apart(runs),
            budgets=[facts.curve_budget(r) for r in runs],
            summary=differences(runs, tables, names),
            number=phases.number,
            css=site.asset("page.css"),
            js=site.asset("compare.js"),
            data=script_json(data),
            bundle=workshop.script(),
        )
    finally:
        workshop.close()
    index = out / "index.html"
    write(index, content.encode())
    return index


def _shared(
    runs: Sequence[Run], tables: list[pd.DataFrame]
) -> tuple[dict[str, list[str]], list[pd.DataFrame]]:
    """The axes that all runs have, and the cells at settings that all of them have."""
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
        raise InputError(f"the runs have no cell at the same {', '.join(names)}")
    return axes, [common.merge(t, on=names, how="left") for t in tables] if names else tables


def differences(
    runs: Sequence[Run], tables: Sequence[pd.DataFrame], names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each measure and each further run: the mean difference over cells, its 95 % interval, cells apart.

    The interval is a bootstrap over cells. ``above`` and ``below`` count the cells whose means differ from
    the first run's by more than SPREADS standard errors.
    """
    out = []
    random = np.random.default_rng(0)
    for name in COMPARED:
        for k in range(1, len(tables)):
            a, b = (phases.column(t, name) for t in (tables[0], tables[k]))
            gap = (b - a).to_numpy()
            error = np.hypot(*(phases.standard_error(t, name).to_numpy() for t in (tables[0], tables[k])))
            known = gap[np.isfinite(gap)]
            if len(known) < 2:
                continue
            means = random.choice(known, (1000, len(known))).mean(axis=1)
            low, high = np.percentile(means, [2.5, 97.5])
            digits = measure(name).digits
            out.append(
                {
                    "title": measure_title(name),
                    "run": runs[k].name,
                    "mean": phases.number(float(known.mean()), digits),
                    "low": phases.number(float(low), digits),
                    "high": phases.number(float(high), digits),
                    "above": int((gap > SPREADS * error).sum()),
                    "below": int((gap < -SPREADS * error).sum()),
                    "n": len(known),
                }
            )
    return out


def settings_apart(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The settings of the spaces that are not the same in all runs."""
    flat = [_flat(facts.mapping(r.info.get("space"))) for r in runs]
    keys = list(dict.fromkeys(k for f in flat for k in f if k not in ("name", "description")))
    return [
        {"name": k, "values": [f.get(k, "–") for f in flat]}
        for k in keys
        if len({str(f.get(k, "–")) for f in flat}) > 1
    ]


def _flat(space: dict[str, Any], prefix: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for key, value in space.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = str(value)
    return out


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
    moved = [int((r["phase"] != rows[0]["phase"]).sum()) for r in rows[1:]]
    told = ", ".join(f"{n} of {len(rows[0])} cells in {r.name}" for n, r in zip(moved, runs[1:], strict=True))
    return {"title": "Phases", "see": f"Another phase than in {runs[0].name}: {told}.", "figures": made}


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
        apart = rows[k][["cell_id", *names]].assign(
            difference=phases.column(rows[k], name) - phases.column(rows[0], name), n_models=1
        )
        chart = charts.difference_map(_plane(prepared(apart), right, up), name, right, up, power=power)
        data["sets"][f"{name}-gap{k}"] = columns(chart.data, 5, exact=names)  # pyright: ignore[reportArgumentType]
        title = f"{runs[k].name} less {runs[0].name}"
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
