"""Advice for cells: what holds them back, and the next change to try, from their neighbours."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases.advice.causes import cause_of
from explorer.phases.advice.moves import moves
from explorer.phases.advice.tried import Tried, mean_gains, stopped_early, with_joint_intervals
from explorer.phases.aggregate import axis_names, column
from explorer.phases.cuts import PHASES, UNKNOWN_PHASE, Cut, noise_of, reading_of
from explorer.phases.membership import CERTAIN
from explorer.phases.noise import moderated_errors
from explorer.phases.numbers import format_setting, words_of
from explorer.phases.words import ACCURACY
from explorer.units import plural

SURE = ("very sure", "fairly sure", "a guess")
FEWEST_MODELS = 3  # two models are one pair, which does not show how much pairs differ
NEGLIGIBLE = 1.0  # points of accuracy that no neighbour may gain before settings are surely worth keeping
FORMS = ("larger model", "smaller model")  # these need an article


@dataclass(frozen=True)
class Advice:
    """Advice for some cells.

    ``change`` is what to try next, ``sure`` is one of SURE, ``evidence`` holds sentences with numbers.
    ``tried`` are the changes that the run has made from these cells, best first. ``guess`` says why
    replicates or curves allow no more than a guess; otherwise it is empty.
    """

    where: str
    phase: str
    n_cells: int
    cause: str
    change: str
    sure: str
    evidence: list[str] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    guess: str = ""
    reading: str = UNKNOWN_PHASE


class _Evidence:
    """What a run shows about its cells: steps between neighbours, early stopping, and certainty."""

    def __init__(
        self,
        cells: pd.DataFrame,
        cuts: Mapping[str, Cut],
        axes: Mapping[str, Sequence[str]],
        stopping: Mapping[Any, np.ndarray] | None,
        noise: float,
    ) -> None:
        self.cells, self.names = cells, [n for n in axis_names(axes) if n in cells]
        self.connected, self.stopping = cuts["connected"].value, stopping or {}
        self.errors = moderated_errors(cells, ACCURACY)
        self.by_cell = defaultdict(list)
        steps = moves(cells, self.names)
        for step in steps:
            self.by_cell[step.cell].append(step)
        self.family = len(steps)
        table = {
            n: column(cells, n) for n in ("train_error_percent", "train_loss", "mode_connectivity", "cka")
        }
        table |= {"test_error_percent": 100 - column(cells, ACCURACY), "label_noise": noise_of(cells, noise)}
        self.numbers = pd.DataFrame(table, index=cells.index)
        self.few = column(cells, "n_models").between(1, FEWEST_MODELS - 1).to_numpy()
        self.curves = column(cells, "n_curves").fillna(0.0).to_numpy()
        self.converged = column(cells, "curves_converged_share").to_numpy()

    def guessed(self, rows: Sequence[int]) -> str:
        """Return why advice on most of these cells is a guess; empty if it need not be."""
        few, unfinished = self.few[rows], self.converged[rows] < 1
        if (few | unfinished).sum() * 2 <= len(rows):
            return ""
        if not unfinished.any():
            return "One or two replicates do not show how much replicates differ, so this is a guess."
        curves = self.curves[rows] * np.isfinite(self.converged[rows])
        known = int(np.nansum(self.converged[rows] * curves).round()), plural(int(curves.sum()), "curve")
        which = f"{known[0]} of {known[1]} here" if curves.sum() else "Not all curves here"
        return f"{which} have converged, so this is a guess."

    def tried(self, places: Sequence[int]) -> list[Tried]:
        """Return the changes made from these cells, with simultaneous intervals, best first."""
        found = mean_gains([step for place in places for step in self.by_cell[place]], self.errors)
        ids = self.cells["cell_id"].iloc[list(places)]
        found += stopped_early([self.stopping[cell] for cell in ids if cell in self.stopping])
        return sorted(with_joint_intervals(found, self.family), key=lambda t: -t.gain)

    def advise(self, where: str, phase: str, places: Sequence[int]) -> Advice:
        """Return the advice for the cells of a phase."""
        tried, rows = self.tried(places), list(places)
        numbers = self.numbers.iloc[rows].mean()
        cause = cause_of(numbers, phase, tried, self.connected, float(numbers["label_noise"]))
        if len(rows) > 1:
            cause = cause._replace(text=f"{cause.text} (means over the cells)")
        probability = column(self.cells, "phase_probability").iloc[rows]
        share = float(probability.mean()) if probability.notna().all() else math.nan
        likely = f"{share:.0%}".replace("%", " %") if math.isfinite(share) else "unknown"
        evidence = [f"Probability of phase {phase}, over replicates and cuts: {likely}."]
        evidence += [t.describe() for t in tried[:4]]
        wanted = cause.wanted
        helped = [t for t in tried if t.surely_helped]
        suggested = [t for t in helped if t.direction in wanted]
        best = next(iter(suggested or helped), None)
        if best and helped[0].surely_above(best):
            best = helped[0]
        untried = [w for w in wanted if w not in {t.direction for t in tried if t.axis}]
        sure = SURE[2]
        if best:
            change = best.change
            if best.axis and 2 * best.n < len(rows):
                change += f", possible from {best.n} of these {len(rows)} cells"
            certain = best.surely > 0 and best in suggested and share >= CERTAIN
            sure = SURE[0] if certain else SURE[1]
            if best not in suggested:
                evidence.append("The cause does not suggest this change; the run shows that it helps.")
        elif phase == "IV-B":
            best_here = any(t.axis for t in tried) and all(t.high < NEGLIGIBLE for t in tried)
            change = f"keep these settings{'; try ' + untried[0] if untried and not best_here else ''}"
            sure = SURE[1] if best_here else SURE[2]
        elif untried:
            change = f"try {untried[0]}"
            here = "this cell" if len(rows) == 1 else "these cells"
            evidence.append(f"{untried[0].capitalize()} was not tried from {here}.")
        else:
            change = "none on this grid; vary another setting"
            evidence.append("No step to a neighbouring cell gains more accuracy than chance explains.")
        if why := self.guessed(rows):
            sure = SURE[2]
            evidence.append(why)
        reading = reading_of(phase, float(numbers["train_error_percent"]), float(numbers["label_noise"]))
        return Advice(
            where, phase, len(rows), cause.text, change, sure, evidence, tried, untried, why, reading
        )

    def advise_unsorted(self, where: str, place: int) -> Advice:
        """Return the advice for a cell without a phase."""
        lacks = [
            n for n in ("train_loss", "mode_connectivity", "cka") if np.isnan(self.numbers[n].iloc[place])
        ]
        tried = self.tried([place])
        alone = self.cells["n_models"].iloc[place] == 1 and "mode_connectivity" in lacks
        missing = "train another seed: a pair needs two" if alone else "measure what is missing first"
        helped = [t for t in tried if t.surely_helped]
        change = helped[0].change if helped else missing
        evidence = [t.describe() for t in tried[:4]]
        if why := self.guessed([place]):
            evidence.append(why)
        cause = f"unknown without {', '.join(map(words_of, lacks))}"
        return Advice(where, "", 1, cause, change, SURE[2], evidence, tried, guess=why)


def advise_phases(
    cells: pd.DataFrame,
    cuts: Mapping[str, Cut],
    axes: Mapping[str, Sequence[str]],
    stopping: Mapping[Any, np.ndarray] | None = None,
    *,
    noise: float = 0.0,
) -> list[Advice]:
    """Return one piece of advice for each phase with cells in the run, based on those cells.

    ``stopping`` is the result of ``gains_of_stopping``, ``noise`` the share of noisy training labels, if it
    is the same for all cells.
    """
    cells = cells.reset_index(drop=True)
    found, phases = _Evidence(cells, cuts, axes, stopping, noise), cells["phase"].to_numpy()
    out = []
    for phase in PHASES:
        inside = np.flatnonzero(phases == phase).tolist()
        if inside:
            which = "the cell" if len(inside) == 1 else f"the {len(inside):,} cells"
            out.append(found.advise(f"{which} of phase {phase}", phase, inside))
    return out


def advise_cells(
    cells: pd.DataFrame,
    cuts: Mapping[str, Cut],
    axes: Mapping[str, Sequence[str]],
    among: Collection[str] | None = None,
    stopping: Mapping[Any, np.ndarray] | None = None,
    *,
    noise: float = 0.0,
) -> dict[str, Advice]:
    """Return advice by ``cell_id`` for all cells or for those in ``among``.

    ``stopping`` and ``noise`` are as in ``advise_phases``.
    """
    cells = cells.reset_index(drop=True)
    found = _Evidence(cells, cuts, axes, stopping, noise)
    out: dict[str, Advice] = {}
    for place, row in enumerate(
        cells[[*dict.fromkeys(["cell_id", "phase", "near_cut", *found.names])]].to_dict("records")
    ):
        cell = str(row["cell_id"])
        if among is not None and cell not in among:
            continue
        where = ", ".join(f"{words_of(n)} {format_setting(row[n])}" for n in found.names) or "these models"
        if not row["phase"]:
            out[cell] = found.advise_unsorted(where, place)
            continue
        advice = found.advise(where, row["phase"], [place])
        if row["near_cut"]:
            near = ", ".join(words_of(n) for n in row["near_cut"].split(", "))
            advice.evidence.append(f"The cell lies near the cut of {near}.")
        out[cell] = advice
    return out


def advice_table(
    cells: pd.DataFrame, advice: Mapping[str, Advice], axes: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Return a row for each cell and change that was tried from it or that its cause suggests.

    Columns: ``cell_id``, the axes, ``question``, ``answer`` (yes, no, cannot tell, not tried), ``change``,
    ``gain`` in points of accuracy with the ends ``low`` and ``high`` of its 95 % interval, which holds for
    all changes of the cell at once, ``confidence`` (SURE), and ``curves_converged_share`` of the
    cell: if it is below 1, every confidence is *a guess*.
    """
    cells = cells.assign(curves_converged_share=column(cells, "curves_converged_share"))
    names = [n for n in axis_names(axes) if n in cells]
    rows = []
    kept = ["cell_id", *(n for n in names if n != "cell_id"), "curves_converged_share"]
    for row in cells[kept].to_dict("records"):
        one = advice[str(row["cell_id"])]
        for t in one.tried:
            answer = "yes" if t.surely_helped else "no" if t.surely_hurt else "cannot tell"
            sure = SURE[2]
            if answer != "cannot tell" and not one.guess:
                chosen = t.surely_helped and one.change == t.change
                sure = one.sure if chosen else SURE[1]
            effect = {"gain": t.gain, "low": t.low, "high": t.high}
            rows.append({**row, **_question(t.direction), "answer": answer, "change": t.change, **effect,
                         "confidence": sure})  # fmt: skip
        for direction in one.untried:
            nothing = dict.fromkeys(("gain", "low", "high"), math.nan)
            rows.append({**row, **_question(direction), "answer": "not tried", "change": f"try {direction}",
                         **nothing, "confidence": SURE[2]})  # fmt: skip
    wanted = ["cell_id", *names, "question", "answer", "change", "gain", "low", "high", "confidence"]
    wanted.append("curves_converged_share")
    return pd.DataFrame(rows, columns=pd.Index(dict.fromkeys(wanted)))


def _question(direction: str) -> dict[str, str]:
    return {"question": f"Would {'a ' if direction in FORMS else ''}{direction} help?"}
