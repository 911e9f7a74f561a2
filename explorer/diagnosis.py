"""Questions about a cell with two possible answers, and diagnosers that answer them from landscape measures.

Zhou et al., "MD tree: a model-diagnostic tree grown on loss landscape" (ICML 2024), ask whether a model is
trained too hot or too cold, or whether another temperature or a larger model would help more. The true answer
of a cell comes from its *room for improvement*: how much more accurate the best cell is that differs from it
in one setting. A diagnoser learns the answer from what can be measured without test labels.

>>> import explorer
>>> cells = explorer.load("digits").cells                              # doctest: +SKIP
>>> diagnoser = explorer.diagnosis.fit(cells, "temperature_or_size")   # doctest: +SKIP
>>> diagnoser.predict(cells)[["answer", "probability"]]                # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from explorer.columns import SETTINGS
from explorer.measures.tables import EVERY
from explorer.phases.advice.moves import DIRECTIONS
from explorer.phases.words import ACCURACY
from explorer.settings import InputError, suggest

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression

# Answers of a question, each with the changes of a setting that would help (words of DIRECTIONS).
Side = tuple[str, tuple[str, ...]]
TEMPERATURE: Side = ("temperature", ("colder training", "hotter training"))
SIZE: Side = ("size", ("larger model",))
DATA: Side = ("data", ("more data",))
QUESTIONS: dict[str, tuple[Side, Side]] = {
    "temperature": (("too hot", ("colder training",)), ("too cold", ("hotter training",))),
    "temperature_or_size": (TEMPERATURE, SIZE),
    "temperature_or_data": (TEMPERATURE, DATA),
    "size_or_data": (SIZE, DATA),
}
FEWEST = 12  # cells with an answer that a diagnoser needs
FOLDS = 5


@dataclass(frozen=True)
class Feature:
    """A number that a diagnoser sees of a cell: logarithms differ less between runs than the values."""

    title: str
    column: str
    of: Callable[[np.ndarray], np.ndarray]


def _log(least: float, sign: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """Return the logarithm to base 10 of values of this sign; smaller ones count as ``least``."""
    return lambda values: np.log10(np.maximum(sign * values, least))


PEAK = "curve_peak_error_percent"
# The Hessian is left out: with it, answers were right less often at other model sizes than the fitted ones.
FEATURES = (
    Feature("training loss", "train_loss", _log(1e-4)),
    Feature("training error (%)", "train_error_percent", _log(1e-2)),
    Feature("error on the curve (%)", PEAK, _log(1e-2)),
    Feature("mode connectivity", "mode_connectivity", _log(1e-2, -1)),
    Feature("mode connectivity", "mode_connectivity", _log(1e-2)),
    Feature("CKA", "cka", lambda values: values),
)


def room(cells: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Return each cell's room for improvement along an axis, in points of test accuracy.

    Args:
        cells: one row per cell, with the axes and ``test_accuracy_percent``.
        axis: a setting with a numeric column.

    Returns:
        Columns ``down`` and ``up`` (cells, 2), with the index of ``cells``: the best accuracy at smaller and
        at larger values of the axis, all other settings equal, minus the cell's own; at least 0. NaN if the
        accuracy of the cell is unknown.

    Raises:
        InputError: the table lacks the axis or the accuracy.

    >>> explorer.diagnosis.room(run.cells, "batch_size").shape
    (4, 2)
    """
    for name in (axis, ACCURACY):
        if name not in cells:
            raise InputError(
                f"the table of cells has no column {name}; it has {suggest(name, [*map(str, cells)])}"
            )
    others = [name for name in _settings(cells) if name != axis]
    ordered = cells.reset_index(drop=True).sort_values(axis, kind="stable")
    lines = ordered.groupby(others, dropna=False, sort=False) if others else ordered.groupby(lambda _: 0)
    best = pd.DataFrame({"down": 0.0, "up": 0.0}, index=range(len(cells)))
    for _, line in lines:
        accuracy = line[ACCURACY].fillna(-np.inf).to_numpy(float)
        before = np.maximum.accumulate(np.concatenate([[-np.inf], accuracy[:-1]]))
        after = np.maximum.accumulate(np.concatenate([[-np.inf], accuracy[:0:-1]]))[::-1]
        own = line[ACCURACY].to_numpy(float)
        best.loc[line.index, "down"] = np.maximum(before, own) - own
        best.loc[line.index, "up"] = np.maximum(after, own) - own
    return best.set_axis(cells.index)


