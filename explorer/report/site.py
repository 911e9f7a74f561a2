"""Self-contained report site of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import pyarrow as pa
from altair.utils.schemapi import debug_mode

from explorer import phases, plainyaml
from explorer.phases.advice import advise_cells, advise_phases
from explorer.phases.claims import HOLDS, UNTESTED, Claim
from explorer.plan.progress import Progress
from explorer.report import facts, figures, pictures, spent, theme, vega
from explorer.report.encodings import vertical_order
from explorer.report.files import INDEX, write_details, write_shown_runs, write_tables
from explorer.report.labels import axis, axis_title, measure, measure_title, reword
from explorer.report.maps import CROWDED
from explorer.report.payload import columns, details, json_of, script_json
from explorer.report.refined import with_predictions
from explorer.report.rows import Plane, measures, plane, rounded, values, with_texts
from explorer.results import RunTables
from explorer.runs.files import Files

PICTURED_CELLS = 1000  # with more cells, there are no files of charts: drawing them takes most of the memory
ADVISED_CELLS = 500  # with more cells, the page gives advice for phases only
# Columns whose heads in the tables of a cell depend on the task.
HEADS = ("test_accuracy_percent", "train_loss", "train_error_percent", "test_loss")
DETAIL_BYTES = 3_000_000  # above this size, details of cells are separate files, loaded on a click
PHASES = [
    {
        "name": phase,
        "reading": phases.READINGS[phase],
        "colour": theme.PHASE_COLOURS[phase],
        "ink": theme.PHASE_INKS[phase],
    }
    for phase in phases.PHASES
]


def write_site(
    run: RunTables,
    out: Files,
    *,
    cuts: dict[str, Any] | None,
    images: bool,
    refresh_s: int | None = None,
    now: Progress | None = None,
) -> Path | str:
    """Write the site; see ``explorer.report.write``."""
    release = pa.default_memory_pool().release_unused  # gives back what each step no longer needs
    all_cuts = run.cuts(cuts)
    release()
    cells, grid = facts.grid_of(run, all_cuts)
    grid, rounds = with_predictions(run, grid, all_cuts)
    axes = plane({k: [n for n in names if n in grid] for k, names in run.axes.items()})
    right, up, _ = axes
    images = images and len(grid) <= PICTURED_CELLS
    labels = images or right is None or grid[right].nunique() < CROWDED
    rows = with_texts(rounded(grid, phases.axis_names(run.axes)), labels=labels)
    now = now or facts.progress_of(run)
    with debug_mode(False):  # Altair's schema check takes longer than everything else; tests run it
        groups = figures.of_cells(rows, right, up)
        pictured = pictures.specs(rows, axes, groups) if images else {}
        release()
        claims = facts.claims(run, cells, all_cuts, now)
        of_claims = figures.of_claims(rows, right, up, claims)
        groups["first"] = [
            {**of_claims[c.name], "id": f"first-{c.name}", "caption": reword(c.why)}
            for c in claims
            if c.verdict == HOLDS and c.name.startswith("double-descent") and c.name in of_claims
        ]
        data = _data(run, rows, axes, {**groups, "claims": list(of_claims.values())})
    data["rounds"] = rounds
    stopping = phases.gains_of_stopping(run.models, run.epochs)
    if len(cells) <= ADVISED_CELLS:
        each = advise_cells(cells, all_cuts, run.axes, stopping=stopping, noise=run.label_noise)
        data["advice"] = {cell: [reword(a.cause), a.change, a.sure] for cell, a in each.items()}
    write_shown_runs([run], out)
    release()
    models: dict[str, str] = {}
    inline: dict[str, str] = {}
    texts, length = _texts(details(run, grid), models), 0
    for cell, text in texts:
        inline[cell] = text
        length += len(text)
        if length > DETAIL_BYTES:
            first, inline = inline, {}
            data["files"], data["modelsFile"] = write_details(chain(first.items(), texts), models, out)
    tables = write_tables(run, cells, out)
    text = script_json(data)
    del data
    release()
    parts = (
        environment()
        .get_template("index.html.j2")
        .generate(
            **_context(run, cells, rows, axes, all_cuts, claims),
            reservations=facts.reservations(run, now, all_cuts),
            trained=str(now.models) if now and now.models.missing else "",
            size=_size(rows, now),
            rounds=rounds,
            figures=groups,
            claims=facts.verdicts(claims, of_claims),
            untested=[c for c in claims if c.verdict == UNTESTED],
            score=facts.count_verdicts(claims),
            advice=advise_phases(cells, all_cuts, run.axes, stopping, noise=run.label_noise),
            tables=tables,
            refresh_s=refresh_s,
            saved=[{"file": n, "title": f["title"]} for n, f in pictures.saved_charts(groups).items()]
            if images
            else [],
            data=text,
            details=json_of(inline),
            bundle=vega.script(),
            css=asset("page.css"),
            js=asset("common.js") + asset("page.js") + asset("explore.js"),
        )
    )
    out.write(INDEX, b"".join(part.encode() for part in parts))
    for name, spec in pictured.items():
        svg, png = vega.draw(spec)
        out.write(f"charts/{name}.svg", svg)
        out.write(f"charts/{name}.png", pictures.repacked(png))
    return out.place(INDEX)


def _texts(
    details: Iterable[tuple[str, dict[str, str]]], models: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield each cell with its details as one JSON text, and add that of its models to ``models``."""
    for cell, content in details:
        if "models" in content:
            models[cell] = content["models"]
        yield cell, json_of(content)


