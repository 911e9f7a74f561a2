"""What the page of a run says besides charts: gaps, claims, cells, budgets and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from explorer import phases
from explorer.phases import Cut
from explorer.phases.claims import FAILS, HOLDS, UNKNOWN, UNTESTED, Claim
from explorer.phases.claims.evidence import SIGNS
from explorer.plan.progress import Progress, progress
from explorer.report.labels import axis, measure, measure_title
from explorer.report.refined import refinement_sentence
from explorer.report.rows import measures, with_missing_points
from explorer.results import RunTables
from explorer.runs.store import Store
from explorer.settings import InputError
from explorer.space import recorded
from explorer.users import sources

LISTED_FAILURES, LISTED_CELLS = 100, 500
IN_TABLE = (
    "test_accuracy_percent",
    "bleu",
    "test_perplexity",
    "train_loss",
    "mode_connectivity",
    "loss_barrier",
    "cka",
    "hessian_top_eigenvalue",
    "hessian_trace",
)
RANKED_WITH_AXES = [n for n in IN_TABLE if n not in ("bleu", "test_perplexity", "loss_barrier")]

ORDER = (HOLDS, FAILS, UNKNOWN)
STRIP_WIDTH = 260  # in the strip's own pixels


def progress_of(run: RunTables) -> Progress | None:
    """Return how far a run is; None for tables that are no run, or if the user's modules are not here."""
    try:
        store = Store(run.folder, mend=False)
        return progress(recorded.space_of(run.info), store) if run.info and store.exists() else None
    except InputError:
        return None


def reservations(run: RunTables, now: Progress | None, cuts: Mapping[str, Cut]) -> str:
    """Return what is to be known before anything else; often empty.

    These are damaged files, work that is left, and cells that were not run because the run is refined.
    """
    found = [
        run.info.get("verification", ""),
        now.unfinished if now else "",
        refinement_sentence(run, now, cuts),
    ]
    return " ".join(text for text in found if text)


def claims(
    run: RunTables, cells: pd.DataFrame, cuts: Mapping[str, phases.Cut], now: Progress | None
) -> list[Claim]:
    """Return the claims with their verdicts, and what an unfinished run still needs for each."""
    return run.check_claims(
        cells, cuts, lacking=now.lacking if now else {}, planned=now.planned if now else ()
    )


def missing(run: RunTables, cells: pd.DataFrame) -> list[str]:
    """Return sentences that say what is missing from the tables, and whether sources have changed."""
    shown = measures(cells)
    means = run.models.empty and run.pairs.empty and bool(shown)
    alone = "; a pair needs two seeds" if "seed" in run.models and run.models["seed"].nunique() == 1 else ""
    gaps = [
        (means, "Only means of cells are known: no replicates, and no spread without a column _std."),
        (run.models.empty and not means, "No models: training, accuracy and Hessian are not shown."),
        (
            run.pairs.empty and not means,
            f"No pairs: mode connectivity, CKA and distances are not shown, and no cell has a phase{alone}.",
        ),
        (run.curves.empty, "No curves: paths are not shown in the details of a cell."),
        (run.epochs.empty, "No training histories."),
    ]
    sentences = [text for gap, text in gaps if gap]
    if "imported" in run.models:
        sentences.append("The models were trained elsewhere and imported.")
    if changed := sources.history(run.info):
        sentences.append(changed)
    lacking = [
        measure(n).title
        for n in ("test_accuracy_percent", "train_loss", "mode_connectivity", "cka", "hessian_trace")
        if n not in shown
    ]
    if lacking and (means or not (run.models.empty and run.pairs.empty)):
        sentences.append(f"No values of: {', '.join(lacking)}.")
    if not phases.axis_names(run.axes):
        sentences.append("No axes: all models are treated as one cell.")
    return sentences