def true_answers(cells: pd.DataFrame, question: str) -> pd.Series:
    """Return the answer of each cell from its room for improvement: the side with more of it.

    NaN where both sides have equally much, as at the best cell.

    Raises:
        InputError: the question is unknown, or the table has no axis for one of its sides.
    """
    sides = {answer: _side_room(cells, changes, question) for answer, changes in _sides(question)}
    (first, a), (second, b) = sides.items()
    answers = pd.Series(np.where(a > b, first, second), index=cells.index, dtype="object")
    return answers.where((a != b) & a.notna() & b.notna())


@dataclass(frozen=True)
class Diagnoser:
    """Answers one question about cells.

    Args:
        question: one of QUESTIONS.
        accuracy: share of right answers in cells of lines that it was not fitted on (cross-validation).
        baseline: share of the most common answer in the same cells.
        cells: number of cells that it was fitted on.
    """

    question: str
    accuracy: float
    baseline: float
    cells: int
    trees: ExtraTreesClassifier
    scale: LogisticRegression
    typical: np.ndarray  # median of each feature

    def predict(self, cells: pd.DataFrame) -> pd.DataFrame:
        """Return the answer for each cell, with the index of ``cells``.

        Columns: ``answer``; ``probability`` that it is right; ``reason``, the two measures that speak most
        for it. A cell that lacks a measure has none of them (NaN).
        """
        numbers = _numbers(cells)
        result = pd.DataFrame({"answer": None, "probability": np.nan, "reason": None}, index=cells.index)
        known = np.isfinite(numbers).all(axis=1)
        if not known.any():
            return result
        numbers = numbers[known]
        second = self._probability(numbers)
        place = (second >= 0.5).astype(int)
        own = np.where(place == 1, second, 1 - second)
        support = np.empty_like(numbers)
        for k in range(numbers.shape[1]):  # the answer's probability falls if a measure were a typical one
            typical = numbers.copy()
            typical[:, k] = self.typical[k]
            without = self._probability(typical)
            support[:, k] = own - np.where(place == 1, without, 1 - without)
        answers = np.array([answer for answer, _ in _sides(self.question)], dtype=object)
        result.loc[known, "answer"] = answers[place]
        result.loc[known, "probability"] = own
        rows = cells[known].reset_index(drop=True)
        result.loc[known, "reason"] = [self._reason(rows.iloc[i], support[i]) for i in range(len(rows))]
        return result

    def _probability(self, numbers: np.ndarray) -> np.ndarray:
        """Return the probability of the question's second answer for each row of numbers."""
        return _calibrated(self.scale, np.asarray(self.trees.predict_proba(numbers))[:, 1])

    def _reason(self, cell: pd.Series, support: np.ndarray) -> str:
        values = {FEATURES[k].title: cell.get(FEATURES[k].column, np.nan) for k in np.argsort(-support)}
        told = [f"{title} {float(value):.3g}" for title, value in values.items() if pd.notna(value)]
        return ", ".join(told[:2])


