"""Findings of a run in plain sentences, written from its classified cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases.aggregate import GAP, TRAIN, TWO_SIDED, axis_names, column, rank_correlations
from explorer.phases.cuts import MISSED, Cut, noise_of, reading_of, sort_cells
from explorer.phases.numbers import (
    format_amount,
    format_interval,
    format_mean,
    format_number,
    format_rho,
    format_setting,
    words_of,
)
from explorer.units import plural

LOCAL = ("train_loss", "hessian_top_eigenvalue", "hessian_trace")
GLOBAL = (
    "mode_connectivity",
    "curve_peak_error_percent",
    "loss_barrier",
    "linear_barrier",
    "linear_loss_barrier",
    "cka",
    "cka_logits",
    "disagreement_percent",
    "l2_distance",
)
ACCURACY = "test_accuracy_percent"
FEW_CELLS = 10
OVERFITS = 5.0  # points of test error above training error
CERTAIN_PHASE = 0.8


def findings(
    cells: pd.DataFrame,
    cuts: Mapping[str, Cut],
    axes: Mapping[str, Sequence[str]],
    claims: Sequence[Any] = (),
    *,
    noise: float = 0.0,
) -> list[str]:
    """Return the findings of a run as a few plain sentences, written from its classified cells.

    ``claims`` is the result of ``check_claims``; the claims that hold are named. ``noise`` is the share of
    noisy training labels, if it is the same for all cells.
    """
    names = [n for n in axis_names(axes) if n in cells]
    held = [claim for claim in claims if claim.verdict == "holds"]
    said = any(claim.name == "width-connects" for claim in held)
    sentences = [
        _best(cells, names, noise),
        _held(held),
        _barriers(cells, cuts, names),
        _gap(cells, names),
        _unconfident(cells, cuts),
        _learnt(cells, noise),
        _load(cells, [n for n in axes.get("load", ()) if not (n == "width" and said)]),
        _rankings(cells),
        _failures(cells),
    ]
    return [s for s in sentences if s]


def _held(held: Sequence[Any]) -> str:
    """Name the claims of the paper that hold, each with its effect."""
    if not held:
        return ""
    texts = [
        f"{_inside(claim.statement)} ({format_amount(claim.effect, claim.unit)}, "
        f"{format_interval(claim.low, claim.high)})"
        for claim in held
    ]
    which = "1 claim of the paper holds" if len(held) == 1 else f"{len(held)} claims of the paper hold"
    return f"{which} here: {'; '.join(texts)}."


def _gap(cells: pd.DataFrame, names: list[str]) -> str:
    """Describe where test error exceeds training error most, and where models overfit."""
    gap, train = column(cells, GAP), column(cells, TRAIN)
    over = gap >= np.maximum(OVERFITS, train)
    n = int(gap.notna().sum())
    if not over.any():
        return ""
    worst = cells.iloc[int(np.nanargmax(gap))]
    limit = f"test error at least {format_number(OVERFITS)} points above training error, and at least twice"
    train, test = (format_number(v, 1) for v in (float(worst[TRAIN]), 100 - float(worst[ACCURACY])))
    return (
        f"Models overfit in {int(over.sum())} of {plural(n, 'cell')} ({limit} as large), most at "
        f"{_where(worst, names)}: training error {train} %, test error {test} %."
    )


def _inside(sentence: str) -> str:
    """Return a sentence as part of another one: without full stop, and without capital except in CKA."""
    first = sentence[:1] if sentence[1:2].isupper() else sentence[:1].lower()
    return first + sentence[1:].removesuffix(".")


def _unconfident(cells: pd.DataFrame, cuts: Mapping[str, Cut]) -> str:
    n = int(sort_cells(cells, cuts).without_confidence.sum())
    if not n:
        return ""
    limit = format_number(float(cuts["train_loss"].fitted_error or 0))
    text = f"training error below {limit} %, but a training loss above the cut"
    if n == 1:
        return f"1 cell fits its labels without confidence ({text}), so its phase is uncertain."
    return f"{n} cells fit their labels without confidence ({text}), so their phases are uncertain."


def _learnt(cells: pd.DataFrame, noise: float) -> str:
    """Count the cells with high loss that fit about all but the noisy labels."""
    share, error = noise_of(cells, noise), column(cells, TRAIN)
    high = cells["phase"].isin(["I", "II"]) if "phase" in cells else pd.Series(False, index=cells.index)
    n = int((high & (share > 0) & (error >= 50 * share) & (error - 100 * share < MISSED)).sum())
    if not n:
        return ""
    return (
        f"In {n} of {plural(int(high.sum()), 'cell')} of phases I and II, training error is at most "
        f"{format_number(MISSED)} points above the share of noisy labels. So the loss is high because of "
        "these labels, and the models are not underfitted."
    )


def _best(cells: pd.DataFrame, names: list[str], noise: float) -> str:
    accuracy = column(cells, ACCURACY)
    if not accuracy.notna().any():
        return "No test accuracy has been measured yet, so it is unknown which cells generalise."
    first = int(np.nanargmax(accuracy))
    best = cells.iloc[first]
    n_models = int(best["n_models"])  # 0: a user's table of cells without this number
    models = f" ({plural(n_models, 'model')})" if n_models else ""
    text = f"The best test accuracy, {format_mean(best, ACCURACY, 1)} %{models}, is at {_where(best, names)}"
    if phase := best.get("phase", ""):
        share = float(noise_of(cells, noise).iloc[first])
        text += f", in phase {phase} ({reading_of(phase, float(column(cells, TRAIN).iloc[first]), share)})"
        likely = best.get("phase_probability", np.nan)
        text += "; this phase is uncertain" if likely < CERTAIN_PHASE else ""
        text += "; the certainty of this phase is unknown" if np.isnan(likely) else ""
    known = cells["among_best"].notna() if "among_best" in cells else pd.Series(False, index=cells.index)
    close = int(cells["among_best"].fillna(False).sum()) - 1 if known.any() else 0
    tied = int((accuracy == accuracy.iloc[first]).sum()) - 1
    if close > 0:
        text += f"; {plural(close, 'other cell')} cannot be told from it"
    elif known.any():
        text += f"; it is surely better than {'the other cell' if len(cells) == 2 else 'all other cells'}"
    elif tied:
        text += f"; {plural(tied, 'other cell')} {'has' if tied == 1 else 'have'} the same"
    if 0 < n_models < 3:
        text += "; with so few models per cell, the best cell may be best by chance"
    return text + "."


def _barriers(cells: pd.DataFrame, cuts: Mapping[str, Cut], names: list[str]) -> str:
    mc, cut = column(cells, "mode_connectivity"), cuts["connected"].value
    n = int(mc.notna().sum())
    if n == 0:
        return "No curves between models have been measured yet, so the cells have no phases."
    behind = cells[mc < -cut]
    if behind.empty:
        none = f"below −{format_number(cut)} points{f' in none of {n} cells' if n > 1 else ''}"
        text = f"No barrier: mode connectivity is {'' if n > 1 else 'not '}{none}"
    else:
        worst = cells.iloc[int(np.nanargmin(mc))]
        deepest = f"{format_mean(worst, 'mode_connectivity', 1)} points, at {_where(worst, names)}"
        low, of = f"(mode connectivity below −{format_number(cut)} points)", plural(n, "cell")
        text = f"There is a barrier {low} in 1 of {of}: {deepest}"
        if len(behind) > 1:
            where = _extent(behind, cells[mc.notna()], names)
            text = f"There are barriers {low} in {len(behind)} of {of}{where}; the deepest is {deepest}"
    error, loss = column(cells, "train_error_percent"), column(cells, "loss_barrier")
    trivial = (error < 0.05) & (mc.abs() <= cut)
    if trivial.sum() >= n / 4:
        text += (
            f". In {plural(int(trivial.sum()), 'cell')}, training error is 0, so mode connectivity is "
            "trivially near 0"
        )
        if loss[trivial].notna().any():
            there = cells.iloc[int(np.nanargmax(loss.where(trivial)))]
            text += (
                f": use the loss barrier there (at most {format_mean(there, 'loss_barrier')} nats, "
                f"at {_where(there, names)})"
            )
    return text + "."


def _load(cells: pd.DataFrame, load: list[str]) -> str:
    found = rank_correlations(cells, load, ["mode_connectivity"]).dropna(subset=["rho"])
    if found.empty:
        return ""
    parts = []
    for r in found.itertuples():
        rho = float(r.rho)  # type: ignore[arg-type]
        how = "hardly changes with" if abs(rho) < 0.3 else "rises with" if rho > 0 else "falls with"
        parts.append(f"{how} {words_of(str(r.x))} (Spearman {format_rho(rho)}, n = {r.n} cells)")
    few = "; with so few cells, this may be chance" if found["n"].max() < FEW_CELLS else ""
    return f"Connectivity (−|mode connectivity|) {' and '.join(parts)}{few}."


def _rankings(cells: pd.DataFrame) -> str:
    # Variants of other measures; they would fill the list.
    close_kin = ("cka_logits", "linear_loss_barrier", "disagreement_percent")
    found = rank_correlations(cells, [n for n in (*LOCAL, *GLOBAL) if n not in close_kin], [ACCURACY]).dropna(
        subset=["rho"]
    )
    if found.empty:
        return ""
    found = found.iloc[np.argsort(-found["rho"].abs().to_numpy(), kind="stable")]
    ranked = [
        f"{f'−|{words_of(r.x)}|' if r.x in TWO_SIDED else words_of(str(r.x))} ({format_rho(float(r.rho))})"
        for r in found.itertuples()
    ]
    text = f"Strongest rank correlations with test accuracy over cells: {', '.join(ranked[:3])}"
    if len(ranked) > 3:
        text += f"; weakest: {ranked[-1]}"
    n = int(found["n"].max())
    return text + f" (Spearman, n = {n}{': too few to rely on' if n < FEW_CELLS else ''})."


def _failures(cells: pd.DataFrame) -> str:
    ok, lost = int(column(cells, "n_models").sum()), int(column(cells, "n_diverged").sum())
    if ok + lost == 0:
        known = any(column(cells, n).notna().any() for n in (ACCURACY, *LOCAL, *GLOBAL))
        return "" if known else "No model has been trained yet."
    if lost == 0:
        return f"None of {ok:,} models diverged or failed." if ok > 1 else "The model did not diverge."
    empty = int(((cells["n_models"] == 0) & (cells["n_diverged"] > 0)).sum())
    text = f"{lost} of {plural(ok + lost, 'model')} diverged or failed and are left out of all means"
    return text + (
        f"; {plural(empty, 'cell')} {'has' if empty == 1 else 'have'} no model left." if empty else "."
    )


def hessian_contrast(cells: pd.DataFrame, cuts: Mapping[str, Cut]) -> str:
    """Compare the Hessian of low-loss and high-loss cells in a sentence; empty without a Hessian."""
    loss = column(cells, "train_loss")
    for name in ("hessian_trace", "hessian_top_eigenvalue"):
        values = column(cells, name)
        low, high = (
            values[loss < cuts["train_loss"].value].dropna(),
            values[loss >= cuts["train_loss"].value].dropna(),
        )
        if values.notna().sum() < 2:
            continue
        if low.empty or high.empty:
            where = "on one side of the loss cut, so they cannot be compared"
            return f"All cells with a {words_of(name)} lie {where}."
        if low.median() <= 0 or high.median() <= 0:  # no ratio; rare for a top eigenvalue
            continue
        rho = rank_correlations(cells, [name], ["train_loss"])["rho"].iloc[0]
        ratio = float(high.median() / low.median())
        larger, smaller = format_number(ratio), format_number(1 / ratio)
        ranked = f" (Spearman with training loss {format_rho(float(rho))})" if pd.notna(rho) else ""
        size = f"{larger} times larger" if ratio >= 1 else f"{smaller} times smaller"
        if larger == smaller:
            return f"The median {words_of(name)} is the same on both sides of the loss cut{ranked}."
        return (
            f"The median {words_of(name)} is {size} in the {plural(len(high), 'high-loss cell')} than in the "
            f"{plural(len(low), 'low-loss cell')}{ranked}."
        )
    return ""


def _where(row: pd.Series, names: list[str]) -> str:
    settings = [f"{words_of(n)} {format_setting(row[n])}" for n in names]
    return ", ".join(settings) or f"cell {row.get('cell_id', '')}"


def _extent(some: pd.DataFrame, every: pd.DataFrame, names: list[str]) -> str:
    """Describe which part of each axis some cells cover; an axis they span fully is not mentioned."""
    sides = []
    for name in names:
        here, all_ = column(some, name).dropna(), column(every, name).dropna()
        if here.empty or (here.min() == all_.min() and here.max() == all_.max()):
            continue
        if here.min() == here.max():
            sides.append(f"{words_of(name)} {format_setting(here.max())}")
            continue
        if here.max() < all_.max():
            sides.append(f"{words_of(name)} up to {format_setting(here.max())}")
        if here.min() > all_.min():
            sides.append(f"{words_of(name)} from {format_setting(here.min())}")
    return f", all at {' and '.join(sides)}" if sides else ""
