"""What is said of runs side by side: how far apart they are in measures, phases, settings; what some lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer import phases
from explorer.report import facts
from explorer.report.labels import axis, measure, measure_title
from explorer.report.rows import measures
from explorer.results import Run

COMPARED = [n for n in facts.IN_TABLE if n != "hessian_top_eigenvalue"]
SPREADS = 2.0  # standard errors beyond which a cell counts as different


def of_measures(runs: Sequence[Run], tables: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """For each measure and each further run: the mean difference over cells, its 95 % interval, cells apart.

    The interval is a bootstrap over cells, none for a single one. ``above`` and ``below`` count the cells
    whose means differ from the first run's by more than SPREADS standard errors; empty where no cell has any.
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
                low, high = (phases.number(float(v), digits) for v in np.percentile(means, [2.5, 97.5]))
                interval = f"{low} to {high}"
            told = bool(np.isfinite(error[np.isfinite(gap)]).any())
            out.append(
                {
                    "title": measure_title(name),
                    "run": runs[k].name,
                    "mean": phases.number(float(known.mean()), digits),
                    "interval": interval,
                    "above": int((gap > SPREADS * error).sum()) if told else "",
                    "below": int((gap < -SPREADS * error).sum()) if told else "",
                    "n": len(known),
                }
            )
    return out


def of_phases(
    runs: Sequence[Run], tables: Sequence[pd.DataFrame], cuts: Sequence[Mapping[str, phases.Cut]]
) -> str:
    """How many cells have another phase than in the first run; by its cuts too, where others differ."""
    text = f"Another phase than in {runs[0].name}: {_moved(runs, tables)}."
    values = {name: [phases.number(own[name].value) for own in cuts] for name in cuts[0]}
    unlike = [f"{phases.spoken(name)} {', '.join(v)}" for name, v in values.items() if len(set(v)) > 1]
    if unlike:
        same = [phases.classify(t, cuts[0]) for t in tables]
        text += (
            f" Each run is sorted by cuts of its own ({'; '.join(unlike)}); by those of {runs[0].name}: "
            f"{_moved(runs, same)}."
        )
    return text


def _moved(runs: Sequence[Run], tables: Sequence[pd.DataFrame]) -> str:
    """Of the cells whose phase both runs know."""
    first, told = tables[0]["phase"].fillna(""), []
    for run, table in zip(runs[1:], tables[1:], strict=True):
        phase = table["phase"].fillna("")
        both = (phase != "") & (first != "")
        n = int((both & (phase != first)).sum())
        many = f"{n} of {phases.counted(int(both.sum()), 'cell')}" if both.any() else "none can be told"
        told.append(f"{many} in {run.name}")
    return ", ".join(told)


def only_some(runs: Sequence[Run], tables: Sequence[pd.DataFrame], names: Sequence[str]) -> list[str]:
    """What cannot be compared, and why."""
    axes = sorted({n for r in runs for n in phases.axis_names(r.axes)} - set(names))
    shown = [measures(t) for t in tables]
    lacking = [n for n in COMPARED if any(n in s for s in shown) and not all(n in s for s in shown)]
    tasks = list(dict.fromkeys(run.task.name for run in runs))
    budgets = list(dict.fromkeys(facts.curve_budget(r) for r in runs))
    gaps = [
        (axes, f"Axes that only some of the runs have: {', '.join(axis(n).title for n in axes)}."),
        (
            lacking,
            f"Measures that only some of the runs have at these cells: "
            f"{', '.join(measure(n).title for n in lacking)}.",
        ),
        (
            len(tasks) > 1,
            f"The runs learn different tasks ({', '.join(tasks)}): their accuracies, errors and losses are "
            "not of one kind.",
        ),
        (
            len(budgets) > 1,
            f"The curves’ budgets differ ({'; '.join(budgets)}): mode connectivity cannot be compared.",
        ),
    ]
    return [text for gap, text in gaps if gap]


def of_settings(runs: Sequence[Run]) -> list[dict[str, Any]]:
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
