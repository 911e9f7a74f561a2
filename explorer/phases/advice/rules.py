"""Advice for a cell: what limits it, from its phase, and the next change to try, from its neighbours."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases.advice.moves import DIRECTIONS, Move, moves
from explorer.phases.aggregate import axis_names, column
from explorer.phases.cuts import PHASES, READINGS, Cut
from explorer.phases.membership import memberships
from explorer.phases.numbers import number, setting, words_of
from explorer.units import plural

# By phase: what limits generalisation, and the changes that the taxonomy suggests, most important first.
CAUSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "I": (
        "the model is too small for the data: it does not fit them, and error rises between replicates",
        ("larger model", "longer training", "colder training"),
    ),
    "II": (
        "training is too hot or stopped too early: curves find better points than the models reached",
        ("colder training", "longer training"),
    ),
    "III": (
        "model too small or data too poor: replicates fit the data, but each in its own basin",
        ("larger model", "cleaner data", "more data", "hotter training"),
    ),
    "IV-A": (
        "data and model do not determine the solution: replicates are connected, but answer differently",
        ("larger model", "more data", "cleaner data", "hotter training", "colder training"),
    ),
    "IV-B": (
        "nothing visible in the loss landscape: replicates are connected and alike",
        ("more data", "cleaner data", "larger model"),
    ),
}
SURE = ("fairly sure", "a guess with some support", "a guess")
COUNTS = 0.3  # points of accuracy; smaller changes are not mentioned


@dataclass(frozen=True)
class Advice:
    """Advice for some cells.

    ``change`` is what to try next, ``sure`` is one of SURE, ``evidence`` holds sentences with numbers.
    """

    where: str
    phase: str
    n_cells: int
    cause: str
    change: str
    sure: str
    evidence: list[str] = field(default_factory=list)

    @property
    def reading(self) -> str:
        return READINGS.get(self.phase, "phase unknown")


@dataclass(frozen=True)
class Tried:
    """A change made in the run: the mean gain of its ``n`` steps in points, and how many steps ``helped``."""

    axis: str
    direction: str
    gain: float
    stderr: float
    n: int
    helped: int

    @property
    def surely_helped(self) -> bool:
        return self.gain > COUNTS and self.gain > 2 * self.stderr  # false if the error is unknown

    def surely_above(self, other: Tried) -> bool:
        return self.gain - other.gain > 2 * math.hypot(self.stderr, other.stderr)


def advise_phases(
    cells: pd.DataFrame,
    cuts: Mapping[str, Cut],
    axes: Mapping[str, Sequence[str]],
    stopping: Mapping[Any, np.ndarray] | None = None,
) -> list[Advice]:
    """Return one piece of advice for each phase with cells in the run, based on those cells.

    ``stopping`` is the result of ``gains_of_stopping``.
    """
    cells = cells.reset_index(drop=True)
    names = [n for n in axis_names(axes) if n in cells]
    steps, shares, phases = moves(cells, names), memberships(cells, cuts), cells["phase"].to_numpy()
    out = []
    for phase in PHASES:
        inside = np.flatnonzero(phases == phase)
        if len(inside):
            share = float(np.nanmean(shares[phase].to_numpy()[inside]))
            where = f"the {plural(len(inside), 'cell')} of phase {phase}"
            tried = _average([step for step in steps if phases[step.cell] == phase])
            stopped = _stopped_early(stopping, cells["cell_id"].iloc[inside])
            out.append(_advise(where, phase, len(inside), share, tried, stopped))
    return out


def advise_cells(
    cells: pd.DataFrame,
    cuts: Mapping[str, Cut],
    axes: Mapping[str, Sequence[str]],
    among: Collection[str] | None = None,
    stopping: Mapping[Any, np.ndarray] | None = None,
) -> dict[str, Advice]:
    """Return advice by ``cell_id`` for all cells or for those in ``among``.

    ``stopping`` is the result of ``gains_of_stopping``.
    """
    cells = cells.reset_index(drop=True)
    names = [n for n in axis_names(axes) if n in cells]
    shares, by_cell = memberships(cells, cuts), defaultdict(list)
    for step in moves(cells, names):
        by_cell[step.cell].append(step)
    lacks = {n: column(cells, n).isna().to_numpy() for n in ("train_loss", "mode_connectivity", "cka")}
    out: dict[str, Advice] = {}
    for place, row in enumerate(cells.to_dict("records")):
        cell = str(row["cell_id"])
        if among is not None and cell not in among:
            continue
        where = ", ".join(f"{words_of(n)} {setting(row[n])}" for n in names) or "these models"
        tried = _average(by_cell[place])
        if not row["phase"]:
            lacking = ", ".join(words_of(n) for n in lacks if lacks[n][place])
            alone = row.get("n_models") == 1 and lacks["mode_connectivity"][place]
            missing = "train another seed: a pair needs two" if alone else "measure what is missing first"
            helped = [t for t in tried if t.surely_helped]
            change, sure = (_change(helped[0]), SURE[2]) if helped else (missing, SURE[0])
            evidence = [_describe(t) for t in tried[:4]]
            out[cell] = Advice(where, "", 1, f"unknown without {lacking}", change, sure, evidence)
            continue
        stopped = _stopped_early(stopping, [row["cell_id"]])
        advice = _advise(where, row["phase"], 1, float(shares[row["phase"]].iloc[place]), tried, stopped)
        if row["near_cut"]:
            near = ", ".join(words_of(n) for n in row["near_cut"].split(", "))
            advice.evidence.append(f"The cell lies near the cut of {near}.")
        out[cell] = advice
    return out


def _advise(
    where: str, phase: str, n: int, share: float, tried: list[Tried], stopped: Tried | None
) -> Advice:
    """Return the advice for ``n`` cells of a phase; ``share`` is the probability of this phase."""
    cause, wanted = CAUSES[phase]
    likely = f"{share:.0%}".replace("%", " %")
    evidence = [f"Probability of phase {phase}, from the standard errors of the means: {likely}."]
    evidence += [_describe(t) for t in tried[:4]]
    if stopped:
        evidence.append(
            f"Models stopped at the best step of the other replicates gained "
            f"{number(stopped.gain, 2)} ± {number(stopped.stderr, 2)} points of accuracy compared with the "
            f"end of training; {stopped.helped} of {stopped.n} models improved."
        )
    helped = [t for t in tried if t.surely_helped]
    suggested = [t for t in helped if t.direction in wanted]
    best = next(iter(suggested or helped), None)
    untried = [w for w in wanted if w not in {t.direction for t in tried}]
    sure = SURE[1]
    if stopped and (best is None or stopped.surely_above(best)):
        change = "shorter training: stop earlier"
    elif suggested:
        change = _change(suggested[0])
        sure = SURE[0] if share >= 0.8 else SURE[1]
    elif helped:
        change = _change(helped[0])
        evidence.append("The taxonomy does not suggest this change; neighbouring cells of this run do.")
    elif phase == "IV-B":
        change = f"keep these settings{'; try ' + untried[0] if untried else ''}"
        sure = SURE[0] if tried and share >= 0.8 else SURE[1]
    elif untried:
        change, sure = f"try {untried[0]}", SURE[2]
        here = "this cell" if n == 1 else "these cells"
        evidence.append(f"{untried[0].capitalize()} was not tried from {here}; the taxonomy suggests it.")
    else:
        change = "none on this grid; vary another setting"
        evidence.append("No step to a neighbouring cell gains more accuracy than its error.")
    return Advice(where, phase, n, cause, change, sure, evidence)


def _stopped_early(stopping: Mapping[Any, np.ndarray] | None, cells: Iterable[Any]) -> Tried | None:
    """Return what early stopping gained the models of some cells; None if it did not clearly help.

    Models of a cell choose each other's step, so a mean over n of them counts as a mean over n/2.
    """
    by_cell = [stopping[cell] for cell in cells if cell in stopping] if stopping else []
    if not by_cell:
        return None
    gains = np.concatenate(by_cell)
    stopped = _mean_of_half("", "shorter training", gains, float(gains.std(ddof=1)))
    return stopped if stopped.surely_helped else None


def _average(steps: Iterable[Move]) -> list[Tried]:
    """Return the mean gain of each change over its steps, best first.

    Steps in a line share cells, so a mean over n of them counts as a mean over n/2. If the spread over
    replicates is unknown, the spread over steps is used instead.
    """
    groups: dict[tuple[str, str], list[Move]] = defaultdict(list)
    for step in steps:
        groups[step.axis, step.direction].append(step)
    found = []
    for (axis, direction), group in groups.items():
        gains = np.array([step.gain for step in group])
        known = np.array([step.stderr for step in group if not math.isnan(step.stderr)])
        spread = float(np.sqrt(np.mean(known**2))) if len(known) else math.nan
        if not len(known) and len(gains) >= 4:
            spread = float(gains.std(ddof=1))
        found.append(_mean_of_half(axis, direction, gains, spread))
    return sorted(found, key=lambda tried: -tried.gain)


def _mean_of_half(axis: str, direction: str, gains: np.ndarray, spread: float) -> Tried:
    """Return the mean of the gains, with the standard error of a mean over half as many."""
    stderr = spread / max(1.0, len(gains) / 2) ** 0.5
    return Tried(axis, direction, float(gains.mean()), stderr, len(gains), int((gains > 0).sum()))


def _change(tried: Tried) -> str:
    up = DIRECTIONS[tried.axis][0] == tried.direction
    return f"{tried.direction}: {'raise' if up else 'lower'} the {words_of(tried.axis)}"


def _describe(tried: Tried) -> str:
    error = f" ± {number(tried.stderr, 2)}" if math.isfinite(tried.stderr) else ""
    often = f"; it helped in {tried.helped} of {tried.n} steps" if tried.n > 1 else ""
    return (
        f"One step of {tried.direction} ({words_of(tried.axis)}) changed accuracy by "
        f"{'+' if tried.gain > 0 else ''}{number(tried.gain, 2)}{error} points{often}."
    )
