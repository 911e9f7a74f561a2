"""The borders between phases: found from a run or given, and the phase of each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column, standard_error
from explorer.phases.numbers import counted, number

PHASES = ("I", "II", "III", "IV-A", "IV-B")
READINGS = {
    "I": "underfitted, and too small",
    "II": "underfitted: too hot, or stopped early",
    "III": "fits, but behind a barrier",
    "IV-A": "connected, but unlike each other",
    "IV-B": "connected and alike",
}
# A mean loss of .01 nats is fitted by anyone's standard (probability .99 for every label), one of .1 is
# not (a wrong answer among twenty weighs as much): a loss cut found from data stays between the two. Other
# tasks have their own.
FITTED = (0.01, 0.1)
CONNECTED = 2.0  # percentage points; at 1, hot but converged small networks count as under-trained
AUTHORS_CKA = 0.65
LEAST_CKA_RANGE = 0.05
RIVAL = 0.9  # a gap of at least this share of the widest one might as well hold the cut


@dataclass(frozen=True)
class Cut:
    """A border between phases; ``given`` says that the user set it."""

    name: str
    value: float
    reason: str
    given: bool = False


def find_cuts(
    cells: pd.DataFrame,
    overrides: Mapping[str, Any] | None = None,
    fitted: tuple[float, float] = FITTED,
) -> dict[str, Cut]:
    """The three cuts ``train_loss`` (nats), ``connected`` (percentage points of mc) and ``cka``.

    ``fitted`` are the losses between which the task lets a loss cut fall.
    ``overrides`` fixes any of them by name; None and ``auto`` stand for "find it". Raises ValueError for a
    name that is not one of the three and for a value that is not a positive number.
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
            "default for small networks, whose curves end within about 2 points of their "
            "ends' error when nothing stands between them; the authors' ResNets bear out 1",
        ),
    )
    low = column(cells, "train_loss") < cuts["train_loss"].value
    level = column(cells, "mode_connectivity").abs() <= cuts["connected"].value
    cuts.setdefault("cka", _cka_cut(column(cells, "cka")[low & level]))
    if not cuts["train_loss"].given and (rivals := _rivals(cells, cuts, fitted)):
        cuts["train_loss"] = replace(cuts["train_loss"], reason=f"{cuts['train_loss'].reason}; {rivals}")
    return {n: cuts[n] for n in ("train_loss", "connected", "cka")}


def _loss_cut(loss: pd.Series, fitted: tuple[float, float]) -> Cut:
    """In the widest gap of log loss that reaches into ``fitted``; no split outside it."""
    surely_low, surely_high = fitted
    values = loss.dropna().to_numpy()
    if len(values) == 0:
        return Cut("train_loss", surely_low, "no training loss at hand: the authors' value")
    if values.max() <= surely_low:
        return Cut("train_loss", surely_low, f"every cell is below {surely_low} nats: all fit their data")
    if values.min() >= surely_high:
        return Cut("train_loss", surely_high, f"every cell is above {surely_high} nats: none fits its data")
    if len(values) == 1:
        return Cut(
            "train_loss", surely_high, "a single cell shows no gap: the upper end of what counts as fitted"
        )
    gaps = _gaps(loss, fitted)
    if not gaps:
        return Cut("train_loss", surely_high, f"no cell lies above {surely_high} nats")
    widest = gaps[0]
    return Cut("train_loss", widest.cut, f"in the widest gap between cells, {widest.ends}")


class _Gap(NamedTuple):
    """Between the losses of two neighbouring cells; ``width`` is that of its logarithm."""

    width: float
    low: float
    high: float
    cut: float

    @property
    def ends(self) -> str:
        return f"from {number(self.low)} to {number(self.high)} nats"


def _gaps(loss: pd.Series, fitted: tuple[float, float]) -> list[_Gap]:
    """The gaps of log loss that reach into ``fitted``, the widest first, each with its cut."""
    surely_low, surely_high = fitted
    values = np.sort(loss.dropna().clip(lower=1e-12).to_numpy())
    found = []
    for a, b in pairwise(map(float, values)):
        if a < surely_high and b > surely_low:
            cut = float(np.clip(np.sqrt(a * b), max(a, surely_low), min(b, surely_high)))
            found.append(_Gap(float(np.log(b / a)), a, b, cut))
    return sorted(found, key=lambda gap: -gap.width)


def _rivals(cells: pd.DataFrame, cuts: Mapping[str, Cut], fitted: tuple[float, float]) -> str:
    """What would change if the loss cut lay in another gap that is as wide, or nearly so; empty without one.

    Of several, that which changes the phase of most cells. The cut of CKA is found again for it.
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
        f"{moved[most]} of {counted(len(cells), 'cell')} would be in another phase"
    )


def _cka_cut(cka: pd.Series) -> Cut:
    """Two-class split (least variance within the classes) of the low-loss, connected cells' CKA."""
    values = np.sort(cka.dropna().to_numpy())
    if len(values) < 4:
        few = "cell is" if len(values) == 1 else "cells are"
        why = f"{len(values)} connected low-loss {few} too few to split: the authors' value"
        return Cut("cka", AUTHORS_CKA, why)
    if values[-1] - values[0] < LEAST_CKA_RANGE:
        return Cut(
            "cka",
            AUTHORS_CKA,
            f"connected low-loss cells span only {number(values[0])} to {number(values[-1])}: "
            "nothing to split, so the authors' value",
        )
    within = [values[:k].var() * k + values[k:].var() * (len(values) - k) for k in range(1, len(values))]
    k = int(np.argmin(within)) + 1
    return Cut(
        "cka",
        float(values[k - 1 : k + 1].mean()),
        f"splits the {len(values)} connected low-loss cells of this run, "
        f"{number(values[0])} to {number(values[-1])}, into the two tightest groups",
    )


def classify(cells: pd.DataFrame, cuts: Mapping[str, Cut]) -> pd.DataFrame:
    """A copy with ``phase`` (empty where a measure that decides is missing) and ``near_cut``.

    A cell is near a cut when its mean ± standard error reaches over it (``standard_error``): what is sorted
    is the mean, and how well it is known improves with replicates, which a standard deviation does not.
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
    """The phase of each cell; whether its loss is low, is high; whether it is low and connected."""
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
    """How many cells change phase when a cut moves up or down by the share ``by`` (the worse of the two)."""
    before = _sorted(cells, cuts)[0]
    moved: dict[str, int] = {}
    for name, cut in cuts.items():
        shifted = ({**cuts, name: Cut(name, cut.value * f, "")} for f in (1 - by, 1 + by))
        moved[name] = max(int((_sorted(cells, c)[0] != before).sum()) for c in shifted)
    return moved
