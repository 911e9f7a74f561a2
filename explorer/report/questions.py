"""Questions of a practitioner about one cell, answered from the cells around it and from other runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from explorer.diagnosis import MARGIN, QUESTIONS, Diagnoser
from explorer.phases.advice.moves import DIRECTIONS, moves_from
from explorer.phases.advice.rules import FEWEST_MODELS, NEGLIGIBLE, SURE
from explorer.phases.advice.tried import COUNTS, LEVEL, Tried, mean_gains, with_joint_intervals
from explorer.phases.aggregate import axis_names, column
from explorer.phases.noise import moderated_errors, t_quantile
from explorer.phases.numbers import format_number, format_setting, words_of
from explorer.phases.words import ACCURACY

ASKED = {
    "temperature": "Is training too hot or too cold?",
    "temperature_or_size": "Another temperature or a bigger model?",
    "temperature_or_data": "Another temperature or more data?",
    "size_or_data": "A bigger model or more data?",
}
# What to do by answer: in a word, and for a run that does not vary it.
ACTIONS = {
    "too hot": ("colder", "a larger batch size or a lower learning rate"),
    "too cold": ("hotter", "a smaller batch size or a higher learning rate"),
    "temperature": ("another temperature", "another batch size or learning rate"),
    "size": ("a bigger model", "a larger width"),
    "data": ("more data", "a larger training set"),
}
LEAST_SURE = 0.6  # probability of an answer of other runs that is worth telling


@dataclass(frozen=True)
class BestChange:
    """The best change in some directions that a run has tried from a cell.

    ``most`` is the highest end of the intervals of all these changes, in points of test accuracy.
    ``variance`` and ``df`` are those of the mean accuracy after the best one.
    """

    change: str
    tried: Tried
    most: float
    variance: float
    df: float

    def above(self, other: BestChange) -> bool:
        """Return whether this change is surely better than another one from the same cell."""
        reach = float(t_quantile(1 - LEVEL / 2, min(self.df, other.df)))
        return self.tried.gain - other.tried.gain > reach * math.sqrt(self.variance + other.variance)

    @property
    def points(self) -> str:
        return f"{'+' if self.tried.gain > 0 else ''}{format_number(self.tried.gain, 1)} points"

    def describe(self) -> str:
        low, high = self.tried.low, self.tried.high
        ends = (
            "" if math.isnan(low) else f", 95 % interval {format_number(low, 1)} to {format_number(high, 1)}"
        )
        return f"{self.change} ({self.points}{ends})"


def answer_questions(
    cells: pd.DataFrame, place: int, axes: Mapping[str, Sequence[str]], learned: Mapping[str, Diagnoser]
) -> list[str]:
    """Return lines with the answer to each question about the cell in row ``place``.

    The cells that differ from it in one setting answer first, with intervals that hold for all of them at
    once. An answer of the diagnosers follows where they leave the question open or say something else.
    """
    cells = cells.reset_index(drop=True)
    names = [n for n in axis_names(axes) if n in cells]
    changes = {answer: side for sides in QUESTIONS.values() for answer, side in sides}
    steps = _best_steps(cells, place, names, changes)
    hints = {name: _untried(cells, place, names, side) or ACTIONS[name][1] for name, side in changes.items()}
    guess = bool(0 < column(cells, "n_models").iloc[place] < FEWEST_MODELS)
    out, silent = [], []
    for question, sides in QUESTIONS.items():
        answers = [answer for answer, _ in sides]
        answer, text = _own_answer(answers, steps, hints, guess=guess)
        if not answer and _possible(cells, place) < NEGLIGIBLE:
            answer, text = "neither", "Neither: the test accuracy cannot rise by a point any more."
        diagnoser, known = learned.get(question), [n for n in answers if n in steps]
        other = _learned_answer(diagnoser, cells, place) if diagnoser else ("", "")
        if not known and other[0] and not answer:
            text, other = f"{other[1][0].upper()}{other[1][1:]}", ("", "")
        out.append(f"  {ASKED[question]} {text}")
        out += (
            [f"    {'; '.join(f'{ACTIONS[n][0]}: {steps[n].describe()}' for n in known)}."] if known else []
        )
        refuted = answer or "neither" if other[0] in known and steps[other[0]].most < NEGLIGIBLE else answer
        if other[0] not in ("", answer) and refuted != "neither":
            out.append(f"    {'Other runs disagree' if answer else 'Learned from other runs'}: {other[1]}")
        if other[1] and not other[0] and not answer:
            silent.append(f"{question.replace('_', ' ')} ({other[1]})")
    if silent:
        out.append(
            f"  No answer is learned from other runs for {', '.join(silent)}: there it is not right clearly "
            "more often than the commonest answer."
        )
    return out


def _own_answer(
    names: Sequence[str], steps: Mapping[str, BestChange], hints: Mapping[str, str], *, guess: bool
) -> tuple[str, str]:
    """Return the answer of the run's own cells, "neither" or "" if they leave it open, and a sentence."""
    tried = [name for name in names if name in steps]
    if not tried:
        return "", f"Not tried from here. Compare {hints[names[0]]} with {hints[names[1]]}."
    first = max(tried, key=lambda name: (steps[name].tried.surely_helped, steps[name].tried.gain))
    second = names[1 - names.index(first)]
    best, other = steps[first], steps.get(second)
    if best.tried.gain > COUNTS and not best.tried.low <= -best.tried.gain:
        sure = (
            SURE[1]
            if best.tried.surely_helped and not guess and (not other or best.above(other))
            else SURE[2]
        )
        said = first if first.startswith("too") else ACTIONS[first][0]
        return first, f"{said.capitalize()}: {best.change} ({best.points}, {sure})."
    if not other:
        heat = [name for name in steps if name.startswith("too")]
        what = ACTIONS[heat[0] if first == "temperature" and len(heat) == 1 else first][0]
        if best.tried.gain > COUNTS:
            return "", f"The run cannot tell whether {what} helps; train more seeds, or try {hints[second]}."
        no = "does not gain a point" if best.most < NEGLIGIBLE else "may not help"
        return "", f"{what.capitalize()} {no}; try {hints[second]} ({SURE[2]})."
    if max(best.most, other.most) < NEGLIGIBLE and not guess:
        return "neither", f"Neither: keep these, since no such change gains a point ({SURE[1]})."
    return "", "The run cannot tell; train more seeds of these cells."