def fit(cells: pd.DataFrame, question: str = "temperature", answers: pd.Series | None = None) -> Diagnoser:
    """Fit a diagnoser on the cells of a grid.

    It is an average of randomised trees (Geurts et al., Extremely randomized trees, 2006) on the landscape
    measures, whose probabilities are calibrated on held-out lines of the grid (Platt, 1999).

    Args:
        cells: one row per cell, with the measures of FEATURES (``curve_peak_error_percent`` may be missing)
            and the settings.
        question: ``temperature``, ``temperature_or_size``, ``temperature_or_data`` or ``size_or_data``.
        answers: the true answer of each cell, with the index of ``cells``; by default from the room for
            improvement along the lines of the table. Cells without an answer are left out.

    Raises:
        InputError: the question or an answer is unknown, measures are missing, or fewer than 12 cells have
            an answer and all measures.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    names = [answer for answer, _ in _sides(question)]
    if answers is None:
        answers = true_answers(cells, question)
    answers = answers.reindex(cells.index)
    if unknown := [str(value) for value in answers.dropna().unique() if value not in names]:
        raise InputError(
            f"{unknown[0]!r} is no answer of the question {question}; they are {', '.join(names)}"
        )
    _require_measures(cells)
    numbers = _numbers(cells)
    known = np.isfinite(numbers).all(axis=1) & answers.notna().to_numpy()
    x, y = numbers[known], (answers[known] == names[1]).to_numpy(int)
    if len(y) < FEWEST or len(set(y)) < 2:
        raise InputError(
            f"{question}: a diagnoser needs at least {FEWEST} cells with all measures, and both answers "
            f"among them; {len(y)} cells have them, and {int(y.sum())} of these are {names[1]!r}"
        )
    lines = _lines(cells[known])
    trees = ExtraTreesClassifier(300, min_samples_leaf=5, random_state=0)
    folds = StratifiedGroupKFold(min(FOLDS, lines.nunique())) if lines.nunique() > 1 else FOLDS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fold may lack one of the answers, and then never gives it
        held_out = cross_val_predict(trees, x, y, groups=lines, cv=folds, method="predict_proba")
    held_out = np.asarray(held_out)[:, 1]
    scale = LogisticRegression(C=1.0, fit_intercept=False).fit(_logit(held_out)[:, None], y)
    return Diagnoser(
        question=question,
        accuracy=float(np.mean((_calibrated(scale, held_out) >= 0.5) == y)),
        baseline=float(max(y.mean(), 1 - y.mean())),
        cells=len(y),
        trees=trees.fit(x, y),
        scale=scale,
        typical=np.median(x, axis=0),
    )


def fit_all(runs: Mapping[str, pd.DataFrame]) -> list[Diagnoser]:
    """Fit a diagnoser for each question that the cells of these runs can answer together.

    Args:
        runs: the table of cells of each run, by a name of its own.

    Raises:
        InputError: they can answer no question; the message says why.
    """
    found, reasons = [], []
    for question in QUESTIONS:
        tables, answers = [], []
        for name, cells in runs.items():
            try:
                answers.append(true_answers(cells, question))
                tables.append(cells.assign(run=name))
            except InputError as error:
                reasons.append(f"{name}: {error}")
        try:
            if tables:
                together = pd.concat(tables, ignore_index=True)
                found.append(fit(together, question, pd.concat(answers, ignore_index=True)))
        except InputError as error:
            reasons.append(str(error))
    if not found:
        raise InputError(f"no question can be learned: {'; '.join(reasons)}")
    return found


def _sides(question: str) -> tuple[Side, Side]:
    if question not in QUESTIONS:
        raise InputError(f"there is no question {question!r}; known: {suggest(question, list(QUESTIONS))}")
    return QUESTIONS[question]


def _side_room(cells: pd.DataFrame, changes: tuple[str, ...], question: str) -> pd.Series:
    """Return the largest room for improvement of each cell among these changes."""
    rooms = [
        room(cells, axis)[side]
        for axis in _settings(cells)
        for side, change in zip(("up", "down"), DIRECTIONS.get(axis, ()), strict=False)
        if change in changes
    ]
    if not rooms:
        raise InputError(f"{question}: no axis of the table means {' or '.join(changes)}")
    return pd.concat(rooms, axis=1).max(axis=1)


def _settings(cells: pd.DataFrame) -> list[str]:
    """Return the columns of settings that vary.

    A column of an unknown name is a setting if its values repeat, as those of a grid do; a measure has about
    as many values as cells.
    """
    measures = EVERY.keys() - SETTINGS.keys() - DIRECTIONS.keys()
    return [
        str(name)
        for name in cells
        if str(name).removesuffix("_std") not in measures
        and cells[name].map(pd.api.types.is_hashable).all()
        and (values := cells[name].nunique(dropna=False)) > 1
        and (name in DIRECTIONS or 2 * values <= len(cells))
    ]


def _lines(cells: pd.DataFrame) -> pd.Series:
    """Return the line of each cell: its settings but those of temperature."""
    hot = [n for n in _settings(cells) if "hotter training" in DIRECTIONS.get(n, ())]
    others = [name for name in _settings(cells) if name not in hot]
    return cells.groupby(others, dropna=False).ngroup() if others else pd.Series(0, index=cells.index)


def _require_measures(cells: pd.DataFrame) -> None:
    """Raise InputError if the table lacks a measure. Only the error on the curve may be missing."""
    names = dict.fromkeys(f.column for f in FEATURES if f.column != PEAK)
    if lacking := [name for name in names if name not in cells or not cells[name].notna().any()]:
        raise InputError(f"a diagnoser needs {', '.join(lacking)}, which the table lacks")


def _numbers(cells: pd.DataFrame) -> np.ndarray:
    """Return the features (cells, features); NaN where a measure is missing.

    An unknown error on the curve is the training error of its ends plus the barrier.
    """
    nothing = pd.Series(np.nan, index=cells.index)
    table = {f.column: cells.get(f.column, nothing).astype(float) for f in FEATURES}
    barrier = (-table["mode_connectivity"]).clip(lower=0)
    table[PEAK] = table[PEAK].fillna(table["train_error_percent"] + barrier)
    return np.column_stack([feature.of(table[feature.column].to_numpy()) for feature in FEATURES])


def _logit(probability: np.ndarray) -> np.ndarray:
    inside = np.clip(probability, 0.01, 0.99)
    return np.log(inside / (1 - inside))


def _calibrated(scale: LogisticRegression, probability: np.ndarray) -> np.ndarray:
    return np.asarray(scale.predict_proba(_logit(probability)[:, None]))[:, 1]
