"""Cells of a grid: their settings, checked, and their coordinates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases import PHASES
from explorer.refine.measures import MEASURES
from explorer.settings import InputError

Domain = Mapping[str, Sequence[Any]]


def points_of(domain: Domain | pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a domain, in the order of the axis values."""
    if isinstance(domain, pd.DataFrame):
        points = domain.reset_index(drop=True).rename(columns=str)
    elif isinstance(domain, Mapping):
        points = _product(domain).rename(columns=str)
    else:
        raise InputError(
            f"the domain is a {type(domain).__name__}; give {{axis: values}} or a table of the axes"
        )
    if points.empty:
        raise InputError("the domain has no cells; give {axis: values} or a table of the axes")
    taken = [*MEASURES, *(f"{name}_std" for name in MEASURES), *PHASES, "source", "phase", "probability"]
    if wrong := [str(name) for name in points if name in taken]:
        raise InputError(
            f"the domain has the column {wrong[0]}, which is a result and no axis; give the axes only, as "
            "cells[['width', 'batch_size']]"
        )
    if twice := points.columns[points.columns.duplicated()].tolist():
        raise InputError(f"the domain has several columns {twice[0]}; give each axis once")
    for name in points:
        if wrong := [
            v for v in points[name] if not (isinstance(v, str | Real | np.bool_) or v is None or v is pd.NA)
        ]:
            raise InputError(f"the domain axis {name!r} has the value {wrong[0]!r}; give numbers or words")
        if is_ordered(points[name]) and not np.isfinite(points[name].to_numpy(float)).all():
            raise InputError(f"the domain has an infinite value of {name}; give finite values")
    keys = pd.Series(keys_of(points, [str(name) for name in points]))
    if keys.duplicated().any():
        where = ", ".join(map(" ".join, zip(map(str, points), keys[keys.duplicated()].iloc[0], strict=True)))
        raise InputError(f"the domain has {where} several times; give each value once")
    return points


def _product(domain: Domain) -> pd.DataFrame:
    if not domain:
        raise InputError("the domain has no axis; give {axis: values}")
    lists = {}
    for name, values in domain.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"the domain axis {name!r} is {values!r}; give a list of values")
        lists[name] = [v.item() if isinstance(v, np.generic) else v for v in values]
        if not lists[name]:
            raise InputError(f"the domain axis {name!r} has no values; give {{axis: values}}")
    columns = zip(lists, zip(*itertools.product(*lists.values()), strict=True), strict=True)
    return pd.DataFrame(
        {name: pd.Series(values, dtype=object if None in lists[name] else None) for name, values in columns}
    )


def is_ordered(values: pd.Series) -> bool:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return numeric and bool(values.notna().all())


def keys_of(table: pd.DataFrame, axes: list[str]) -> list[tuple[str, ...]]:
    """Return the settings of each row as text that is the same for equal numbers of any type."""

    def key(value: Any) -> str:
        if isinstance(value, Real) and not isinstance(value, bool):
            return "" if math.isnan(value) else f"{float(value):.9g}"
        return "" if value is None or value is pd.NA else str(value)

    return list(zip(*([key(value) for value in table[name]] for name in axes), strict=True))


def coordinates(values: pd.Series) -> np.ndarray:
    """Return the values of an axis from 0 to 1: on a log scale if they lie more evenly there.

    A zero on a log axis lies one step below the smallest positive value.
    """
    numbers = values.to_numpy(dtype=float)
    steps = np.unique(numbers)
    if len(steps) == 1:
        return np.zeros(len(numbers))
    positive = steps[steps > 0]
    place = steps
    if steps[0] >= 0 and len(positive) > 1 and _unevenness(np.log(positive)) < _unevenness(positive):
        logs = np.log(positive)
        place = np.concatenate([[logs[0] - np.diff(logs).mean()] if steps[0] == 0 else [], logs])
    place = (place - place[0]) / (place[-1] - place[0])
    return place[np.searchsorted(steps, numbers)]


def _unevenness(steps: np.ndarray) -> float:
    gaps = np.diff(steps)
    return float(gaps.std() / gaps.mean()) if len(gaps) > 1 else (0.0 if steps[-1] - steps[0] > 2 else 1.0)
