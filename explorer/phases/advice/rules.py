"""Advice for a cell: what limits it, from its phase, and the next change to try, from its neighbours."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases.advice.moves import DIRECTIONS, moves
from explorer.phases.aggregate import axis_names, column
from explorer.phases.cuts import PHASES, READINGS, Cut
from explorer.phases.membership import memberships
from explorer.phases.numbers import counted, number, setting, spoken

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
Step = Sequence[Any]  # axis, move, gain in points, its standard error
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
    """A move made in the run: the mean gain of its ``n`` steps in points, and how many steps ``helped``."""

    axis: str
    move: str
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
    steps, shares = moves(cells, names), memberships(cells, cuts)
    out = []
    for phase in PHASES:
        inside = np.flatnonzero(cells["phase"] == phase)
        if len(inside):
            share = float(np.nanmean(shares[phase].to_numpy()[inside]))
            where = f"the {counted(len(inside), 'cell')} of phase {phase}"
            made = [step for _, step in _steps(steps[steps["cell"].isin(inside)])]
            ended = _stopped(stopping, cells["cell_id"].iloc[inside])
            out.append(_advice(where, phase, len(inside), share, _tried(made), ended))
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
    steps, shares = moves(cells, names), memberships(cells, cuts)
    by_cell: dict[int, list[Step]] = defaultdict(list)
    for cell, step in _steps(steps):
        by_cell[cell].append(step)
    lacks = {n: column(cells, n).isna().to_numpy() for n in ("train_loss", "mode_connectivity", "cka")}
    out: dict[str, Advice] = {}
    for place, row in enumerate(cells.to_dict("records")):
        cell = str(row["cell_id"])
        if among is not None and cell not in among:
            continue
        where = ", ".join(f"{spoken(n)} {setting(row[n])}" for n in names) or "these models"
        mine = _tried(by_cell[place])
        if not row["phase"]:
            lacking = ", ".join(spoken(n) for n in lacks if lacks[n][place])
            alone = row.get("n_models") == 1 and lacks["mode_connectivity"][place]
            missing = "train another seed: a pair needs two" if alone else "measure what is missing first"
            out[cell] = _measured_only(where, f"unknown without {lacking}", missing, mine)
            continue
        ended = _stopped(stopping, [row["cell_id"]])
        advice = _advice(where, row["phase"], 1, float(shares[row["phase"]].iloc[place]), mine, ended)
        if row["near_cut"]:
            near = ", ".join(spoken(n) for n in row["near_cut"].split(", "))
            advice.evidence.append(f"The cell lies near the cut of {near}.")
        out[cell] = advice
    return out


def _advice(where: str, phase: str, n: int, share: float, tried: list[Tried], ended: Tried | None) -> Advice:
    cause, wanted = CAUSES[phase]
    likely = f"{share:.0%}".replace("%", " %")
    evidence = [f"Probability of phase {phase}, from the standard errors of the means: {likely}."]
    evidence += [_told(t) for t in tried[:4]]
    if ended:
        evidence.append(
            f"Models stopped at the best step of the other replicates gained "
            f"{number(ended.gain, 2)} ± {number(ended.stderr, 2)} points of accuracy compared with the end "
            f"of training; {ended.helped} of {ended.n} models improved."
        )
    helped = [t for t in tried if t.surely_helped]
    suggested = [t for t in helped if t.move in wanted]
    best = next(iter(suggested or helped), None)
    if ended and (best is None or ended.surely_above(best)):
        return Advice(where, phase, n, cause, "shorter training: stop earlier", SURE[1], evidence)
    if suggested:
        sure = SURE[0] if share >= 0.8 else SURE[1]
        return Advice(where, phase, n, cause, _change(suggested[0]), sure, evidence)
    if helped:
        evidence.append("The taxonomy does not suggest this change; neighbouring cells of this run do.")
        return Advice(where, phase, n, cause, _change(helped[0]), SURE[1], evidence)
    untried = [m for m in wanted if m not in {t.move for t in tried}]
    if phase == "IV-B":
        text = f"keep these settings{'; try ' + untried[0] if untried else ''}"
        return Advice(where, phase, n, cause, text, SURE[0] if tried and share >= 0.8 else SURE[1], evidence)
    if untried:
        here = "this cell" if n == 1 else "these cells"
        evidence.append(f"{untried[0].capitalize()} was not tried from {here}; the taxonomy suggests it.")
        return Advice(where, phase, n, cause, f"try {untried[0]}", SURE[2], evidence)
    evidence.append("No step to a neighbouring cell gains more accuracy than its error.")
    return Advice(where, phase, n, cause, "none on this grid; vary another setting", SURE[1], evidence)


def _measured_only(where: str, cause: str, missing: str, tried: list[Tried]) -> Advice:
    helped = [t for t in tried if t.surely_helped]
    change, sure = (_change(helped[0]), SURE[2]) if helped else (missing, SURE[0])
    return Advice(where, "", 1, cause, change, sure, [_told(t) for t in tried[:4]])


def _steps(moved: pd.DataFrame) -> Iterable[tuple[int, Step]]:
    """Yield the row number of the cell and the step, for each row of ``moves``."""
    columns = (moved[name].tolist() for name in ("cell", "axis", "move", "gain", "stderr"))
    return ((cell, step) for cell, *step in zip(*columns, strict=True))


def _stopped(stopping: Mapping[Any, np.ndarray] | None, cells: Iterable[Any]) -> Tried | None:
    """Return what early stopping gained the models of some cells; None if it did not clearly help.

    Models of a cell choose each other's step, so a mean over n of them counts as a mean over n/2.
    """
    by_cell = [stopping[cell] for cell in cells if cell in stopping] if stopping else []
    if not by_cell:
        return None
    gains = np.concatenate(by_cell)
    stderr = float(gains.std(ddof=1) / max(1.0, len(gains) / 2) ** 0.5)
    ended = Tried("", "shorter training", float(gains.mean()), stderr, len(gains), int((gains > 0).sum()))
    return ended if ended.surely_helped else None


def _tried(steps: Iterable[Step]) -> list[Tried]:
    """Return the mean gain of each move over the steps taken, best first.

    Steps in a line share cells, so a mean over n of them counts as a mean over n/2. If the spread over
    replicates is unknown, the spread over steps is used instead.
    """
    groups: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for axis, move, gain, stderr in steps:
        groups[axis, move].append((gain, stderr))
    found = []
    for (axis, move), taken in groups.items():
        gains = np.array([gain for gain, _ in taken])
        known = np.array([error for _, error in taken if not math.isnan(error)])
        spread = float(np.sqrt(np.mean(known**2))) if len(known) else math.nan
        if not len(known) and len(gains) >= 4:
            spread = float(gains.std(ddof=1))
        stderr = spread / max(1.0, len(gains) / 2) ** 0.5
        found.append(Tried(axis, move, float(gains.mean()), stderr, len(gains), int((gains > 0).sum())))
    return sorted(found, key=lambda tried: -tried.gain)


def _change(tried: Tried) -> str:
    up = DIRECTIONS[tried.axis][0] == tried.move
    return f"{tried.move}: {'raise' if up else 'lower'} the {spoken(tried.axis)}"


def _told(tried: Tried) -> str:
    error = f" ± {number(tried.stderr, 2)}" if math.isfinite(tried.stderr) else ""
    often = f"; it helped in {tried.helped} of {tried.n} steps" if tried.n > 1 else ""
    return (
        f"One step of {tried.move} ({spoken(tried.axis)}) changed accuracy by "
        f"{'+' if tried.gain > 0 else ''}{number(tried.gain, 2)}{error} points{often}."
    )
