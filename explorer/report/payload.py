"""Data of a page: rounded columns, each number stored once, safe inside a <script> element."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases import axis_names, words_of
from explorer.phases.numbers import setting
from explorer.results import Run

MODEL_COLUMNS = (
    "model_id",
    "seed",
    "status",
    "error",
    "steps",
    "train_loss",
    "train_error_percent",
    "test_loss",
    "test_accuracy_percent",
    "bleu",
    "test_perplexity",
    "hessian_top_eigenvalue",
    "hessian_trace",
    "hessian_trace_stderr",
    "parameters",
    "wall_s",
)
PAIR_COLUMNS = (
    "seed_a",
    "seed_b",
    "status",
    "error",
    "mode_connectivity",
    "loss_barrier",
    "linear_barrier",
    "cka",
    "l2_distance",
)
HISTORY_POINTS = 60  # a line of two hundred pixels cannot show more


def script_json(value: Any) -> str:
    """Return JSON that cannot end its script element or open a comment in it; NaN becomes null."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def columns(table: pd.DataFrame, digits: int = 6, exact: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Return a table as ``{column: values}``, with missing numbers as None.

    Numbers have ``digits`` significant digits; the columns ``exact`` keep all digits.
    """
    return {str(name): _values(table[name], 17 if name in exact else digits) for name in table}


def details(run: Run, cells: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return by ``cell_id``: models, pairs, training histories, curves and spectra.

    Curves, histories and spectra are one array per line, in the order of the keys ``c`` (curves: pair,
    path, t, training error, training loss), ``h`` (histories: seed, step, training loss, test accuracy) and
    ``s`` (spectra: seed, eigenvalues, their shares).
    """
    names = [n for n in axis_names(run.axes) if n in cells]
    models, pairs = _with_cell(run.models, cells, names), _with_cell(run.pairs, cells, names)
    if "cell_id" not in pairs and {"model_a"} <= set(pairs) and {"model_id", "cell_id"} <= set(models):
        pairs = pairs.merge(
            models[["model_id", "cell_id"]].rename(columns={"model_id": "model_a"}), on="model_a", how="left"
        )
    pairs = _second_placed(pairs, cells, names)
    out: dict[str, dict[str, Any]] = {}
    for key, table, wanted in (("models", models, MODEL_COLUMNS), ("pairs", pairs, PAIR_COLUMNS)):
        if "cell_id" not in table:
            continue
        shown = columns(table[[c for c in wanted if c in table]], 4)
        for cell, rows in table.groupby("cell_id").indices.items():
            out.setdefault(str(cell), {})[key] = {name: [v[i] for i in rows] for name, v in shown.items()}
    by_key = {
        "c": _curve_lines(run.curves, pairs),
        "h": _history_lines(run.epochs, models),
        "s": _spectrum_lines(models),
    }
    for key, lines in by_key.items():
        for cell, line in lines:
            out.setdefault(cell, {}).setdefault(key, []).append(line)
    return out


