"""Page of a study: which claims of the paper hold over the runs of several spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from altair.utils.schemapi import debug_mode

from explorer import phases
from explorer.phases.claims import FAILS, HOLDS, UNKNOWN, UNTESTED, Claim
from explorer.phases.claims.evidence import SIGNS
from explorer.phases.claims.paper import FOUND
from explorer.phases.claims.together import CONTRADICTED, GENERAL, Together
from explorer.phases.numbers import format_setting
from explorer.report import charts, facts, figures, site
from explorer.report.labels import axis, in_words
from explorer.report.payload import columns
from explorer.report.rows import Plane, measures, plane, rounded, values, with_texts
from explorer.results import RunTables
from explorer.runs.files import Files
from explorer.units import duration

SOME = "holds in some"
# Groups of the first screen: verdict, heading, class of its colour.
GROUPS = (
    (GENERAL, "Hold in general", "holds", "✓"),
    (SOME, "Hold in some spaces", "holds", "✓"),
    (CONTRADICTED, "Contradicted", "does-not-hold", "✗"),
    (UNKNOWN, "Cannot be told", "cannot-tell", "?"),
    (UNTESTED, "Not testable here", "cannot-tell", "–"),
)
SQUARE = 19  # pixels of a cell in small maps, which must fit a phone
ROW, LEFT, WIDE = 19, 104, 340  # pixels of the strips: height of a space, place of the axis, width of all
FASTER = 3.0  # a loss this many times lower without wrong labels explains a smaller Hessian


def write_study(
    runs: Sequence[RunTables], claims: Sequence[Together], folder: Path | str, links: Mapping[str, str]
) -> Path | str:
    """Write the page of a study: the claims of the paper over several runs. Return where ``index.html`` is.

    Args:
        claims: the verdicts over the runs, from ``explorer.phases.claims.together.combine``.
        links: addresses of the pages of the runs, by name of the run.
    """
    shown = {run.name: _Shown(run) for run in runs}
    sets: dict[str, Any] = {}
    specs: list[dict[str, Any]] = []
    with debug_mode(False):
        spaces = [one.described(links.get(name, ""), sets, specs) for name, one in shown.items()]
        cards = [_card(one, shown, sets, specs) for one in claims]
    runs_s = sum(s.get("wall_s", 0.0) for run in runs for s in run.info.get("sessions") or [])
    return site.write_page(
        "study.html.j2",
        runs,
        {"sets": sets, "figures": specs},
        Files(folder, sync=False),
        counted=phases.plural,
        summary=summary(claims),
        groups=[
            {"title": title, "class": css, "sign": sign, "claims": some}
            for verdict, title, css, sign in GROUPS
            if (some := [c for c in cards if _group(c["claim"]) == verdict])
        ],
        cards=cards,
        spaces=spaces,
        signs=SIGNS,
        number=phases.format_number,
        models=sum(len(run.models) for run in runs),
        pairs=sum(len(run.pairs) for run in runs),
        time=duration(runs_s),
        phases=site.PHASES,
    )


def _group(one: Together) -> str:
    if one.verdict.startswith(CONTRADICTED):
        return CONTRADICTED
    return SOME if one.verdict.startswith("holds in ") and one.verdict != GENERAL else one.verdict


def summary(claims: Sequence[Together]) -> str:
    """Return a sentence with the numbers of claims by verdict."""
    n = {verdict: sum(_group(c) == verdict for c in claims) for verdict, *_ in GROUPS}
    said = [
        (n[GENERAL], f"{'holds' if n[GENERAL] == 1 else 'hold'} in general"),
        (n[SOME], f"{'holds' if n[SOME] == 1 else 'hold'} in some spaces"),
        (n[CONTRADICTED], f"{'is' if n[CONTRADICTED] == 1 else 'are'} contradicted"),
        (n[UNKNOWN], "cannot be told"),
        (n[UNTESTED], "cannot be tested here"),
    ]
    parts = [f"{count} {text}" for count, text in said if count] or ["none was tested"]
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)
    return f"Of {phases.plural(len(claims), 'finding')} of the paper, {text}."


class _Shown:
    """A run as the page shows it: its rows, and the plane of its maps."""

    def __init__(self, run: RunTables):
        self.run = run
        self.names = phases.axis_names(run.axes)
        self.cells, grid = facts.grid_of(run, run.cuts())
        self.rows = with_texts(rounded(grid, self.names))
        self.axes: Plane = plane({k: [n for n in names if n in self.rows] for k, names in run.axes.items()})

    def planes(self) -> list[tuple[str, pd.DataFrame]]:
        """Return each plane of the first two axes: the values of the other axes in words, and its rows."""
        others = self.axes[2]
        if not others:
            return [("", self.rows)]
        planes = []
        for at, rows in self.rows.groupby(others, sort=True, dropna=False):
            parts = zip(others, at, strict=True)
            planes.append((", ".join(f"{axis(n).title} {format_setting(v)}" for n, v in parts), rows))
        return planes

    def described(self, link: str, sets: dict[str, Any], specs: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what the page says of the run, and add its phase maps to ``sets`` and ``specs``."""
        right, up, _ = self.axes
        maps = []
        for k, (at, rows) in enumerate(self.planes() if right else []):
            identity = f"map-{self.run.name}-{k}"
            chart = charts.phase_map(rows, str(right), up, legend=False, letters=False)
            spec = {n: v for n, v in figures.spec(chart, "cells").items() if n != "title"}
            size = {"width": {"step": SQUARE}, "height": {"step": SQUARE} if up else SQUARE}
            sets[identity] = columns(rows, 5, exact=self.names)
            specs.append({"id": identity, "spec": spec | size, "rows": identity})
            maps.append({"id": identity, "title": f"{self.run.name}{f': {at}' if at else ''}"})
        counts = self.cells["phase"].value_counts()
        space = facts.mapping(self.run.info.get("space"))
        sessions = list(self.run.info.get("sessions") or [])
        return {
            "name": self.run.name,
            "gap": facts.reservations(self.run, facts.progress_of(self.run), self.run.cuts()),
            "link": link,
            "maps": maps,
            "description": space.get("description") or "",
            "axes": ", ".join(
                f"{axis(n).title} {len(values(self.rows, n))}" for n in self.names if n in self.rows
            ),
            "models": len(self.run.models),
            "diverged": list(self.run.models.get("status", ())).count("diverged"),
            "pairs": len(self.run.pairs),
            "curves": facts.converged_curves(self.run),
            "phases": ", ".join(f"{p} {counts[p]}" for p in phases.PHASES if p in counts),
            "time": duration(sum(s.get("wall_s", 0.0) for s in sessions)) if sessions else "–",
        }

    def picture(self, one: Claim, sets: dict[str, Any], specs: list[dict[str, Any]]) -> str:
        """Add the chart of a claim to ``specs``, and return its id; empty if the run cannot show it.

        Slices show the plane in which the measure varies most.
        """
        right, up, _ = self.axes
        rows, chart = self.rows, one.chart
        if chart is None or right is None:
            return ""
        if chart.kind == "slices" and chart.fields[0] in measures(rows) and chart.fields[1] in (right, up):
            spans = [float(np.ptp(p[chart.fields[0]].dropna())) if len(p) else 0.0 for _, p in self.planes()]
            rows = self.planes()[int(np.nanargmax(spans))][1]
        with in_words(self.run.task.words):
            drawn = figures.of_claims(rows, right, up, [one]).get(one.name)
        if drawn is None:
            return ""
        identity = drawn["id"]
        sets[identity] = columns(rows, 5, exact=self.names)
        specs.append({"id": identity, "spec": drawn["spec"], "rows": identity})
        return identity


