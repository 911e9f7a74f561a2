"""Tidy table behind the charts: one row per grid point, also if not run, with numbers also as text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explorer.columns import Column
from explorer.measures.tables import columns_on_pages
from explorer.phases import axis_names, format_number, unsigned_zero
from explorer.report.labels import measure
from explorer.units import axis_value

NOT_RUN, FAILED = "not run", "no model left"
Plane = tuple[str | None, str | None, list[str]]  # horizontal axis, vertical axis, all other axes


def plane(axes: Mapping[str, Sequence[str]]) -> Plane:
    """Return the horizontal axis (load), the vertical axis (temperature), and the other axes.

    Without a temperature axis, a second load axis is vertical, and vice versa.
    """
    load, temperature = list(axes.get("load", ())), list(axes.get("temperature", ()))
    first = (load or temperature or [None])[0]
    others = [n for n in axis_names(axes) if n != first]
    second = next((n for n in temperature if n != first), others[0] if others else None)
    return first, second, [n for n in others if n != second]


def values(cells: pd.DataFrame, name: str) -> list[Any]:
    """Return the values of an axis as Python objects: numbers by size, text in order of appearance."""
    column = cells[name].dropna()
    unique = column.drop_duplicates().tolist()
    return sorted(unique) if pd.api.types.is_numeric_dtype(column) else [str(v) for v in unique]


def measures(cells: pd.DataFrame) -> list[str]:
    """Return the measures that at least one cell has, in display order."""
    return [n for n in columns_on_pages() if n in cells and cells[n].notna().any()]


def with_missing_points(
    cells: pd.DataFrame, axes: Mapping[str, Sequence[str]], space: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the cells, plus a row (``n_models`` 0, no measures) for each missing point of the grid.

    The grid is the product of the axis values in the table and of those that the space lists.
    """
    names = [n for n in axis_names(axes) if n in cells]
    planned = {**_listed(space.get("load")), **_listed(space.get("temperature"))}
    sides = []
    for name in names:
        side, plan = values(cells, name), planned.get(name, [])
        if pd.api.types.is_numeric_dtype(cells[name]) and all(isinstance(v, (int, float)) for v in plan):
            sides.append(sorted({*side, *plan}))
        else:
            sides.append(list(dict.fromkeys([*map(axis_value, plan), *side])))
    if not names or np.prod([float(len(s)) for s in sides]) > 20 * max(len(cells), 100):
        return cells.copy()  # a scattered search, not a grid
    grid = pd.DataFrame(list(itertools.product(*sides)), columns=pd.Index(names))
    words = [n for n in names if not pd.api.types.is_numeric_dtype(cells[n])]
    cells = cells.astype(dict.fromkeys(words, str))
    full = grid.reindex(columns=list(cells)) if cells.empty else grid.merge(cells, on=names, how="left")
    settings = [
        ",".join(f"{n}={v}" for n, v in zip(names, row, strict=True))
        for row in full[names].itertuples(index=False)
    ]
    full["cell_id"] = full["cell_id"].fillna(pd.Series(settings, index=full.index))
    for count in (n for n in ("n_models", "n_diverged", "n_pairs", "n_curves") if n in full):
        full[count] = full[count].fillna(0).astype(int)
    for text in (n for n in ("phase", "second_phase", "near_cut") if n in full):
        full[text] = full[text].fillna("")
    return full


