"""Differences between runs in measures, phases and settings, and what only some of the runs have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer import phases
from explorer.report import facts
from explorer.report.labels import axis, measure, measure_title
from explorer.report.rows import measures
from explorer.results import RunTables

COMPARED = [n for n in facts.IN_TABLE if n != "hessian_top_eigenvalue"]
SPREADS = 2.0  # a cell counts as different if its means differ by more standard errors than this


def of_measures(runs: Sequence[RunTables], tables: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """Return the mean difference from the first run, its 95 % interval, and counts of cells that differ.

    One entry for each measure and each further run. The interval is bootstrapped over cells; one cell alone
    has none. ``above`` and ``below`` count the cells whose means differ from those of the first run by more
    than SPREADS standard errors; they are empty if no cell has a standard error.
    """
    out = []
    random = np.random.default_rng(0)
    for name in COMPARED:
        for k in range(1, len(tables)):
            a, b = (phases.column(t, name) for t in (tables[0], tables[k]))
            gap = (b - a).to_numpy()
            error = np.hypot(*(phases.standard_error(t, name).to_numpy() for t in (tables[0], tables[k])))
            known = gap[np.isfinite(gap)]
            if not len(known):
                continue
            digits, interval = measure(name).digits, ""
            if len(known) > 1:
                means = random.choice(known, (1000, len(known))).mean(axis=1)
                low, high = (
                    phases.format_number(float(v), digits) for v in np.percentile(means, [2.5, 97.5])
                )
                interval = f"{low} to {high}"
            has_errors = bool(np.isfinite(error[np.isfinite(gap)]).any())
            out.append(
                {
                    "title": measure_title(name),
                    "run": runs[k].name,
                    "mean": phases.format_number(float(known.mean()), digits),
                    "interval": interval,
                    "above": int((gap > SPREADS * error).sum()) if has_errors else "",
                    "below": int((gap < -SPREADS * error).sum()) if has_errors else "",
                    "n": len(known),
                }
            )
    return out


def of_phases(
    runs: Sequence[RunTables], tables: Sequence[pd.DataFrame], cuts: Sequence[Mapping[str, phases.Cut]]
) -> str:
    """Describe how many cells have another phase than in the first run, also by the first run's cuts."""
    text = f"Cells in a different phase than in {runs[0].name}: {_moved(runs, tables)}."
    values = {name: [phases.format_number(own[name].value) for own in cuts] for name in cuts[0]}
    unlike = [f"{phases.words_of(name)} {', '.join(v)}" for name, v in values.items() if len(set(v)) > 1]
    if unlike:
        same = [phases.classify(t, cuts[0]) for t in tables]
        text += (
            f" Each run has its own cuts ({'; '.join(unlike)}). With the cuts of {runs[0].name}: "
            f"{_moved(runs, same)}."
        )
    return text


def _moved(runs: Sequence[RunTables], tables: Sequence[pd.DataFrame]) -> str:
    """Count the cells that changed phase, among cells with a phase in both runs."""
    first, parts = tables[0]["phase"].fillna(""), []
    for run, table in zip(runs[1:], tables[1:], strict=True):
        phase = table["phase"].fillna("")
        both = (phase != "") & (first != "")
        n = int((both & (phase != first)).sum())
        many = f"{n} of {phases.plural(int(both.sum()), 'cell')}" if both.any() else "unknown"
        parts.append(f"{many} in {run.name}")
    return ", ".join(parts)


def only_some(runs: Sequence[RunTables], tables: Sequence[pd.DataFrame], names: Sequence[str]) -> list[str]:
    """Return sentences that say what cannot be compared, and why."""
    axes = sorted({n for r in runs for n in phases.axis_names(r.axes)} - set(names))
    shown = [measures(t) for t in tables]
    lacking = [n for n in COMPARED if any(n in s for s in shown) and not all(n in s for s in shown)]
    tasks = list(dict.fromkeys(run.task.name for run in runs))
    budgets = list(dict.fromkeys(facts.curve_budget(r) for r in runs))
    gaps = [
        (axes, f"Only some of the runs have these axes: {', '.join(axis(n).title for n in axes)}."),
        (
            lacking,
            f"Only some of the runs have these measures in these cells: "
            f"{', '.join(measure(n).title for n in lacking)}.",
        ),
        (
            len(tasks) > 1,
            f"The runs have different tasks ({', '.join(tasks)}), so their accuracies, errors and losses are "
            "of different kinds.",
        ),
        (
            len(budgets) > 1,
            f"The curves have different budgets ({'; '.join(budgets)}), so do not compare mode connectivity.",
        ),
    ]
    return [text for gap, text in gaps if gap]


def of_settings(runs: Sequence[RunTables]) -> list[dict[str, Any]]:
    """Return the settings of the spaces that differ between runs."""
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