def _untried(cells: pd.DataFrame, place: int, names: Sequence[str], changes: Sequence[str]) -> str:
    """Return in words what to try beyond the run's axes in these directions; empty if it varies none."""
    ends = [
        f"a {'larger' if change == DIRECTIONS[axis][0] else 'smaller'} {words_of(axis)} than "
        f"{format_setting(cells[axis].iloc[place])}"
        for axis in names
        for change in DIRECTIONS.get(axis, ())
        if change in changes
    ]
    return " or ".join(ends)


def _learned_answer(diagnoser: Diagnoser, cells: pd.DataFrame, place: int) -> tuple[str, str]:
    """Return the answer learned from other runs and a sentence; both are empty if it is not sure.

    If such answers are not right clearly more often than the commonest one, return "" and both shares.
    """
    found = diagnoser.predict(cells).iloc[place]
    right, commonest = (f"{100 * share:.0f} %" for share in (found["accuracy"], diagnoser.baseline))
    if found["accuracy"] < diagnoser.baseline + MARGIN:
        return "", f"{right} against {commonest}"
    if not found["probability"] >= LEAST_SURE:
        return "", ""
    gain = diagnoser.gains[[name for name, _ in QUESTIONS[diagnoser.question]].index(found["answer"])]
    answer, (brief, action) = found["answer"], ACTIONS[found["answer"]]
    said = f"{answer}: try {action}" if answer.startswith("too") else brief
    return answer, (
        f"{said} ({100 * found['probability']:.0f} % sure, for {found['reason']}). "
        f"{_expected(gain, cells.iloc[[place]])}Such answers are right in {right} of the cells of other "
        f"runs, the commonest answer in {commonest}."
    )


def _expected(share: float, cell: pd.DataFrame) -> str:
    """Return a sentence about the gain of other runs, applied to the test error of this cell."""
    if not math.isfinite(share):
        return ""
    gain = share * (100 - float(column(cell, ACCURACY).iloc[0]))
    here = f", here {format_number(gain, 1)} points" if math.isfinite(gain) else ""
    return f"On average this removed {100 * share:.0f} % of the test error{here}. "


def _possible(cells: pd.DataFrame, place: int) -> float:
    """Return the points of test accuracy that are missing to 100 %: no change can gain more."""
    return 100 - float(column(cells, ACCURACY).iloc[place])


def _best_steps(
    cells: pd.DataFrame, place: int, names: Sequence[str], changes: Mapping[str, Sequence[str]]
) -> dict[str, BestChange]:
    """Return the best change to another cell of the same line for each answer that was tried."""
    errors = moderated_errors(cells, ACCURACY)
    moves = [
        move
        for move in moves_from(cells, names, place)
        if any(move.direction in side for side in changes.values())
    ]
    tried = with_joint_intervals([one for move in moves for one in mean_gains([move], errors)], len(moves))
    tried = [replace(one, high=min(one.high, _possible(cells, place))) for one in tried]
    found = defaultdict(list)
    for move, one in zip(moves, tried, strict=True):
        here, there = (format_setting(cells[move.axis].iloc[at]) for at in (place, move.to))
        verb = "raise" if DIRECTIONS[move.axis][0] == move.direction else "lower"
        text = f"{verb} the {words_of(move.axis)} from {here} to {there}"
        step = BestChange(text, one, one.high, float(errors.stderr[move.to] ** 2), float(errors.df[move.to]))
        for answer, side in changes.items():
            if move.direction in side:
                found[answer].append(step)
    return {
        name: replace(max(group, key=lambda s: s.tried.gain), most=max(s.most for s in group))
        for name, group in found.items()
    }