def _with_cell(table: pd.DataFrame, cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return the table with the ``cell_id`` that ``cells`` has for the same settings."""
    if not names or not set(names) <= set(table):
        return table
    return table.drop(columns=[c for c in ("cell_id",) if c in table]).merge(
        cells[["cell_id", *names]], on=names, how="left"
    )


def _second_placed(pairs: pd.DataFrame, cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return pairs with the other cell's settings after the second seed, such as ``0 (batch size 16)``."""
    if not {"cell_id", "cell_id_b", "seed_b"} <= set(pairs):
        return pairs
    at, seeds = cells.set_index("cell_id")[names], pairs["seed_b"].astype(object)
    known = pairs["cell_id"].isin(at.index) & pairs["cell_id_b"].isin(at.index)
    for row in pairs.index[known & (pairs["cell_id_b"] != pairs["cell_id"])]:
        here, there = (at.loc[pairs.at[row, cell]] for cell in ("cell_id", "cell_id_b"))
        place = ", ".join(f"{words_of(n)} {setting(there[n])}" for n in names if here[n] != there[n])
        seeds[row] = f"{seeds[row]} ({place})"
    return pairs.assign(seed_b=seeds)


def _curve_lines(curves: pd.DataFrame, pairs: pd.DataFrame) -> list[tuple[str, list[Any]]]:
    if not {"model_a", "model_b", "t"} <= set(curves) or not {"model_a", "model_b", "cell_id"} <= set(pairs):
        return []
    known = pairs[["model_a", "model_b", "cell_id"]].copy()
    seeds = {"seed_a", "seed_b"} <= set(pairs)
    known["pair"] = (
        [f"{a} – {b}" for a, b in zip(pairs["seed_a"], pairs["seed_b"], strict=True)] if seeds else "?"
    )
    points = curves.merge(known, on=["model_a", "model_b"], how="inner")
    if "path" not in points:
        points["path"] = "bezier"
    points = points.sort_values(["cell_id", "model_a", "model_b", "path", "t"], kind="stable")
    series = _series(points, "t", "train_error_percent", "train_loss")
    cells, names, paths = (points[c].astype(str).tolist() for c in ("cell_id", "pair", "path"))
    groups = _groups(points, ["cell_id", "model_a", "model_b", "path"])
    return [(cells[i], [names[i], paths[i], *(s[i:j] for s in series)]) for i, j in groups]


def _history_lines(epochs: pd.DataFrame, models: pd.DataFrame) -> list[tuple[str, list[Any]]]:
    if not {"model_id", "step"} <= set(epochs) or not {"model_id", "cell_id"} <= set(models):
        return []
    known = models[["model_id", "cell_id"]].assign(
        line=models["seed"] if "seed" in models else range(len(models))
    )
    points = epochs.merge(known, on="model_id", how="inner").sort_values(
        ["cell_id", "model_id", "step"], kind="stable"
    )
    series = _series(points, "step", "train_loss", "test_accuracy_percent")
    cells, seeds = points["cell_id"].astype(str).tolist(), _values(points["line"], 6)
    lines = []
    for i, j in _groups(points, ["cell_id", "model_id"]):
        drawn = np.unique(np.linspace(i, j - 1, HISTORY_POINTS).astype(int)).tolist()
        lines.append((cells[i], [seeds[i], *([s[k] for k in drawn] for s in series)]))
    return lines


def _spectrum_lines(models: pd.DataFrame) -> list[tuple[str, list[Any]]]:
    """Return the spectral density of the Hessian of each model that has one, without nodes of weight 0."""
    if not {"density_nodes", "density_weights", "cell_id"} <= set(models):
        return []
    lines = []
    seeds = models["seed"] if "seed" in models else range(len(models))
    columns = (models["cell_id"].astype(str), seeds, models["density_nodes"], models["density_weights"])
    for cell, seed, nodes, weights in zip(*columns, strict=True):
        if np.ndim(nodes) != 1 or np.ndim(weights) != 1:
            continue
        known = np.asarray(weights, dtype=float) > 1e-9
        kept = [pd.Series(np.asarray(v, dtype=float)[known]) for v in (nodes, weights)]
        lines.append((cell, [_plain(seed), *(_values(v, 4) for v in kept)]))
    return lines


def _groups(table: pd.DataFrame, keys: Sequence[str]) -> Iterable[tuple[int, int]]:
    """Return first row and end of each group in a table sorted by ``keys``."""
    starts = np.flatnonzero(~table.duplicated(keys)).tolist()
    return itertools.pairwise([*starts, len(table)])


def _series(points: pd.DataFrame, *names: str) -> list[list[Any]]:
    """Return the values of columns; those of a missing column are None."""
    return [_values(points[n], 4) if n in points else [None] * len(points) for n in names]


def _values(column: pd.Series, digits: int) -> list[Any]:
    if pd.api.types.is_bool_dtype(column):
        return column.tolist()
    if pd.api.types.is_integer_dtype(column) and not column.hasnans:
        return [int(v) for v in column]
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=float, na_value=np.nan)
        return [_rounded(v, digits) if math.isfinite(v) else None for v in numbers.tolist()]
    return [None if v is None or v is pd.NA or v is pd.NaT or v != v else _plain(v) for v in column]


def _rounded(value: float, digits: int) -> float | int:
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
