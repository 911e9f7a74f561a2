"""Cuts (borders between phases), found from a run or given, and the phase of means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column
from explorer.phases.numbers import format_number
from explorer.phases.resampling import blocks, cells_again, draws_for
from explorer.settings import seed_for
from explorer.units import plural

PHASES = ("I", "II", "III", "IV-A", "IV-B")
READINGS = {
    "I": "underfitted, and too small",
    "II": "underfitted: too hot, or stopped early",
    "III": "fits, but behind a barrier",
    "IV-A": "connected, but unlike each other",
    "IV-B": "connected and alike",
}
UNKNOWN_PHASE = "phase unknown"
# Models with a mean loss of .01 nats clearly fit their data (probability .99 for every label). At .1 nats
# they do not: one wrong answer in twenty costs as much. A loss cut found from data stays between the two.
# Other tasks have their own limits.
FITTED = (0.01, 0.1)
FITTED_ERROR = 0.5  # percent; models that miss fewer labels fit them, whatever their loss
MISSED = 5.0  # percent of training error, beyond label noise, from which on models do not fit their data
CONNECTED = 2.0  # percentage points; at 1, small converged networks trained hot would count as under-trained
AUTHORS_CKA = 0.65
LEAST_CKA_RANGE = 0.05
TWO_GROUPS = 0.98  # share of evenly spread sets that a split must beat before it counts as two groups
RIVAL = 0.9  # a gap at least this share as wide as the widest one is an equally plausible place for the cut


@dataclass(frozen=True)
class Cut:
    """A border between phases; ``by_user`` is true if the user set it.

    ``among`` is the range in which a cut of the training loss was searched. A cut of CKA that was found has
    one too. A cut without a range is fixed. ``fitted_error`` (of the training loss) is the training error in
    percent below which cells fit their labels, whatever their loss; None for tasks without labels.
    """

    name: str
    value: float
    reason: str
    by_user: bool = False
    among: tuple[float, float] | None = None
    fitted_error: float | None = None


def reading_of(phase: str, train_error: float, noise: float) -> str:
    """Return the reading of a cell's phase; ``noise`` is the share of its training labels that are noise.

    Models that miss little more than the noisy labels have a high loss, but they are not underfitted.
    """
    if phase not in ("I", "II") or not noise > 0 or not train_error - 100 * noise < MISSED:
        return READINGS.get(phase, UNKNOWN_PHASE)
    if train_error < 50 * noise:
        return "fits most noisy labels, but without confidence"
    return "fits what can be learnt, but not the noisy labels"


def noise_of(cells: pd.DataFrame, noise: float) -> pd.Series:
    """Return the share of noisy labels of each cell; ``noise`` stands for what the table does not say."""
    return column(cells, "label_noise").fillna(noise)


def find_cuts(
    cells: pd.DataFrame,
    overrides: Mapping[str, Any] | None = None,
    fitted: tuple[float, float] = FITTED,
    fitted_error: float | None = FITTED_ERROR,
) -> dict[str, Cut]:
    """Return the three cuts ``train_loss`` (nats), ``connected`` (percentage points of mc) and ``cka``.

    ``overrides`` fixes cuts by name; None and ``auto`` mean "find this cut". ``fitted`` holds the lowest and
    highest loss at which the task allows the loss cut. ``fitted_error`` is as in ``Cut``.

    Raises:
        ValueError: a name is not one of the three, or a value is not a positive number.
    """
    given: dict[str, float] = {}
    for name, value in (overrides or {}).items():
        if name not in ("train_loss", "connected", "cka"):
            raise ValueError(f"unknown cut {name!r}: the cuts are 'train_loss', 'connected' and 'cka'")
        if value is None or value == "auto":
            continue
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < np.inf:
            raise ValueError(f"cut {name!r} is {value!r}: it must be a positive number")
        given[name] = float(value)
    cuts = {n: Cut(n, v, "given by the user", by_user=True) for n, v in given.items()}
    cuts.setdefault("train_loss", _loss_cut(column(cells, "train_loss"), fitted))
    cuts["train_loss"] = replace(cuts["train_loss"], fitted_error=fitted_error)
    cuts.setdefault(
        "connected",
        Cut(
            "connected",
            CONNECTED,
            "default for small networks: without a barrier, the error along a curve stays within "
            "about 2 points of the error at its ends; the authors' ResNets support a value of 1",
        ),
    )
    if "cka" not in cuts:
        level = sort_cells(cells, {**cuts, "cka": Cut("cka", AUTHORS_CKA, "")}).level
        cuts["cka"] = _cka_cut(column(cells, "cka")[level])
    if not cuts["train_loss"].by_user and (rivals := _rivals(cells, cuts, fitted)):
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
        return Cut(
            "train_loss", surely_high, f"every cell is above {surely_high} nats: none fits all of its data"
        )
    if len(values) == 1:
        return Cut("train_loss", surely_high, "one cell has no gap: the highest loss that counts as fitted")
    gaps = _gaps(loss, fitted)
    if not gaps:
        return Cut("train_loss", surely_high, f"no cell lies above {surely_high} nats")
    widest = gaps[0]
    reason = f"in the widest gap between cells, {widest.ends}"
    return Cut("train_loss", widest.cut, reason, among=fitted)


class _Gap(NamedTuple):
    """A gap between the losses of two neighbouring cells; ``width`` is its width in log loss."""

    width: float
    low: float
    high: float
    cut: float

    @property
    def ends(self) -> str:
        return f"from {format_number(self.low)} to {format_number(self.high)} nats"


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


def rival_cuts(cells: pd.DataFrame, cuts: Mapping[str, Cut]) -> list[dict[str, Cut]]:
    """Return the cuts with the loss cut in each other gap that is about as wide as the widest (RIVAL)."""
    cut = cuts["train_loss"]
    if cut.among is None:
        return []
    gaps = _gaps(column(cells, "train_loss"), cut.among)
    wide = [gap.cut for gap in gaps[1:] if gap.width >= RIVAL * gaps[0].width > 0]
    return [moved_cut(cells, cuts, value) for value in wide]


def moved_cut(cells: pd.DataFrame, cuts: Mapping[str, Cut], loss: float) -> dict[str, Cut]:
    """Return the cuts with the loss cut at ``loss``; a cut of CKA that was not given is found again."""
    given = {n: cut.value for n, cut in cuts.items() if cut.by_user}
    return find_cuts(cells, {**given, "train_loss": loss}, fitted_error=cuts["train_loss"].fitted_error)


def _rivals(cells: pd.DataFrame, cuts: Mapping[str, Cut], fitted: tuple[float, float]) -> str:
    """Describe what would change if the loss cut lay in another gap of about the same width.

    If several gaps qualify, the one that changes the phase of most cells is described. The CKA cut is found
    again for each. The text is empty if no gap qualifies.
    """
    gaps = _gaps(column(cells, "train_loss"), fitted)
    others = [gap for gap in gaps[1:] if gap.width >= RIVAL * gaps[0].width > 0]
    if not others:
        return ""
    before = sort_cells(cells, cuts).phase
    moved = [
        int((sort_cells(cells, moved_cut(cells, cuts, gap.cut)).phase != before).sum()) for gap in others
    ]
    most = int(np.argmax(moved))
    rival = others[most]
    which = "another" if len(others) == 1 else f"{len(others)} others are nearly as wide; one"
    share = f"{rival.width / gaps[0].width:.0%}".replace("%", " %")
    return (
        f"{which}, {rival.ends}, is {share} as wide: with the cut there, at {format_number(rival.cut)}, "
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
            f"connected low-loss cells span only {format_number(values[0])} to {format_number(values[-1])}, "
            "too little to split: the authors' value",
        )
    cut, share = split(values[None])
    evenly = _even_share(len(values))
    low, high = format_number(values[0]), format_number(values[-1])
    which = f"the {len(values)} connected low-loss cells, {low} to {high}"
    found = f"{100 * share[0]:.0f} % of the variance of {which}"
    usual = f"{100 * TWO_GROUPS:.0f} % of evenly spread sets stay below {100 * evenly:.0f} %"
    if share[0] < evenly:
        reason = f"no two groups: the best split explains {found}, and {usual}. So this is the authors' value"
        return Cut("cka", AUTHORS_CKA, reason)
    reason = f"between two groups: this split explains {found}, and {usual}"
    return Cut("cka", float(cut[0]), reason, among=(float(values[0]), float(values[-1])))


def split(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split sets into two groups with the least variance within groups; return cuts and variance explained.

    ``values`` (sets, n) are sorted along the last axis, missing values (NaN) at its end. Both results are
    (sets,); NaN for a set of less than two values.
    """
    n = np.isfinite(values).sum(axis=1, keepdims=True)
    filled = np.where(np.isfinite(values), values, 0.0)
    mean = filled.sum(axis=1, keepdims=True) / np.maximum(n, 1)
    centred = np.where(np.isfinite(values), values - mean, 0.0)
    k = np.arange(1, values.shape[1])[None]
    sums = np.cumsum(centred, axis=1)[:, :-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where(k < n, sums**2 * (1 / k + 1 / (n - k)), -1.0)
        best = between.argmax(axis=1)[:, None]
        share = np.take_along_axis(between, best, 1)[:, 0] / (centred**2).sum(axis=1)
    ends = np.take_along_axis(values, best, 1), np.take_along_axis(values, best + 1, 1)
    return np.where(n[:, 0] > 1, (ends[0] + ends[1])[:, 0] / 2, np.nan), share


@cache
def _even_share(n: int) -> float:
    """Return the share of variance that the best split of n evenly spread values seldom exceeds.

    Among distributions with one peak, the even one is split best.
    """
    random = np.random.default_rng(seed_for("even", str(n)))
    sizes = [draws.stop - draws.start for draws in blocks(draws_for(n), n)]
    shares = [split(np.sort(random.random((size, n)), axis=1))[1] for size in sizes]
    return float(np.quantile(np.concatenate(shares), TWO_GROUPS))


def resampled_cuts(cells: pd.DataFrame, cuts: Mapping[str, Cut], draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cuts of loss and CKA, (draws, 1) each, if other cells had been run: cells are resampled.

    Cuts without a range do not vary.
    """
    loss, cka = np.full(draws, cuts["train_loss"].value), np.full(draws, cuts["cka"].value)
    fitted, of_cka = cuts["train_loss"].among, cuts["cka"].among
    if fitted is None and of_cka is None:
        return loss[:, None], cka[:, None]
    logs = np.log(np.maximum(column(cells, "train_loss").to_numpy(), 1e-12))
    of_level = np.where(sort_cells(cells, cuts).level, column(cells, "cka").to_numpy(), np.nan)
    drawn = cells_again(len(cells), "cuts", draws=draws)
    next(drawn)  # the cells as they are
    losses, ckas = [], []
    for again in drawn:
        if fitted is not None:
            losses.append(_widest_gaps(again.values(logs), fitted))
        if of_cka is not None:
            ckas.append(split(np.sort(again.values(of_level), axis=1))[0])
    if losses:
        loss = np.concatenate(losses)
    if ckas:
        found = np.concatenate(ckas)
        cka = np.where(np.isfinite(found), found, cka)
    return loss[:, None], cka[:, None]


def _widest_gaps(logs: np.ndarray, fitted: tuple[float, float]) -> np.ndarray:
    """Return for each row of log losses, (draws, cells), the loss cut in its widest gap: (draws,)."""
    values = np.sort(logs, axis=1)  # NaN last
    low, high = np.log(fitted)
    a, b = values[:, :-1], values[:, 1:]
    width = np.where((a < high) & (b > low), b - a, -1.0)
    at = width.argmax(axis=1)[:, None]
    a, b = (np.take_along_axis(v, at, 1)[:, 0] for v in (a, b))
    middle = np.exp(np.clip((a + b) / 2, np.maximum(a, low), np.minimum(b, high)))
    none = np.take_along_axis(width, at, 1)[:, 0] <= 0
    return np.where(none, np.where(np.fmax.reduce(values, axis=1) <= low, fitted[0], fitted[1]), middle)


class Sorted(NamedTuple):
    """Phases of cells and the sides of the cuts on which they lie, (cells,) each.

    ``without_confidence`` are cells that fit their labels (``Cut.fitted_error``) with a loss above the cut.
    They count as ``low``. ``level`` cells have low loss and are connected.
    """

    phase: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: np.ndarray
    without_confidence: np.ndarray


def sort_cells(cells: pd.DataFrame, cuts: Mapping[str, Cut]) -> Sorted:
    """Return the phase of each cell's means; empty if a needed measure is missing."""
    loss, mc, cka = (column(cells, n).to_numpy() for n in ("train_loss", "mode_connectivity", "cka"))
    loss_cut, connected, cka_cut = (cuts[n].value for n in ("train_loss", "connected", "cka"))
    found = sort_means(loss, mc, cka, loss_cut, connected, cka_cut, fits_labels(cells, cuts))
    return found._replace(phase=np.array(["", *PHASES])[found.phase])


def fits_labels(cells: pd.DataFrame, cuts: Mapping[str, Cut]) -> np.ndarray:
    """Return whether the training error of each cell is so low that it fits its labels, whatever its loss."""
    limit = cuts["train_loss"].fitted_error
    return (column(cells, "train_error_percent") < (-np.inf if limit is None else limit)).to_numpy()


class Sides(NamedTuple):
    """On which side of each cut means lie; any shape, the same for all. Without a mean, all are false."""

    low: np.ndarray  # training loss below the cut
    high: np.ndarray  # at or above it
    behind: np.ndarray  # mode connectivity below the tolerance
    within: np.ndarray
    beyond: np.ndarray  # above it
    alike: np.ndarray  # CKA at or above the cut
    unlike: np.ndarray


def sides_of_loss(loss: np.ndarray, cut: Any) -> tuple[np.ndarray, ...]:
    """Return ``low`` and ``high`` of ``Sides``; an infinite loss is unknown."""
    known = np.isfinite(loss)
    return known & (loss < cut), known & ~(loss < cut)


def sides_of_connectivity(mc: np.ndarray, connected: float) -> tuple[np.ndarray, ...]:
    """Return ``behind``, ``within`` and ``beyond`` of ``Sides``."""
    behind, beyond = np.isfinite(mc) & (mc < -connected), np.isfinite(mc) & (mc > connected)
    return behind, np.isfinite(mc) & ~behind & ~beyond, beyond


def sides_of_cka(cka: np.ndarray, cut: Any) -> tuple[np.ndarray, ...]:
    """Return ``alike`` and ``unlike`` of ``Sides``."""
    return cka >= cut, cka < cut


def sort_means(
    loss: np.ndarray,
    mc: np.ndarray,
    cka: np.ndarray,
    loss_cut: Any,
    connected: float,
    cka_cut: Any,
    fits: np.ndarray,
) -> Sorted:
    """Sort means into phases, as numbers: 0 unknown, then PHASES. All arrays have the same shape."""
    of_cuts = (
        *sides_of_loss(loss, loss_cut),
        *sides_of_connectivity(mc, connected),
        *sides_of_cka(cka, cka_cut),
    )
    return sort_sides(Sides(*of_cuts), fits)


def sort_sides(sides: Sides, fits: np.ndarray) -> Sorted:
    """Sort means into phases, as numbers: 0 unknown, then PHASES.

    ``fits`` are means of cells that fit their labels, whatever their loss (``fits_labels``).
    """
    connected = sides.behind | sides.within | sides.beyond
    low, high = connected & (sides.low | (sides.high & fits)), connected & sides.high & ~fits
    hidden = low & ~fits & sides.beyond
    level = low & ~hidden & ~sides.behind
    rules = (
        high & sides.behind,
        (high & ~sides.behind) | hidden,
        low & sides.behind,
        level & sides.unlike,
        level & sides.alike,
    )
    phase = np.zeros(low.shape, np.int8)
    for k, rule in enumerate(rules, 1):
        phase[rule] = k
    return Sorted(phase, low, high, level, low & sides.high)


def sensitivity(cells: pd.DataFrame, cuts: Mapping[str, Cut], by: float = 0.1) -> dict[str, int]:
    """Count cells that change phase if a cut moves up or down by the share ``by``; the larger count."""
    before = sort_cells(cells, cuts).phase
    moved: dict[str, int] = {}
    for name, cut in cuts.items():
        shifted = ({**cuts, name: replace(cut, value=cut.value * f)} for f in (1 - by, 1 + by))
        moved[name] = max(int((sort_cells(cells, c).phase != before).sum()) for c in shifted)
    return moved