def rounded(cells: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Round settings to six digits, as pages show them, unless two values would become equal."""
    short = {}
    for name in names:
        if name in cells and pd.api.types.is_float_dtype(cells[name]):
            column = cells[name].map(lambda v: float(f"{v:.6g}"))
            if column.nunique() == cells[name].nunique():
                short[name] = column
    return cells.assign(**short)


def with_texts(
    cells: pd.DataFrame, scale_from: pd.DataFrame | None = None, *, labels: bool = True
) -> pd.DataFrame:
    """Add ``note`` (why a cell is empty) and, for each measure, ``<name>_text`` and ``<name>_label``.

    The text is "93.1 ± 0.4", for example. The label is shorter, in the units of ``exponent`` over
    ``scale_from`` (``cells`` by default). Without ``labels``, there are none: maps of many columns have no
    room for them. A table that already has a ``note`` is returned unchanged.
    """
    if "note" in cells:
        return cells
    defaults = {"n_models": 0, "n_diverged": 0, "n_pairs": 0, "phase": "", "near_cut": ""}
    defaults |= {
        "second_phase": "",
        "phase_probability": np.nan,
        "n_curves": 0,
        "curves_converged_share": np.nan,
    }
    out = cells.assign(**{n: value for n, value in defaults.items() if n not in cells})
    shown = measures(out)
    nothing = (out["n_models"] == 0) & (out["n_pairs"] == 0) & ~out[shown].notna().any(axis=1)
    out["note"] = np.select([nothing & (out["n_diverged"] > 0), nothing], [FAILED, NOT_RUN], default="")
    curves = zip(out["curves_converged_share"], out["n_curves"], strict=True)
    added: dict[str, list[str]] = {"curves_text": [_converged(share, n) for share, n in curves]}
    for name in shown:
        digits = measure(name).digits
        spread = out[f"{name}_std"] if f"{name}_std" in out else pd.Series(np.nan, index=out.index)
        if labels:
            scale = 10.0 ** -exponent((out if scale_from is None else scale_from)[name], measure(name))
            added[f"{name}_label"] = [format_compact(v * scale, measure(name)) for v in out[name]]
        added[f"{name}_text"] = [with_spread(v, s, digits) for v, s in zip(out[name], spread, strict=True)]
    return out.assign(**added)


def _converged(share: float, n: int) -> str:
    """Return a share of curves as ``7 of 10``: in percent if their number is unknown, empty without."""
    if not np.isfinite(share):
        return ""
    return f"{share * n:.0f} of {n}" if n else f"{share:.0%}".replace("%", " %")


def exponent(column: pd.Series, label: Column) -> int:
    """Return the power of ten (0, −3, −6, …) in whose units the numbers of a map are short.

    It is 0 unless more than a quarter of the values are below .01; then it is that of the median.
    """
    sizes = column[np.isfinite(column.to_numpy(dtype=float, na_value=np.nan)) & (column != 0)].abs()
    if label.digits is not None or sizes.empty or (sizes < 0.01).mean() <= 0.25:
        return 0
    return min(0, 3 * int(np.floor(np.log10(float(sizes.median())) / 3)))


def format_compact(value: float, label: Column) -> str:
    """Format a number for a cell of a map, with at most five characters."""
    if not np.isfinite(value):
        return ""
    size = abs(value)
    if size >= 9.995e8:
        text = f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    elif size >= 1e3:
        unit, letter = (1e6, "M") if size >= 9.995e5 else (1e3, "k")
        text = f"{value / unit:.2g}{letter}" if size < 99.5 * unit else f"{value / unit:.0f}{letter}"
    elif label.digits is not None:
        text = f"{value:.0f}" if label.diverging and size >= 10 else f"{value:.1f}"
    elif size >= 10 or value == 0:
        text = f"{value:.0f}"
    elif size >= 0.01:
        text = f"{value:.1f}" if size >= 1 else f"{value:.2f}"
    else:
        text = f"{value:.3f}".replace("0.", ".", 1) if size >= 5e-4 else "~0"
    return unsigned_zero(text).replace("-", "−")


def with_spread(value: float, spread: float, digits: int | None) -> str:
    """Format as ``93.1 ± 0.4``; the value alone if the spread is unknown, a dash if there is no value.

    Without ``digits``, both numbers have as many decimals as give the spread two significant digits.
    """
    if digits is None and 1e-5 < spread < 100:
        digits = max(0, 1 - int(np.floor(np.log10(spread))))
    text = format_number(value, digits)
    if not text:
        return "–"
    return f"{text} ± {format_number(spread, digits)}" if pd.notna(spread) else text


def _listed(part: Any) -> dict[str, list[Any]]:
    """Return the axes of a space whose values are given as a list."""
    return {k: v for k, v in part.items() if isinstance(v, list)} if isinstance(part, Mapping) else {}