def _data(
    run: RunTables, rows: pd.DataFrame, axes: Plane, groups: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """Return the data of the page's script: rows and specs."""
    right, up, others = axes
    shown = measures(rows)
    best = int(np.nanargmax(rows[phases.ACCURACY])) if phases.ACCURACY in shown else None
    names = [n for n in phases.axis_names(run.axes) if n in rows]
    return {
        "axes": [
            {
                "name": n,
                "short": axis(n).title,
                "title": axis_title(n),
                "values": values(rows, n),
                "upwards": vertical_order(rows, n),
            }
            for n in names
        ],
        "right": right,
        "up": up,
        "others": others,
        "best": None if best is None else str(rows["cell_id"].iloc[best]),
        "measures": {n: {"title": measure_title(n), "log": measure(n).log} for n in shown},
        "cells": columns(rows, 5, exact=names),
        "figures": [{"id": f["id"], "spec": f["spec"]} for group in groups.values() for f in group],
        "detailFigures": figures.of_one_cell(run),
        "any": figures.of_any(rows),
        "heads": {n: measure_title(n) for n in HEADS} if run.task.name != "classification" else {},
        "config": theme.config("currentColor"),
        "files": None,
        "modelsFile": None,
    }


def _size(rows: pd.DataFrame, now: Progress | None) -> str:
    """Return the number of cells in words: of a refined run, those that were chosen, too."""
    if now and now.cells.missing:
        return str(now.cells)
    return phases.plural(now.cells.wanted if now else len(rows), "cell")


def _context(
    run: RunTables,
    cells: pd.DataFrame,
    rows: pd.DataFrame,
    axes: Plane,
    cuts: Mapping[str, phases.Cut],
    claims: Sequence[Claim],
) -> dict[str, Any]:
    """Return the variables of the template, except charts."""
    right, up, others = axes
    names = [n for n in (right, up, *others) if n]
    space = facts.mapping(run.info.get("space"))
    moved = phases.sensitivity(cells, cuts)
    counts = cells["phase"].value_counts()
    return {
        "run": run,
        "space": space,
        "now": now(),
        "findings": [
            reword(s) for s in phases.findings(cells, cuts, run.axes, claims, noise=run.label_noise)
        ],
        "hessian": reword(phases.hessian_contrast(cells, cuts)),
        "missing": facts.missing(run, cells),
        "phases": [{**phase, "n": int(counts.get(phase["name"], 0))} for phase in PHASES],
        "unsorted": int(((rows["phase"] == "") & (rows["note"] == "")).sum()),
        "uncertain": int((cells["phase_probability"] < phases.CERTAIN).sum()),
        "unknown": int(((cells["phase"] != "") & cells["phase_probability"].isna()).sum()),
        "unfinished": int(
            ((cells["phase"] != "") & (phases.column(cells, "curves_converged_share") < 1)).sum()
        ),
        "n_cells": len(cells),
        "n_grid": len(rows),
        "cuts": [
            {"cut": c, "value": phases.format_number(c.value), "moved": moved[n]} for n, c in cuts.items()
        ],
        "ranked": facts.ranked(cells, cuts),
        "axis_ranks": facts.axis_ranks(cells, phases.axis_names(run.axes)),
        "axes": [{"name": n, "title": axis_title(n), "values": values(rows, n)} for n in names],
        "others": others,
        "right": right,
        "up": up,
        "table": facts.cell_table(rows, names),
        "budget": "; ".join(filter(None, [facts.curve_budget(run), facts.converged_curves(run)])),
        "machine": facts.machine(run),
        "gpu": facts.gpu(run),
        "versions": facts.mapping(run.info.get("versions")),
        "space_yaml": plainyaml.dump(space).decode() if space else "",
        "spent": spent.stages(run),
        "worked": spent.workers(run),
        "failures": facts.failure_table(run),
        "counted": phases.plural,
        "signed": phases.format_rho,
        "title_of": lambda n: measure(n).title,
        "axis_title": axis_title,
    }


def write_page(
    template: str, runs: Sequence[RunTables], data: Mapping[str, Any], out: Files, **content: Any
) -> Path | str:
    """Write a page of several runs into a folder, and return where its ``index.html`` is.

    Args:
        data: what the page's script draws: ``figures``, ``sets`` of rows for them, and the ``values`` of the
            ``others`` axes if a reader chooses a plane.
        content: further variables of the template.
    """
    axes = {"others": [], "values": {}}  # of a page without a choice of planes
    page = (
        environment()
        .get_template(template)
        .render(
            runs=runs,
            now=now(),
            css=asset("page.css"),
            js=asset("common.js") + asset("compare.js"),
            data=script_json({**axes, **data, "config": theme.config("currentColor")}),
            bundle=vega.script(),
            **content,
        )
    )
    write_shown_runs(runs, out)
    out.write(INDEX, page.encode())
    return out.place(INDEX)


def now() -> str:
    """Return the local date and time, to the minute."""
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")


@cache
def environment() -> jinja2.Environment:
    """Return the environment with the templates of pages."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("explorer.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.ChainableUndefined,  # every key of run.info may be missing
    )
    templates.filters["reword"] = _reword
    return templates


@jinja2.pass_context  # otherwise Jinja evaluates constants once, in the terms of the first page's task
def _reword(_context: jinja2.runtime.Context, text: str) -> str:
    return reword(text)


def asset(name: str) -> str:
    """Return the text of a stylesheet or script."""
    return resources.files("explorer.report").joinpath("assets").joinpath(name).read_text(encoding="utf-8")