def grid_of(run: RunTables, cuts: Mapping[str, Cut]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cells with their phases, and the whole grid: these and a row for each missing point."""
    memberships = phases.memberships(run.grid, cuts)
    pa.default_memory_pool().release_unused()  # before the next step that needs much
    cells = phases.classify(run.grid, cuts, memberships).reset_index(drop=True)
    shown = cells.assign(phase_shares=shares(memberships), phase_reading=readings(cells, run.label_noise))
    return cells, with_missing_points(shown, run.axes, mapping(run.info.get("space")))


def readings(cells: pd.DataFrame, noise: float) -> list[str]:
    """Return the reading of each cell's phase if label noise makes it another one than usual; else empty."""
    errors, noises = phases.column(cells, "train_error_percent"), phases.noise_of(cells, noise)
    found = [phases.reading_of(*cell) for cell in zip(cells["phase"], errors, noises, strict=True)]
    usual = {*phases.READINGS.values(), phases.UNKNOWN_PHASE}
    return ["" if text in usual else text for text in found]


def shares(memberships: pd.DataFrame) -> list[str]:
    """Return phases of at least 5 % probability, as ``IV-B 71 %, IV-A 29 %``, per cell; empty if unknown."""
    texts = []
    for row in memberships.to_dict("records"):
        likely = sorted(((v, str(k)) for k, v in row.items() if v >= 0.05), reverse=True)
        texts.append(", ".join(f"{phase} {100 * share:.0f} %" for share, phase in likely))
    return texts


def verdicts(claims: Sequence[Claim], figures: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims that the run tests: those that hold first, and with a chart before without.

    This order gives neighbouring cards about the same height.
    """
    tested = [c for c in claims if c.verdict != UNTESTED]
    tested.sort(key=lambda c: (ORDER.index(c.verdict), c.name not in figures))
    return [
        {"claim": c, "sign": SIGNS[c.verdict], "strip": interval_strip(c), "figure": figures.get(c.name)}
        for c in tested
    ]


def count_verdicts(claims: Sequence[Claim]) -> str:
    """Return a sentence with the numbers of claims by verdict."""
    n = {v: sum(c.verdict == v for c in claims) for v in (*ORDER, UNTESTED)}
    tested = len(claims) - n[UNTESTED]
    hold, do = ("holds" if n[HOLDS] == 1 else "hold"), ("does" if n[FAILS] == 1 else "do")
    return (
        f"Of {phases.plural(tested, 'claim')} that this run can test, {n[HOLDS]} {hold}, "
        f"{n[FAILS]} {do} not hold and {n[UNKNOWN]} cannot be decided."
    )


def interval_strip(claim: Claim) -> dict[str, Any] | None:
    """Return the positions of interval, effect, null and least relevant effect on a strip, in pixels."""
    if not np.isfinite(claim.p):
        return None
    number = phases.format_number
    marks = {name: getattr(claim, name) for name in ("low", "high", "effect", "null", "least")}
    low, high = min(marks.values()), max(marks.values())
    pad = 0.12 * (high - low or 1.0)
    scale = (STRIP_WIDTH - 16) / (high - low + 2 * pad)
    places = {name: round(8 + scale * (value - low + pad), 1) for name, value in marks.items()}
    if claim.least == claim.null:
        del places["least"]
    return {
        **places,
        "width": STRIP_WIDTH,
        "null_text": number(claim.null),
        "least_text": number(claim.least),
        "label": f"Effect {number(claim.effect)}, 95 % interval {number(claim.low)} to {number(claim.high)}, "
        f"p = {number(claim.p)} after correction",
    }


def cell_table(rows: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    """Return the table of cells on the page: at most LISTED_CELLS rows; ``more`` counts the others."""
    shown = [n for n in IN_TABLE if n in measures(rows)]
    return {
        "axes": {n: axis(n).title for n in names},
        "measures": {f"{n}_text": measure_title(n) for n in shown},
        "rows": rows.head(LISTED_CELLS).to_dict("records"),
        "more": max(len(rows) - LISTED_CELLS, 0),
    }


def converged_curves(run: RunTables) -> str:
    """Return how many curves converged, in words; empty if unknown."""
    known = run.pairs["curve_converged"].dropna() if "curve_converged" in run.pairs else []
    return f"{int(sum(known)):,} of {phases.plural(len(known), 'curve')} converged" if len(known) else ""


def curve_budget(run: RunTables) -> str:
    """Return the curve budget in words. Mode connectivity is comparable at equal budgets, or if converged."""
    if "curve_steps" in run.pairs and run.pairs["curve_steps"].notna().any():
        steps = sorted({int(s) for s in run.pairs["curve_steps"].dropna() if s > 0})
        if len(steps) == 1:
            return f"{steps[0]:,} steps per curve"
        return f"{steps[0]:,} to {steps[-1]:,} steps per curve" if steps else "no curves"
    plan = mapping(mapping(mapping(run.info.get("space")).get("measures")).get("connectivity"))
    return f"{plan['steps']} steps per curve" if "steps" in plan else "curve budget not recorded"


def machine(run: RunTables) -> str:
    """Describe the machine as ``Linux, 2 CPUs, 8 GB memory``; unknown parts are listed by name."""
    formats = {"platform": "{}", "cpus": "{} CPUs", "memory_gb": "{} GB memory", "gpus": "{} GPUs"}
    parts = mapping(run.info.get("machine")).items()
    return ", ".join(formats.get(k, f"{k} {{}}").format(v) for k, v in parts if v not in (None, "", 0, []))


def gpu(run: RunTables) -> str:
    """Describe the GPUs of the run and how they computed; empty if CPUs did."""
    cards = [
        f"{name} ({', '.join(f'{key} {of[key]}' for key in ('driver', 'cuda') if key in of)})"
        for name, of in ((name, mapping(of)) for name, of in mapping(run.info.get("cards")).items())
    ]
    if not cards:
        return ""
    names = run.info.get("unrepeatable") or []
    repeated = mapping(mapping(run.info.get("space")).get("resources")).get("deterministic", True)
    again = "Kernels give the same bits each time" if repeated else "The bits of kernels may differ each time"
    but = f", except {', '.join(map(str, names))}" if names else ""
    precision = "Training may round convolutions to TF32; measures compute in IEEE float32"
    return f"{', '.join(cards)}. {precision}. {again}{but}."


def failure_table(run: RunTables) -> dict[str, Any]:
    """Return the number ``n`` of models and pairs that failed, diverged or have an error.

    ``rows`` lists at most LISTED_FAILURES of them.
    """
    failed = []
    for table, kind in ((run.models, "model"), (run.pairs, "pair")):
        if "status" not in table:
            continue
        names = [n for n in phases.axis_names(run.axes) if n in table]
        wrong = table["status"] != "ok"
        if "error" in table:  # pairs with one failed measure have an error too
            wrong |= table["error"].fillna("") != ""
        for r in table[wrong].to_dict("records"):
            where = [f"{axis(n).title} {r[n]}" for n in names]
            if kind == "model":
                where.append(f"seed {r.get('seed', '?')}")
            else:
                where.append(f"seeds {r.get('seed_a', '?')} – {r.get('seed_b', '?')}")
            error = r.get("error") or ""
            failed.append({"what": kind, "where": ", ".join(where), "status": r["status"], "error": error})
    return {"rows": failed[:LISTED_FAILURES], "n": len(failed)}


def ranked(cells: pd.DataFrame, cuts: Mapping[str, phases.Cut]) -> list[dict[str, Any]]:
    """Return rank correlations of measures with test accuracy, over all and (``_low``) low-loss cells."""
    names = [*phases.LOCAL, *phases.GLOBAL]
    fitted = cells[phases.column(cells, "train_loss") < cuts["train_loss"].value]
    every = phases.rank_correlations(cells, names, [phases.ACCURACY])
    low = phases.rank_correlations(fitted, names, [phases.ACCURACY])
    return list(every.merge(low, on=["x", "y"], how="left", suffixes=("", "_low")).to_dict("records"))


def axis_ranks(cells: pd.DataFrame, names: list[str]) -> dict[str, dict[str, float]]:
    """Return rank correlations of axes with measures, by axis and by measure."""
    pairs = phases.rank_correlations(cells, names, RANKED_WITH_AXES)
    table = pairs.pivot(index="y", columns="x", values="rho")
    return table.reindex(index=pairs["y"].unique(), columns=pairs["x"].unique()).to_dict()


def mapping(value: Any) -> dict[str, Any]:
    """Return the value as a dictionary, empty if it is not one: parts of ``run.info`` may be missing."""
    return dict(value) if isinstance(value, Mapping) else {}
