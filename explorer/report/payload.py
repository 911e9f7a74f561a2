"""Data of a page: rounded columns, each number stored once, safe inside a <script> element."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases import axis_names, words_of
from explorer.phases.numbers import format_setting
from explorer.results import RunTables

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
CELLS_AT_ONCE = 500  # whose details are made at a time
HISTORY_POINTS = 60  # a line of two hundred pixels cannot show more


def script_json(value: Any) -> str:
    """Return JSON that cannot end its script element or open a comment in it; NaN becomes null."""
    text = JSON.encode(value)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def json_of(texts: Mapping[str, str]) -> str:
    """Return a JSON object whose values are given as JSON."""
    return f"{{{','.join(f'{script_json(key)}:{text}' for key, text in texts.items())}}}"


def columns(table: pd.DataFrame, digits: int = 6, exact: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Return a table as ``{column: values}``, with missing numbers as None.

    Numbers have ``digits`` significant digits; the columns ``exact`` keep all digits.
    """
    return {str(name): _values(table[name], 17 if name in exact else digits) for name in table}


def details(run: RunTables, cells: pd.DataFrame) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each ``cell_id`` with its models, pairs, training histories, curves and spectra, all as JSON.

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
    for some in _parts(models, pairs, run.epochs, run.curves):
        yield from _details(*some).items()