def _card(
    one: Together, shown: Mapping[str, _Shown], sets: dict[str, Any], specs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what the page says of a claim."""
    css, sign = next((css, sign) for verdict, _, css, sign in GROUPS if verdict == _group(one))
    space = _clearest(one)
    return {
        "claim": one,
        "short": phases.words_of(one.name.replace("-", "_")),
        "class": css,
        "sign": sign,
        "paper": FOUND.get(one.name, ""),
        "reason": reason(one, {name: s.run for name, s in shown.items()}),
        "strip": effects_strip(one),
        "picture": shown[space].picture(one.claims[space], sets, specs) if space else "",
        "space": space,
    }


def _clearest(one: Together) -> str:
    """Return the space that shows the verdict most clearly; empty without a space that has an effect."""
    wanted = FAILS if _group(one) == CONTRADICTED else HOLDS
    side = 1 if wanted == FAILS else 0
    known = [s for s, c in one.claims.items() if np.isfinite(c.p) and one.verdicts[s] != UNTESTED]
    return min(known, key=lambda s: (one.verdicts[s] != wanted, one.claims[s].p_alone[side]), default="")


def reason(one: Together, runs: Mapping[str, RunTables]) -> str:
    """Return why a claim fails in some space, if the runs support a reason; empty if it fails in none."""
    failing = one.spaces(FAILS)
    if not failing and _group(one) != CONTRADICTED:
        return ""
    where = failing or [s for s, v in one.verdicts.items() if v != UNTESTED]
    for space in where:
        run = runs[space]
        if one.name == "label-noise-spares-hessian" and "label_noise" in run.cells:
            loss = run.cells.groupby("label_noise")["train_loss"].median()
            if len(loss) > 1 and loss.iloc[-1] > FASTER * loss.iloc[0]:
                ratio = phases.format_number(float(loss.iloc[-1] / loss.iloc[0]))
                return (
                    f"In {space}, the median training loss is {ratio} times larger with the most wrong "
                    "labels than with the fewest, so the models do not reach equally flat places."
                )
        chart, converged = one.claims[space].chart, phases.column(run.pairs, "curve_converged").mean()
        if chart and "mode_connectivity" in chart.fields and converged < 0.5:
            share = f"{100 * converged:.0f} % of the curves converged"
            return f"In {space}, {share}, so barriers may be overestimated."
    return "No run of this study shows why."


def effects_strip(one: Together) -> dict[str, Any] | None:
    """Return the places of intervals and effects of all spaces on one axis, in pixels; None without any."""
    known = {s: c for s, c in one.claims.items() if np.isfinite(c.p)}
    if not known:
        return None
    ends = [one.null, one.least, *(c.effect for c in known.values())]
    halves = [(c.high - c.low) / 2 for c in known.values()]
    reach = max(ends) - min(ends) or 1.0
    pad = max(0.25 * reach, min(float(np.median(halves)), 2 * reach))
    low, high = min(ends) - pad, max(ends) + pad
    scale = (WIDE - LEFT - 8) / (high - low)

    def place(value: float) -> float:
        return round(LEFT + scale * (min(max(value, low), high) - low), 1)

    lines = [
        {"label": s, "class": one.verdicts[s].replace(" ", "-"), "low": place(c.low), "high": place(c.high),
         "effect": place(c.effect), "y": 14 + ROW * k}
        for k, (s, c) in enumerate(known.items())
    ]  # fmt: skip
    if np.isfinite(one.effect):
        lines.append(
            {"label": "mean", "class": "mean", "low": place(one.low), "high": place(one.high),
             "effect": place(one.effect), "y": 14 + ROW * len(known)}
        )  # fmt: skip
    number = phases.format_number
    least = None if one.least == one.null else {"x": place(one.least), "text": number(one.least)}
    return {
        "lines": lines,
        "height": 14 + ROW * len(lines) + 14,
        "null": {"x": place(one.null), "text": number(one.null)},
        "least": least,
        "label": f"Effect and 95 % interval in {', '.join(known)}",
    }
