"""Cells from models and pairs: one row per grid point, with means, spreads and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from explorer.measures.tables import AVERAGED_MODELS, AVERAGED_PAIRS, CURVE_COLUMNS
from explorer.settings import InputError, listed

TWO_SIDED = ("mode_connectivity",)
TEST, TRAIN, GAP = "test_accuracy_percent", "train_error_percent", "generalization_gap"


def axis_names(axes: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the swept settings, load before temperature, each once."""
    return list(dict.fromkeys([*axes.get("load", ()), *axes.get("temperature", ())]))


def cells(models: pd.DataFrame, pairs: pd.DataFrame, axes: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return one row per grid point: the axes, ``cell_id``, counts, and mean and spread of each measure.

    The mean of a measure is under its own name, its standard deviation (ddof 1; NaN below two values) under
    ``<name>_std``. Only rows with status ``ok`` count; without a status column, all rows count. If all models
    of a cell failed, the cell keeps its row, with ``n_models`` 0. Columns: ``explorer.columns.CELLS``.
    """
    names = axis_names(axes)
    models = _located(models, names)
    if {"model_a"} <= set(pairs) and not set(names) <= set(pairs) and "model_id" in models:
        places = models[["model_id", *names]].rename(columns={"model_id": "model_a"})
        pairs = pairs.drop(columns=[n for n in names if n in pairs]).merge(places, on="model_a", how="left")
    pairs = within_cells(_located(pairs, names))
    keys = names or ["cell_id"]

    ok_models, ok_pairs = ok_rows(models), ok_rows(pairs)
    if {TEST, TRAIN} <= set(models):
        ok_models = ok_models.assign(**{GAP: 100 - column(ok_models, TEST) - column(ok_models, TRAIN)})
    groups = models.groupby(keys, dropna=False)
    table = pd.DataFrame({"n_total": groups.size(), "first_id": groups["cell_id"].first()}).reset_index()
    table = _joined(table, _averages(ok_models, keys, (*AVERAGED_MODELS, GAP), "n_models"), keys)
    table = _joined(table, _averages(ok_pairs, keys, AVERAGED_PAIRS, "n_pairs"), keys)
    curves = ok_pairs[column(ok_pairs, "mode_connectivity").notna()]
    curves = curves.assign(curves_converged_share=column(curves, "curve_converged"))
    table = _joined(table, _averages(curves, keys, ("curves_converged_share",), "n_curves"), keys)
    table = table.drop(columns="curves_converged_share_std")
    for count in ("n_total", "n_models", "n_pairs", "n_curves"):
        table[count] = table[count].fillna(0).astype(int)
    table["n_diverged"] = (table.pop("n_total") - table["n_models"]).clip(lower=0)
    first = table.pop("first_id")
    if names:
        table.insert(0, "cell_id", first.where(first.notna(), _spelled(table, names)))
    front = list(dict.fromkeys(["cell_id", *keys, "n_models", "n_diverged", "n_pairs", "n_curves"]))
    return table[[*front, *(c for c in table if c not in front)]]


def within_cells(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs whose two models are in the same cell; other pairs describe neither cell."""
    if not {"cell_id", "cell_id_b"} <= set(pairs):
        return pairs
    return pairs[pairs["cell_id_b"].isna() | (pairs["cell_id_b"] == pairs["cell_id"])]


def foreign_cells(table: pd.DataFrame, axes: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return a user's table of cells with the id and count columns that Explorer's own table has.

    Missing counts become 0. If a cell has a mean, 0 means "unknown". Phases in the table are dropped and
    found again with this run's cuts.

    Raises:
        InputError: two rows have the same settings.
    """
    found = ("phase", "phase_probability", "second_phase", "near_cut", "among_best")
    table = _located(table.drop(columns=[c for c in found if c in table]), axis_names(axes))
    if {TEST, TRAIN} <= set(table) and GAP not in table:
        table[GAP] = 100 - column(table, TEST) - column(table, TRAIN)
    for count in ("n_models", "n_diverged", "n_pairs"):
        if count not in table:
            table[count] = 0
    table["cell_id"] = table["cell_id"].astype(str)
    doubled = table.duplicated("cell_id", keep=False)
    if doubled.any():
        raise InputError(
            f"the table of cells has {int(doubled.sum())} rows with the same values of the axes "
            f"{listed(axis_names(axes)) or '(none)'}, first at row {int(doubled.to_numpy().argmax()) + 1}"
        )
    return table


def _located(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Add missing axes and ``cell_id`` as columns; a cell without an id is named after its settings."""
    table = table.reset_index(drop=True).copy()  # in one piece: pandas warns of 100 separate columns
    for name in names:
        if name not in table:
            table[name] = pd.Series(np.nan, index=table.index)
    if "cell_id" not in table:
        table["cell_id"] = _spelled(table, names) if names else pd.Series("all", index=table.index)
    return table


def _spelled(table: pd.DataFrame, names: list[str]) -> pd.Series:
    words = [
        [f"{n}={v}" for n, v in zip(names, row, strict=True)] for row in table[names].itertuples(index=False)
    ]
    return pd.Series([",".join(w) for w in words], index=table.index, dtype=object)


def ok_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with status ``ok``; all rows if the table has no status."""
    return table[table["status"].eq("ok")] if "status" in table else table


def _averages(table: pd.DataFrame, keys: list[str], names: Sequence[str], count: str) -> pd.DataFrame:
    present = [n for n in names if n in table]
    numbers = table[present].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    groups = pd.concat([table[keys], numbers], axis=1).groupby(keys, dropna=False)
    out = groups.size().rename(count).to_frame()
    for name in present:
        out[name] = groups[name].mean()
        out[f"{name}_std"] = groups[name].std()
    return out.reset_index()


def _joined(left: pd.DataFrame, right: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Merge all rows of both tables; an empty table, whose columns have no types, adds only columns."""
    every = list(dict.fromkeys([*left, *right]))
    if left.empty or right.empty:
        return (right if left.empty else left).reindex(columns=every)
    return left.merge(right, on=keys, how="outer")


def standard_error(cells: pd.DataFrame, name: str) -> pd.Series:
    """Return the standard error of each cell's mean; NaN if the spread is unknown.

    Pairs share models, so ten pairs of five models are not ten independent draws. This function assumes the
    worst case, in which all spread comes from the models: a pair's value is e_a + e_b, and each e has
    variance v. Let N pairs be formed of n models, each model in d = 2N/n pairs (assumed equal for all models,
    and at least 1). Two pairs that share a model have covariance v. So the mean has variance 4v/n, and the
    sample variance of the pairs has expectation 2v (1 - (d - 1)/(N - 1)).

    CKA also varies with the draw of its inputs, which all pairs of a cell share: its column ``cka_stderr`` is
    added.
    """
    spread, models = column(cells, f"{name}_std"), column(cells, "n_models")
    if name not in AVERAGED_PAIRS:
        return spread / np.sqrt(models.where(models > 0, 1))  # if the number of models is unknown, assume one
    pairs, curves = column(cells, "n_pairs"), column(cells, "n_curves")
    if name in CURVE_COLUMNS:
        pairs = pairs.where(~(curves > 0), curves)
    # With few pairs, some models are in no pair. If the number of models is unknown, assume that no two pairs
    # share a model.
    models = models.where(models > 0, 2 * pairs).clip(upper=2 * pairs)
    each = 2 * pairs / models
    factor = (2 / models) * (pairs - 1) / (pairs - each).where(pairs > each)
    draw = column(cells, f"{name}_stderr").fillna(0)
    return (spread**2 * factor + draw**2) ** 0.5


def rank_correlations(cells: pd.DataFrame, xs: Sequence[str], ys: Sequence[str]) -> pd.DataFrame:
    """Return Spearman's rank correlation over cells, of each x with each y, as ``x``, ``y``, ``rho``, ``n``.

    Mode connectivity is two-sided: models are best connected if it is 0. So −|mode connectivity| is ranked.
    Tied values share their mean rank. ``rho`` is NaN if there are fewer than three cells or if a column is
    constant. Columns that are missing or not numeric are left out.
    """
    rows = []
    for x in xs:
        for y in ys:
            a, b = (-column(cells, n).abs() if n in TWO_SIDED else column(cells, n) for n in (x, y))
            both = a.notna() & b.notna()
            n = int(both.sum())
            if n == 0 or x == y:
                continue
            ranks = np.stack([a[both].rank().to_numpy(), b[both].rank().to_numpy()])  # (2, cells)
            varied = n >= 3 and bool((ranks.std(axis=1) > 0).all())
            rows.append((x, y, float(np.corrcoef(ranks)[0, 1]) if varied else np.nan, n))
    return pd.DataFrame(rows, columns=["x", "y", "rho", "n"])


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """Return a column as floats; all NaN if the column is missing."""
    if name not in table:
        return pd.Series(np.nan, index=table.index, dtype=float)
    if table[name].dtype == float:
        return table[name].copy()
    return pd.to_numeric(table[name], errors="coerce").astype(float)
