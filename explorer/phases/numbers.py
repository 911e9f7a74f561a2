"""Numbers and column names in readable form."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd


def words_of(name: str) -> str:
    """Return a column's name in words."""
    words = name.removesuffix("_percent").replace("_", " ").replace("cka", "CKA").replace("l2", "parameter")
    return (
        words.replace("hessian", "Hessian")
        .replace("train ", "training ")
        .replace("training size", "training-set size")
    )


def format_number(value: float, digits: int | None = None) -> str:
    """Format with three significant digits (two below .001) or ``digits`` decimals; empty for NaN."""
    if value is None or not math.isfinite(value):
        return ""
    if digits is not None:
        text = f"{value:.{digits}f}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif 0 < abs(value) < 1e-3:
        text = f"{value:.1e}".replace("e-0", "e-")
    else:
        text = f"{value:.3g}"
    return unsigned_zero(text).replace("-", "−")


def format_amount(value: float, unit: str) -> str:
    """Format a number with its unit, which is in the plural: ``2 powers of ten``, ``1 point``."""
    number = format_number(value)
    return f"{number} {re.sub(r's(?= |$)', '', unit, count=1) if number == '1' else unit}".rstrip()


def format_interval(low: float, high: float) -> str:
    """Format a 95 % interval, also one whose ends are equal when rounded."""
    ends = format_number(low), format_number(high)
    return (
        "95 % interval narrower than rounding" if ends[0] == ends[1] else f"95 % interval {' to '.join(ends)}"
    )


def unsigned_zero(text: str) -> str:
    """Return a rounded zero such as ``-0.0`` without its sign; other texts unchanged."""
    return text.removeprefix("-") if text.startswith("-") and not text.strip("-0.") else text


def format_rho(value: float) -> str:
    """Format a correlation, always with its sign."""
    return f"{value:+.2f}".replace("-", "−")


def format_mean(row: pd.Series, name: str, digits: int | None = None) -> str:
    """Format a cell's mean ± standard deviation; the mean alone if the spread is unknown."""
    spread = row.get(f"{name}_std", np.nan)
    text = format_number(float(row[name]), digits)
    return f"{text} ± {format_number(float(spread), digits)}" if text and pd.notna(spread) else text


def format_setting(value: Any) -> str:
    """Format an axis's value; numbers without needless digits."""
    if isinstance(value, (int, float, np.number)):
        return f"{float(value):,.6g}" if abs(float(value)) < 1e4 else f"{float(value):,.0f}"
    return str(value)
