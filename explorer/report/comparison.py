"""Page that compares runs: the same maps on shared scales, and differences from the first run."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode

from explorer import phases
from explorer.report import charts, differences, figures, site
from explorer.report.labels import axis, measure, measure_title
from explorer.report.payload import columns
from explorer.report.rows import exponent, measures, plane, rounded, values, with_missing_points, with_texts
from explorer.results import RunTables
from explorer.runs.files import Files
from explorer.settings import InputError, listed


def write_comparison(runs: Sequence[RunTables], out: Files, *, cuts: dict[str, Any] | None) -> Path | str:
    """Write the comparison; see ``explorer.report.compare``."""
    runs, cuts_of_runs = _named(runs), [run.cuts(cuts) for run in runs]
    tables = [phases.classify(run.grid, own_cuts) for run, own_cuts in zip(runs, cuts_of_runs, strict=True)]
    sizes = [f"{len(t)} in {run.name}" for run, t in zip(runs, tables, strict=True)]
    axes = {
        kind: [n for n in runs[0].axes.get(kind, ()) if all(n in phases.axis_names(r.axes) for r in runs)]
        for kind in ("load", "temperature")
    }
    names = phases.axis_names(axes)
    right, up, others = plane(axes)
    if right is None:
        raise InputError("the runs share no axis along which to compare them")
    tables = _shared_cells(runs, tables, names)
    comparison = _Comparison(runs, tables, names, right, up)
    with debug_mode(False):
        sections = [
            comparison.phase_section() | {"caption": differences.of_phases(runs, tables, cuts_of_runs)}
        ]
        for name in differences.COMPARED:
            if all(name in measures(t) for t in tables):
                sections.append(comparison.measure_section(name))
    settings = {n: values(comparison.rows[0], n) for n in others}
    data = {"sets": comparison.sets, "figures": comparison.specs, "others": others, "values": settings}
    return site.write_page(
        "compare.html.j2",
        runs,
        data,
        out,
        title=" and ".join(r.name for r in runs),
        n_cells=len(tables[0]),
        axes=[axis(n).title for n in names],
        sizes=", ".join(sizes),
        others=[{"name": n, "title": axis(n).title, "values": v} for n, v in settings.items()],
        missing=differences.only_some(runs, tables, names),
        sections=sections,
        differences=differences.of_settings(runs),
        summary=differences.of_measures(runs, tables),
    )


def _named(runs: Sequence[RunTables]) -> list[RunTables]:
    """Return copies of the runs; runs with the same name get their folder added to the name."""
    every = [run.name for run in runs]
    out = [copy(run) for run in runs]
    for run in out:
        run.name = f"{run.name} ({run.folder})" if every.count(run.name) > 1 else run.name
    return out


def _shared_cells(
    runs: Sequence[RunTables], tables: list[pd.DataFrame], names: list[str]
) -> list[pd.DataFrame]:
    """Return each run's cells at settings that all runs have."""
    for run, table in zip(runs, tables, strict=True):
        if table.duplicated(names).any():
            more = sorted(set(phases.axis_names(run.axes)) - set(names))
            raise InputError(
                f"run {run.name!r} has several cells at the same {listed(names)}: it varies "
                f"{listed(more, ' and ')} too. Choose one value of each, such as --where {more[0]}=…"
            )
    common = tables[0][names]
    for table in tables[1:]:
        common = common.merge(table[names], on=names)
    if common.empty:
        described = [
            f"{run.name} has "
            + (listed(f"{n} {_few(values(table, n))}" for n in names) if len(table) else "no cell yet")
            for run, table in zip(runs, tables, strict=True)
        ]
        raise InputError(f"the runs have no cell at the same {listed(names)}: {'; '.join(described)}")
    return [common.merge(t, on=names, how="left") for t in tables]


def _few(settings: Sequence[Any]) -> str:
    return "/".join(str(s) for s in settings[:8]) + ("/…" if len(settings) > 8 else "")


class _Comparison:
    """Figures of the comparison: their specs, and the sets of rows that they draw."""

    def __init__(
        self,
        runs: Sequence[RunTables],
        tables: Sequence[pd.DataFrame],
        names: Sequence[str],
        right: str,
        up: str | None,
    ):
        self.runs, self.names, self.right, self.up = runs, names, right, up
        self.all_cells = pd.concat(tables, ignore_index=True)
        grids = [with_missing_points(t, {"load": names}, {}) for t in tables]
        self.rows = [with_texts(rounded(grid, names), self.all_cells) for grid in grids]
        self.sets = {f"run{k}": columns(r, 5, exact=names) for k, r in enumerate(self.rows)}
        self.specs: list[dict[str, Any]] = []

    def phase_section(self) -> dict[str, Any]:
        """Return the section with a phase map of each run."""
        drawn = []
        for k, (run, rows) in enumerate(zip(self.runs, self.rows, strict=True)):
            chart = charts.phase_map(self._plane(rows), self.right, self.up, legend=False)
            drawn.append(self._figure(f"phases-{k}", chart, run.name, f"run{k}", square=34))
        return {"title": "Phases", "figures": drawn}

    def measure_section(self, name: str) -> dict[str, Any]:
        """Return the section of a measure: a map of each run, and its differences from the first run."""
        drawn = []
        power = exponent(self.all_cells[name], measure(name))
        for k, (run, rows) in enumerate(zip(self.runs, self.rows, strict=True)):
            chart = charts.heat_map(self._plane(rows), name, self.right, self.up, scale_from=self.all_cells)
            drawn.append(self._figure(f"{name}-{k}", chart, run.name, f"run{k}", square=30))
        first = self.rows[0]
        for k, rows in enumerate(self.rows[1:], start=1):
            gap = phases.column(rows, name) - phases.column(first, name)
            difference = rows[["cell_id", *self.names]].assign(difference=gap, n_models=1)
            difference = with_texts(
                difference.assign(difference_label=charts.difference_labels(gap, name, power))
            )
            chart = charts.difference_map(
                self._plane(difference), name, self.right, self.up, power=power, scale_from=difference
            )
            rows_id = f"{name}-gap{k}"
            self.sets[rows_id] = columns(difference, 5, exact=self.names)
            title = f"{self.runs[k].name} minus {self.runs[0].name}"
            drawn.append(self._figure(rows_id, chart, title, rows_id, square=30))
        return {"title": measure_title(name, power), "caption": measure(name).caption, "figures": drawn}

    def _plane(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.drop_duplicates([n for n in (self.right, self.up) if n])

    def _figure(
        self, identity: str, chart: alt.LayerChart, title: str, rows: str, *, square: int
    ) -> dict[str, str]:
        """Keep the spec of a chart of ``rows``, a key of ``sets``, and return what the template needs."""
        lines = len(values(self.rows[0], self.up)) if self.up else 1
        spec = figures.page_spec(chart, "cells") | {"height": max(square * lines, figures.ROOM)}
        self.specs.append({"id": identity, "spec": spec, "rows": rows})
        return {"id": identity, "title": title}
