"""Cuts (borders between phases), found from a run or given, and the phase of each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column, standard_error
from explorer.phases.numbers import number
from explorer.units import plural

PHASES = ("I", "II", "III", "IV-A", "IV-B")
READINGS = {
    "I": "underfitted, and too small",
    "II": "underfitted: too hot, or stopped early",
    "III": "fits, but behind a barrier",
    "IV-A": "connected, but unlike each other",
    "IV-B": "connected and alike",
}
# Models with a mean loss of .01 nats clearly fit their data (probability .99 for every label). At .1 nats
# they do not: one wrong answer in twenty costs as much. A loss cut found from data stays between the two.
# Other tasks have their own limits.
FITTED = (0.01, 0.1)
CONNECTED = 2.0  # percentage points; at 1, small converged networks trained hot would count as under-trained
AUTHORS_CKA = 0.65
LEAST_CKA_RANGE = 0.05
RIVAL = 0.9  # a gap at least this share as wide as the widest one is an equally plausible place for the cut


@dataclass(frozen=True)
class Cut:
    """A border between phases; ``given`` is true if the user set it."""

    name: str
    value: float
    reason: str
    given: bool = False


def find_cuts(
    cells: pd.DataFrame,
    overrides: Mapping[str, Any] | None = None,
    fitted: tuple[float, float] = FITTED,
) -> dict[str, Cut]:
    """Return the three cuts ``train_loss`` (nats), ``connected`` (percentage points of mc) and ``cka``.

    ``overrides`` fixes cuts by name; None and ``auto`` mean "find this cut". ``fitted`` holds the lowest and
    highest loss at which the task allows the loss cut.

    Raises:
        ValueError: a name is not one of the three, or a value is not a positive number.
    """
    given: dict[str, float] = {}
    for name, value in (overrides or {}).items():
        if name not in ("train_loss", "connected", "cka"):
            raise ValueError(f"unknown cut {name!r}: the cuts are 'train_loss', 'connected' and 'cka'")
        if value is None or value == "auto":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < np.inf:
            raise ValueError(f"cut {name!r} is {value!r}: it must be a positive number")
        given[name] = float(value)
    cuts = {n: Cut(n, v, "given by the user", given=True) for n, v in given.items()}
    cuts.setdefault("train_loss", _loss_cut(column(cells, "train_loss"), fitted))
    cuts.setdefault(
        "connected",
        Cut(
            "connected",
            CONNECTED,
            "default for small networks: without a barrier, the error along a curve stays within "
            "about 2 points of the error at its ends; the authors' ResNets support a value of 1",
        ),
    )
    low = column(cells, "train_loss") < cuts["train_loss"].value
    level = column(cells, "mode_connectivity").abs() <= cuts["connected"].value
    cuts.setdefault("cka", _cka_cut(column(cells, "cka")[low & level]))
    if not cuts["train_loss"].given and (rivals := _rivals(cells, cuts, fitted)):
        cuts["train_loss"] = replace(cuts["train_loss"], reason=f"{cuts['train_loss'].reason}; {rivals}")
    return {n: cuts[n] for n in ("train_loss", "connected", "cka")}


def _loss_cut(loss: pd.Series, fitted: tuple[float, float]) -> Cut:
    """Return the cut in the widest gap of log loss that overlaps ``fitted``; else a cut at its border."""
    surely_low, surely_high = fitted
    values = loss.dropna().to_numpy()
    if len(values) == 0:
        return Cut("train_loss", surely_low, "no training loss measured: the authors' value")
    if values.max() <= surely_low:
        return Cut("train_loss", surely_low, f"every cell is below {surely_low} nats: all fit their data")
    if values.min() >= surely_high:
        return Cut("train_loss", surely_high, f"every cell is above {surely_high} nats: none fits its data")
    if len(values) == 1:
        return Cut("train_loss", surely_high, "one cell has no gap: the highest loss that counts as fitted")
    gaps = _gaps(loss, fitted)
    if not gaps:
        return Cut("train_loss", surely_high, f"no cell lies above {surely_high} nats")
    widest = gaps[0]
    return Cut("train_loss", widest.cut, f"in the widest gap between cells, {widest.ends}")


class _Gap(NamedTuple):
    """A gap between the losses of two neighbouring cells; ``width`` is its width in log loss."""

    width: float
    low: float
    high: float
    cut: float

    @property
    def ends(self) -> str:
        return f"from {number(self.low)} to {number(self.high)} nats"


def _gaps(loss: pd.Series, fitted: tuple[float, float]) -> list[_Gap]:
    """Return the gaps of log loss that overlap ``fitted``, widest first, each with its cut."""
    surely_low, surely_high = fitted
    values = np.sort(loss.dropna().clip(lower=1e-12).to_numpy())
    gaps = []
    for a, b in pairwise(map(float, values)):
        if a < surely_high and b > surely_low:
            cut = float(np.clip(np.sqrt(a * b), max(a, surely_low), min(b, surely_high)))
            gaps.append(_Gap(float(np.log(b / a)), a, b, cut))
    return sorted(gaps, key=lambda gap: -gap.width)


def _rivals(cells: pd.DataFrame, cuts: Mapping[str, Cut], fitted: tuple[float, float]) -> str:
    """Describe what would change if the loss cut lay in another gap of about the same width.

    If several gaps qualify, the one that changes the phase of most cells is described. The CKA cut is found
    again for each. The text is empty if no gap qualifies.
    """
    gaps = _gaps(column(cells, "train_loss"), fitted)
    others = [gap for gap in gaps[1:] if gap.width >= RIVAL * gaps[0].width > 0]
    if not others:
        return ""
    before, given = _sorted(cells, cuts)[0], {n: cut.value for n, cut in cuts.items() if cut.given}
    moved = [
        int((_sorted(cells, find_cuts(cells, {**given, "train_loss": gap.cut}, fitted))[0] != before).sum())
        for gap in others
    ]
    most = int(np.argmax(moved))
    rival = others[most]
    which = "another" if len(others) == 1 else f"{len(others)} others are nearly as wide; one"
    share = f"{rival.width / gaps[0].width:.0%}".replace("%", " %")
    return (
        f"{which}, {rival.ends}, is {share} as wide: with the cut there, at {number(rival.cut)}, "
        f"{moved[most]} of {plural(len(cells), 'cell')} would be in another phase"
    )


def _cka_cut(cka: pd.Series) -> Cut:
    """Split the CKA of the low-loss, connected cells into the two classes with least variance within."""
    values = np.sort(cka.dropna().to_numpy())
    if len(values) < 4:
        few = "cell is" if len(values) == 1 else "cells are"
        why = f"{len(values)} connected low-loss {few} too few to split: the authors' value"
        return Cut("cka", AUTHORS_CKA, why)
    if values[-1] - values[0] < LEAST_CKA_RANGE:
        return Cut(
            "cka",
            AUTHORS_CKA,
            f"connected low-loss cells span only {number(values[0])} to {number(values[-1])}, "
            "too little to split: the authors' value",
        )
    within = [values[:k].var() * k + values[k:].var() * (len(values) - k) for k in range(1, len(values))]
    k = int(np.argmin(within)) + 1
    return Cut(
        "cka",
        float(values[k - 1 : k + 1].mean()),
        f"splits the {len(values)} connected low-loss cells of this run, "
        f"{number(values[0])} to {number(values[-1])}, into two groups with the least variance within groups",
    )


def classify(cells: pd.DataFrame, cuts: Mapping[str, Cut]) -> pd.DataFrame:
    """Return a copy of the cells with ``phase`` (empty if a needed measure is missing) and ``near_cut``.

    A cell is near a cut if its mean ± standard error (``standard_error``) reaches over the cut. The standard
    error is used because the mean is what gets classified: with more replicates the mean is known better,
    while the standard deviation stays the same.
    """
    out = cells.copy()
    phase, low, high, level = _sorted(cells, cuts)
    out["phase"] = phase
    loss_cut, connected, cka_cut = (cuts[n].value for n in ("train_loss", "connected", "cka"))

    def near(name: str, border: float) -> pd.Series:
        return (column(cells, name) - border).abs() <= standard_error(cells, name)

    over = {
        "train_loss": near("train_loss", loss_cut),
        "connected": (high & near("mode_connectivity", 0.0))
        | (low & (near("mode_connectivity", connected) | near("mode_connectivity", -connected))),
        "cka": level & near("cka", cka_cut),
    }
    marks = pd.DataFrame(over)
    out["near_cut"] = [", ".join(n for n in over if row[n]) for row in marks.to_dict("records")]
    return out


def _sorted(
    cells: pd.DataFrame, cuts: Mapping[str, Cut]
) -> tuple[np.ndarray, pd.Series, pd.Series, pd.Series]:
    """Return the phase of each cell, and whether it has low loss, high loss, low loss and is connected."""
    loss, mc, cka = (column(cells, n) for n in ("train_loss", "mode_connectivity", "cka"))
    loss_cut, connected, cka_cut = (cuts[n].value for n in ("train_loss", "connected", "cka"))
    known = loss.notna() & mc.notna()
    low, high = known & (loss < loss_cut), known & (loss >= loss_cut)
    level = low & (mc.abs() <= connected)
    rules = {
        "I": high & (mc < 0),
        "II": (high & (mc >= 0)) | (low & (mc > connected)),
        "III": low & (mc < -connected),
        "IV-A": level & (cka < cka_cut),
        "IV-B": level & (cka >= cka_cut),
    }
    return np.select(list(rules.values()), list(rules), default=""), low, high, level


def sensitivity(cells: pd.DataFrame, cuts: Mapping[str, Cut], by: float = 0.1) -> dict[str, int]:
    """Count cells that change phase if a cut moves up or down by the share ``by``; the larger count."""
    before = _sorted(cells, cuts)[0]
    moved: dict[str, int] = {}
    for name, cut in cuts.items():
        shifted = ({**cuts, name: Cut(name, cut.value * f, "")} for f in (1 - by, 1 + by))
        moved[name] = max(int((_sorted(cells, c)[0] != before).sum()) for c in shifted)
    return moved