def _parts(
    models: pd.DataFrame, pairs: pd.DataFrame, epochs: pd.DataFrame, curves: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, ...]]:
    """Yield the rows of some cells at a time, so that the details of many cells need little memory."""
    if len({*models.get("cell_id", ()), *pairs.get("cell_id", ())}) <= CELLS_AT_ONCE:
        yield models, pairs, epochs, curves
        return
    every = pd.concat([table["cell_id"] for table in (models, pairs) if "cell_id" in table]).dropna().unique()
    part = pd.Series(np.arange(len(every)) // CELLS_AT_ONCE, index=np.sort(every))

    def of(table: pd.DataFrame, key: str, parts: pd.Series) -> np.ndarray:
        """Return the part of each row; all in part 0 if the table lacks the column."""
        return table[key].map(parts).to_numpy() if key in table else np.zeros(len(table))

    def along(table: pd.DataFrame, key: str) -> pd.Series:
        """Return the part of each model, from the cell of its first row in a table."""
        first = table.drop_duplicates(key) if key in table else table.iloc[:0]
        return pd.Series(of(first, "cell_id", part), index=first.get(key))

    places = (
        of(models, "cell_id", part),
        of(pairs, "cell_id", part),
        of(epochs, "model_id", along(models, "model_id")),
        of(curves, "model_a", along(pairs, "model_a")),
    )
    for number in range(int(part.max()) + 1):
        tables = zip((models, pairs, epochs, curves), places, strict=True)
        yield tuple(table[place == number] for table, place in tables)


def _details(
    models: pd.DataFrame, pairs: pd.DataFrame, epochs: pd.DataFrame, curves: pd.DataFrame
) -> dict[str, dict[str, str]]:
    """Return what ``details`` yields, of the cells in these tables."""
    out: dict[str, dict[str, str]] = {}
    for key, table, wanted in (("models", models, MODEL_COLUMNS), ("pairs", pairs, PAIR_COLUMNS)):
        if "cell_id" not in table:
            continue
        ordered = table.dropna(subset="cell_id").sort_values("cell_id", kind="stable")
        shown = columns(ordered[[c for c in wanted if c in ordered]], 4)
        groups = _groups(ordered, ["cell_id"])
        ids = ordered["cell_id"].iloc[[i for i, _ in groups]].astype(str)
        for cell, (i, j) in zip(ids, groups, strict=True):
            out.setdefault(cell, {})[key] = script_json({name: v[i:j] for name, v in shown.items()})
    by_key = {
        "c": _curve_lines(curves, pairs),
        "h": _history_lines(epochs, models),
        "s": _spectrum_lines(models),
    }
    for key, lines in by_key.items():
        of_cells: dict[str, list[str]] = {}
        for cell, line in lines:
            of_cells.setdefault(cell, []).append(line)
        for cell, texts in of_cells.items():
            out.setdefault(cell, {})[key] = f"[{','.join(texts)}]"
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
    other = pairs[pairs["cell_id_b"] != pairs["cell_id"]]
    if other.empty:
        return pairs
    at, seeds = cells.set_index("cell_id")[names], pairs["seed_b"].astype(object)
    for row in other.index[other["cell_id"].isin(at.index) & other["cell_id_b"].isin(at.index)]:
        here, there = (at.loc[pairs.at[row, cell]] for cell in ("cell_id", "cell_id_b"))
        place = ", ".join(f"{words_of(n)} {format_setting(there[n])}" for n in names if here[n] != there[n])
        seeds[row] = f"{seeds[row]} ({place})"
    return pairs.assign(seed_b=seeds)


def _curve_lines(curves: pd.DataFrame, pairs: pd.DataFrame) -> list[tuple[str, str]]:
    if not {"model_a", "model_b", "t"} <= set(curves) or not {"model_a", "model_b", "cell_id"} <= set(pairs):
        return []
    known = pairs[["model_a", "model_b", "cell_id"]].copy()
    seeds = {"seed_a", "seed_b"} <= set(pairs)
    known["pair"] = (
        [f"{a} – {b}" for a, b in zip(pairs["seed_a"], pairs["seed_b"], strict=True)] if seeds else "?"
    )
    known["place"] = known.groupby(["cell_id", "model_a", "model_b"], dropna=False).ngroup()
    shown = ["t", "train_error_percent", "train_loss"]
    drawn = curves[["model_a", "model_b", *(n for n in ("path", *shown) if n in curves)]]
    points = drawn.merge(known, on=["model_a", "model_b"], how="inner")
    if "path" not in points:
        points["path"] = "bezier"
    points = points.sort_values(["place", "path", "t"], kind="stable")
    series = _series(points, *shown)
    groups = _groups(points, ["place", "path"])
    first = points.iloc[[i for i, _ in groups]]
    cells, names = first["cell_id"].astype(str), (_json(first[c].astype(str)) for c in ("pair", "path"))
    return [
        (cell, _line([pair, path], [s[i:j] for s in series]))
        for cell, pair, path, (i, j) in zip(cells, *names, groups, strict=True)
    ]


def _history_lines(epochs: pd.DataFrame, models: pd.DataFrame) -> list[tuple[str, str]]:
    if not {"model_id", "step"} <= set(epochs) or not {"model_id", "cell_id"} <= set(models):
        return []
    known = models[["model_id", "cell_id"]].assign(
        line=models["seed"] if "seed" in models else range(len(models)),
        place=models.groupby(["cell_id", "model_id"], dropna=False).ngroup(),
    )
    shown = ["step", "train_loss", "test_accuracy_percent"]
    points = epochs[["model_id", *(n for n in shown if n in epochs)]].merge(known, on="model_id", how="inner")
    points = points.sort_values(["place", "step"], kind="stable")
    series, lines = _series(points, *shown), []
    groups = _groups(points, ["place"])
    first = points.iloc[[i for i, _ in groups]]
    for (i, j), cell, seed in zip(groups, first["cell_id"].astype(str), _json(first["line"], 6), strict=True):
        drawn = range(i, j)
        if j - i > HISTORY_POINTS:
            drawn = np.unique(np.linspace(i, j - 1, HISTORY_POINTS).astype(int))
        lines.append((cell, _line([seed], [s[drawn] for s in series])))
    return lines


def _spectrum_lines(models: pd.DataFrame) -> list[tuple[str, str]]:
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
        lines.append((cell, script_json([_plain(seed), *(_values(v, 4) for v in kept)])))
    return lines


def _groups(table: pd.DataFrame, keys: Sequence[str]) -> list[tuple[int, int]]:
    """Return first row and end of each group in a table sorted by ``keys``."""
    starts = np.flatnonzero(~table.duplicated(keys)).tolist()
    return list(itertools.pairwise([*starts, len(table)]))


def _series(points: pd.DataFrame, *names: str) -> list[np.ndarray]:
    """Return the values of columns as JSON; those of a missing column are null."""
    nothing = pd.Series(np.nan, index=points.index)
    return [_json(points.get(n, nothing)) for n in names]


def _line(names: list[str], series: list[np.ndarray]) -> str:
    """Return the JSON of a line: its names, and the values of each series."""
    lists = [f"[{','.join(values)}]" for values in series]
    return f"[{','.join([*names, *lists])}]"


def _json(column: pd.Series, digits: int = 4) -> np.ndarray:
    """Return the values of a column as JSON; many are equal, and each is made once."""
    if pd.api.types.is_float_dtype(column):
        column = pd.Series(_rounded(column.to_numpy(dtype=float, na_value=np.nan), digits))
    codes, different = pd.factorize(column, use_na_sentinel=False)
    values = _values(pd.Series(different), digits)
    numeric = pd.api.types.is_numeric_dtype(column)  # without commas of its own
    texts = script_json(values)[1:-1].split(",") if numeric else [script_json(value) for value in values]
    return np.array(texts, dtype=object)[codes]


def _values(column: pd.Series, digits: int) -> list[Any]:
    if pd.api.types.is_bool_dtype(column):
        return column.tolist()
    if pd.api.types.is_integer_dtype(column) and not column.hasnans:
        return column.tolist()
    if pd.api.types.is_numeric_dtype(column):
        return _plain_numbers(_rounded(column.to_numpy(dtype=float, na_value=np.nan), digits))
    if isinstance(column.dtype, pd.StringDtype):
        return column.astype(object).where(column.notna(), None).tolist()
    return [None if v is None or v is pd.NA or v is pd.NaT or v != v else _plain(v) for v in column]


def _rounded(numbers: np.ndarray, digits: int) -> np.ndarray:
    """Return numbers with so many significant digits; NaN if they are not finite."""
    short, sure = _shortened(numbers, digits)
    for at in np.flatnonzero(np.isfinite(numbers) & ~sure):
        short[at] = float(f"{numbers[at]:.{digits}g}")
    return np.where(np.isfinite(numbers), short, np.nan)


def _plain_numbers(numbers: np.ndarray) -> list[float | int | None]:
    """Return whole numbers as integers, and NaN as None."""
    out: list[float | int | None] = numbers.tolist()
    with np.errstate(invalid="ignore"):
        whole = (numbers == np.trunc(numbers)) & (np.abs(numbers) < 1e15)
    for at in np.flatnonzero(whole):
        out[at] = int(numbers[at])
    for at in np.flatnonzero(np.isnan(numbers)):
        out[at] = None
    return out


def _shortened(numbers: np.ndarray, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers with so many significant digits, and of which this is sure in spite of rounding errors.

    The result is the quotient or product of two whole numbers that floats hold, so it is the float that is
    nearest to the decimal number.
    """
    size = np.abs(numbers)
    sure = (size > 1e-15) & (size < 1e15)
    places = digits - 1 - np.floor(np.log10(np.where(sure, size, 1.0))).astype(int)
    sure &= (np.abs(places) <= 22) & (digits <= 15)
    up, down = 10.0 ** np.clip(places, 0, 22), 10.0 ** np.clip(-places, 0, 22)
    scaled = np.where(sure, numbers, 0.0) * up / down
    sure &= np.abs(scaled - np.floor(scaled) - 0.5) > 1e-6
    return np.where(numbers == 0, 0.0, np.rint(scaled) / up * down), sure | (numbers == 0)


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


JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)
