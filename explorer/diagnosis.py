"""Questions about a cell with two possible answers, and diagnosers that answer them from landscape measures.

Zhou et al., "MD tree: a model-diagnostic tree grown on loss landscape" (ICML 2024), ask whether a model is
trained too hot or too cold, or whether another temperature or a larger model would help more. The true answer
of a cell comes from its *room for improvement*: how much more accurate the best cell is that differs from it
in one setting. A diagnoser learns the answer from what can be measured without test labels.

>>> import explorer
>>> cells = explorer.load("digits").cells                              # doctest: +SKIP
>>> diagnoser = explorer.diagnosis.fit(cells, "temperature_or_size")   # doctest: +SKIP
>>> diagnoser.predict(cells)[["answer", "probability"]]                # doctest: +SKIP

Diagnosers that were fitted on Explorer's own runs come with the package. They answer for a single cell, too:

>>> explorer.diagnosis.shipped()["temperature"].predict(cells.head(1)) # doctest: +SKIP
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from explorer.columns import SETTINGS
from explorer.measures.tables import EVERY
from explorer.phases.advice.moves import DIRECTIONS
from explorer.phases.words import ACCURACY
from explorer.settings import InputError, suggest

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
FOLDS = 20  # of lines; few are held out at once, so that fits without them are like the fit on all
PENALTIES = (10.0, 30.0, 60.0)  # cells to half the squared weights; the strongest first
RANGE = (0.02, 0.98)  # quantiles of the fitted cells; features beyond them count as the quantiles
SLOPES = np.geomspace(0.1, 10, 101)  # of Platt scaling: no answer is turned round
LAPSE = 0.1  # share of wrong answers, however clear the features of a cell are
SHIPPED = Path(__file__).with_name("diagnosers.json")
MARGIN = 0.1  # by which a diagnoser has to be right more often than the commonest answer


@dataclass(frozen=True)
class Feature:
    """A number that a diagnoser sees of a cell: logarithms differ less between runs than the values.

    Runs differ by about ``spread``. If the fitted cells have a smaller standard deviation, the ridge penalty
    of the weight is that of a feature with this one.
    """

    title: str
    column: str
    of: Callable[[np.ndarray], np.ndarray]
    spread: float


def _log(least: float, sign: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """Return the logarithm to base 10 of values of this sign; smaller ones count as ``least``."""
    return lambda values: np.log10(np.maximum(sign * values, least))


PEAK = "curve_peak_error_percent"
# The Hessian is left out: with it, answers were right less often at other model sizes than the fitted ones.
FEATURES = (
    Feature("training loss", "train_loss", _log(1e-4), 0.5),
    Feature("training error", "train_error_percent", _log(1e-2), 0.5),
    Feature("error on the curve", PEAK, _log(1e-2), 0.5),
    Feature("mode connectivity", "mode_connectivity", _log(1e-2, -1), 1.0),
    Feature("mode connectivity", "mode_connectivity", _log(1e-2), 1.0),
    Feature("CKA", "cka", lambda values: values, 0.15),
)


def room(cells: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Return each cell's room for improvement along an axis, in points of test accuracy.

    Args:
        cells: one row per cell, with the axes and ``test_accuracy_percent``.
        axis: a setting with a numeric column.

    Returns:
        Columns ``down`` and ``up`` (cells, 2), with the index of ``cells``: the best accuracy at smaller and
        at larger values of the axis, all other settings equal, minus the cell's own; at least 0. NaN if the
        accuracy or the setting of the cell is unknown.

    Raises:
        InputError: ``cells`` is no DataFrame, lacks the axis or the accuracy, has other values than numbers
            there, or an accuracy above 100 %.

    Example:
        >>> cells = pd.DataFrame({"width": [2, 4, 8], "test_accuracy_percent": [50.0, 60.0, 55.0]})
        >>> room(cells, "width")["up"].tolist()
        [10.0, 0.0, 0.0]
    """
    if not isinstance(axis, str):
        raise InputError(f"an axis is the name of a column, not {axis!r}")
    _require_table(cells, axis, ACCURACY)
    for name in (axis, ACCURACY):
        if name not in cells:
            raise InputError(
                f"the table of cells has no column {name}; it has {suggest(name, [*map(str, cells)])}"
            )
    if wrong := [v for v in cells[ACCURACY] if pd.notna(v) and not -np.inf < v <= 100]:
        raise InputError(f"the column {ACCURACY} has {wrong[0]:g}; an accuracy is at most 100 %")
    index, cells = cells.index, cells.reset_index(drop=True)
    others = [name for name in _settings(cells) if name != axis]
    line = (
        cells.groupby(others, dropna=False).ngroup().to_numpy() if others else np.zeros(len(cells), dtype=int)
    )
    step = np.unique(_floats(cells[axis]), return_inverse=True)[1]
    own = _floats(cells[ACCURACY].where(cells[axis].notna()))
    best = np.full((line.max(initial=0) + 1, step.max(initial=0) + 1), -np.inf)  # (lines, values of the axis)
    np.fmax.at(best, (line, step), own)
    gains = {}
    for name, by in (("down", 1), ("up", -1)):
        beyond = np.roll(np.maximum.accumulate(best[:, ::by], axis=1), 1, axis=1)
        beyond[:, 0] = -np.inf
        gains[name] = np.maximum(beyond[:, ::by][line, step], own) - own
    return pd.DataFrame(gains, index=index)


def true_answers(cells: pd.DataFrame, question: str) -> pd.Series:
    """Return the answer of each cell from its room for improvement: the side with more of it.

    NaN where both sides have equally much, as at the best cell.

    Raises:
        InputError: the question is unknown, or ``cells`` is no DataFrame or has no axis for one of its sides.

    Example:
        >>> cells = pd.DataFrame({"batch_size": [4, 16, 64], "test_accuracy_percent": [50.0, 60.0, 55.0]})
        >>> true_answers(cells, "temperature").tolist()
        ['too hot', nan, 'too cold']
    """
    _require_table(cells)
    sides = {answer: _side_room(cells, changes, question) for answer, changes in _sides(question)}
    (first, a), (second, b) = sides.items()
    answers = pd.Series(np.where(a > b, first, second), index=cells.index, dtype="object")
    return answers.where((a != b) & a.notna() & b.notna())


@dataclass(frozen=True)
class Diagnoser:
    """Answers one question about cells, by a logistic regression on the features.

    If it was fitted on several runs, features count relative to their means over the cells of a run.

    Args:
        question: one of QUESTIONS.
        accuracy: share of right answers in held-out cells: of other lines of the grid, or of other runs
            (then the mean over runs).
        alone: the same if each held-out cell is asked alone, without the grid of its run.
        baseline: share of the commonest answer in the same cells (of each run).
        cells: number of cells that it was fitted on.
        gains: share of the test error that the best cell in the direction of the first and of the second
            answer removes: its mean over held-out cells that got the answer; NaN if the rooms are unknown.
        low, high: range of each feature; values beyond count as its ends.
        weights: of the features; positive ones speak for the question's second answer.
        centre: values of the features that speak for neither answer.
        intercept: log odds of the second answer at the centre.
        slope: of the log odds, that makes the probabilities of held-out cells right.
        origin: means of the features over runs, which stand for those of the run of a cell alone; 0 if it
            was fitted on one run.
        probability: that an answer about a cell alone is right, if it was fitted on several runs; NaN if it
            was fitted on one.

    Example:
        >>> diagnoser = fit(explorer.load("digits").cells, "size_or_data")   # doctest: +SKIP
        >>> diagnoser.accuracy, diagnoser.baseline, diagnoser.useful         # doctest: +SKIP
    """

    question: str
    accuracy: float
    alone: float
    baseline: float
    cells: int
    gains: tuple[float, float]
    low: np.ndarray
    high: np.ndarray
    weights: np.ndarray
    centre: np.ndarray
    intercept: float
    slope: float
    origin: np.ndarray
    probability: float = math.nan

    @property
    def useful(self) -> bool:
        """Whether it was right more often than the commonest answer in held-out cells, by ten points."""
        return self.accuracy >= self.baseline + MARGIN

    def predict(self, cells: pd.DataFrame) -> pd.DataFrame:
        """Return the answer for each cell, with the index of ``cells``.

        Columns: ``answer``; ``probability`` that it is right, at least 0.5; ``reason``, the two measures that
        speak most for it. A cell that lacks a measure has none of them (NaN). ``accuracy`` is the share of
        right answers in held-out cells that were asked like this one.

        A diagnoser of several runs compares each cell with the others of the table, or of its ``run`` if
        there is such a column. If these are fewer than 12 or do not vary both sides of the question (for
        ``size_or_data``, the size of the model and of the data), it answers for each cell alone. Then all
        answers are equally probable: in a further run, those with clearer measures were not right more often.

        Raises:
            InputError: ``cells`` is no DataFrame, or a measure has other values than numbers.

        Example:
            >>> found = diagnoser.predict(cells)                             # doctest: +SKIP
            >>> found["answer"].value_counts()                               # doctest: +SKIP
        """
        numbers = _numbers(cells)
        result = pd.DataFrame({"answer": None, "probability": np.nan, "reason": None}, index=cells.index)
        known = np.asarray(np.isfinite(numbers).all(axis=1))
        origin, alone = self.origin, np.zeros(len(cells), dtype=bool)
        if not math.isnan(self.probability):  # several runs
            alone = _are_alone(cells, known, self.question)
            origin = np.where(alone[:, None], origin, _run_means(numbers, _runs(cells)))
        parts = (np.clip((numbers - origin)[known], self.low, self.high) - self.centre) * self.weights
        odds = parts.sum(axis=1) + self.intercept
        second = np.asarray(odds >= 0)
        answers = np.array([answer for answer, _ in _sides(self.question)], dtype=object)
        sure = share_right(self.slope * np.abs(odds))
        result.loc[known, "answer"] = answers[second.astype(int)]
        result.loc[known, "probability"] = np.where(alone[known], self.probability, sure)
        result.loc[known, "reason"] = _reasons(cells.loc[known], np.where(second[:, None], parts, -parts))
        return result.assign(accuracy=np.where(alone, self.alone, self.accuracy))

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, such as JSON holds; ``Diagnoser.of`` makes a diagnoser of them."""
        plain = {f.name: np.asarray(getattr(self, f.name)).tolist() for f in fields(self)}
        gains = [None if math.isnan(gain) else gain for gain in self.gains]
        known = None if math.isnan(self.probability) else self.probability
        return {**plain, "gains": gains, "probability": known}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Diagnoser:
        """Return the diagnoser of which ``plain`` is the ``as_dict``."""
        first, second = (np.nan if gain is None else gain for gain in plain["gains"])
        values = {name: np.array(v) if isinstance(v, list) else v for name, v in plain.items()}
        known = math.nan if plain["probability"] is None else plain["probability"]
        return cls(**{**values, "gains": (first, second), "probability": known})


def shipped() -> dict[str, Diagnoser]:
    """Return the diagnosers that come with the package, by question.

    ``benchmarks/fit_diagnoser.py`` fits them on runs of several data sets and architectures. ``accuracy`` and
    ``baseline`` are means over runs; each was answered by a fit on runs of other data and architectures.

    Example:
        >>> list(shipped())
        ['temperature', 'temperature_or_size', 'temperature_or_data', 'size_or_data']
    """
    return {one["question"]: Diagnoser.of(one) for one in json.loads(SHIPPED.read_text())}


def fit(cells: pd.DataFrame, question: str = "temperature", answers: pd.Series | None = None) -> Diagnoser:
    """Fit a diagnoser on the cells of a grid, or of several runs that a column ``run`` names.

    It has the strongest ridge penalty whose answers in held-out cells are within a standard error of the best
    (Breiman et al., Classification and regression trees, 1984), since cells of other runs differ. Held-out
    cells also calibrate the probabilities (Platt, 1999). They are lines of the grid, or whole runs.
    Probabilities are at most 90 %, since other runs differ. With one run, they hold for other cells of such
    runs; in noisier data, fewer answers can be right. With several runs, each cell is compared with the means
    over its run, since differences carry over to further runs better than values. If the table has columns
    ``data`` and ``architecture``, the fit that answers a held-out run has seen neither.

    Args:
        cells: one row per cell, with the measures of FEATURES (``curve_peak_error_percent`` may be missing)
            and the settings.
        question: ``temperature``, ``temperature_or_size``, ``temperature_or_data`` or ``size_or_data``.
        answers: the true answer of each cell, with the index of ``cells``; by default from the room for
            improvement along the lines of the table. Cells without an answer are left out.

    Raises:
        InputError: the question or an answer is unknown, ``cells`` is no DataFrame, measures are missing or
            no numbers, a cell of several runs has no ``run``, or fewer than 12 cells have an answer and all
            measures.

    Example:
        >>> digits = explorer.load("digits").cells                           # doctest: +SKIP
        >>> fit(digits, "temperature").predict(explorer.load("mine").cells)  # doctest: +SKIP
    """
    names = [answer for answer, _ in _sides(question)]
    _require_measures(cells)
    rooms = np.full((len(cells), 2), np.nan)
    if answers is None:
        answers = true_answers(cells, question)
        rooms = np.column_stack([_side_room(cells, changes, question) for _, changes in _sides(question)])
        rooms /= np.maximum(100 - _floats(cells[ACCURACY]), 1e-9)[:, None]
    if (
        not isinstance(answers, pd.Series)
        or not (answers.index.isin(cells.index).all() or cells.index.isin(answers.index).all())
        or not (answers.index.is_unique or answers.index.equals(cells.index))
    ):
        raise InputError(
            "answers is no Series with the index of the cells; give pd.Series(…, index=cells.index)"
        )
    answers = answers.reindex(cells.index)
    if unknown := [str(value) for value in answers.dropna().unique() if value not in names]:
        raise InputError(
            f"{unknown[0]!r} is no answer of the question {question}; they are {', '.join(names)}"
        )
    numbers = _numbers(cells)
    known = np.isfinite(numbers).all(axis=1) & answers.notna().to_numpy()
    x, y = numbers[known], (answers[known] == names[1]).to_numpy(int)
    if len(y) < FEWEST or len(set(y)) < 2:
        raise InputError(
            f"{question}: a diagnoser needs at least {FEWEST} cells with all measures, and both answers "
            f"among them; {len(y)} cells have them, and {int(y.sum())} of these are {names[1]!r}"
        )
    table, run = cells[known].reset_index(drop=True), _runs(cells)[known].reset_index(drop=True)
    several, values = run.nunique() > 1, x
    if several:
        x = (numbers - _run_means(numbers, _runs(cells)))[known]
    means = pd.DataFrame(values - x).groupby(run).first()  # (runs, features); 0 of a single run
    weights = (len(y) / run.nunique() / run.map(run.value_counts())).to_numpy(float)
    # Odds from fits without the cell's line or run, (in a grid or alone, penalties, cells).
    both = np.full((2, len(PENALTIES), len(y)), np.nan)
    for fitted, held in _folds(table, (run if several else _lines(table)).to_numpy(), y):
        if len(set(y[fitted])) == 2:
            origin = means.loc[run[fitted].unique()].mean().to_numpy()
            for k, penalty in enumerate(PENALTIES):
                model = _logistic(x[fitted], y[fitted], weights[fitted], penalty)
                both[:, k, held] = _odds(x[held], *model), _odds(values[held] - origin, *model)
    told = np.isfinite(both[0, 0])
    if not told.any():
        raise InputError(f"{question}: whichever line or run is held out, the others have one answer only")
    shares = np.average((both[0] >= 0)[:, told] == y[told], axis=1, weights=weights[told])
    best = float(shares.max())
    place = int(np.argmax(shares >= best - np.sqrt(best * (1 - best) / told.sum())))
    odds, alone = both[:, place]
    second, runs = (odds >= 0)[told], run[told].to_numpy()
    right, right_alone = (pd.Series((o >= 0) == y)[told].groupby(runs).mean() for o in (odds, alone))
    often = pd.Series(y[told]).groupby(runs).mean()
    promised = rooms[known][told, second.astype(int)]
    gains = [float(promised[second == k].mean()) if (second == k).any() else np.nan for k in (0, 1)]
    low, high, weight, centre, intercept = _logistic(x, y, weights, PENALTIES[place])
    return Diagnoser(
        question=question,
        accuracy=float(right.mean()),
        alone=float(right_alone.mean()),
        baseline=float(np.maximum(often, 1 - often).mean()),
        cells=len(y),
        gains=(gains[0], gains[1]),
        low=low,
        high=high,
        weights=weight,
        centre=centre,
        intercept=intercept,
        slope=calibrate(np.where(y == 1, odds, -odds)[told]),
        origin=means.mean().to_numpy(),
        probability=probability_of(right_alone) if several else math.nan,
    )


def probability_of(right: pd.Series) -> float:
    """Return the probability that an answer is right in a further run, at least 0.5.

    ``right`` is the share of right answers in each run. One more run counts as right in half of its cells.
    """
    return max(0.5, float((right.sum() + 0.5) / (len(right) + 1)))


def _sides(question: str) -> tuple[Side, Side]:
    if not isinstance(question, str) or question not in QUESTIONS:
        known = suggest(str(question), list(QUESTIONS))
        raise InputError(f"there is no question {question!r}; known: {known}")
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
        raise InputError(f"{question}: the table has no axis for {' or '.join(changes)}")
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
    """Return the line of each cell: its settings but those of temperature; cells of one line are lines."""
    hot = [n for n in _settings(cells) if "hotter training" in DIRECTIONS.get(n, ())]
    others = [name for name in _settings(cells) if name not in hot]
    return cells.groupby(others or cells.index, dropna=False).ngroup()


def _require_table(cells: object, *numeric: str) -> None:
    """Raise InputError if the cells are no DataFrame, or one of these columns is no column of numbers."""
    if not isinstance(cells, pd.DataFrame):
        raise InputError(
            f"the cells are no table but of type {type(cells).__name__}; give a pandas DataFrame with a row "
            "for each cell, such as pd.DataFrame([cell]) for one cell"
        )
    if twice := [str(name) for name in cells.columns[cells.columns.duplicated()]]:
        raise InputError(f"the table of cells has two columns {twice[0]}; keep one of them")
    for name in numeric:
        values = cells.get(name, ())
        if wrong := [v for v in values if not isinstance(v, Real) and v is not None and v is not pd.NA]:
            raise InputError(f"the column {name} of the table of cells has {wrong[0]!r}; give numbers")


def _require_measures(cells: pd.DataFrame) -> None:
    """Raise InputError if the table lacks a measure. Only the error on the curve may be missing."""
    _require_table(cells)
    names = dict.fromkeys(f.column for f in FEATURES if f.column != PEAK)
    if "run" in cells and cells["run"].isna().any():
        raise InputError("some cells have no run; name the run of each cell, or drop the column run")
    if lacking := [name for name in names if name not in cells or not cells[name].notna().any()]:
        raise InputError(f"a diagnoser needs {', '.join(lacking)}, which the table lacks")


def _folds(cells: pd.DataFrame, groups: np.ndarray, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return cells to fit on and cells to hold out: each run in turn, or some of the lines."""
    if "run" in cells and cells["run"].nunique() > 1:
        for run in cells["run"].unique():
            held = (cells["run"] == run).to_numpy()
            fitted = ~held
            for name in ("data", "architecture"):
                if name in cells and (strict := fitted & ~cells[name].isin(cells.loc[held, name])).any():
                    fitted = strict
            yield fitted, held
        return
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(min(FOLDS, len(np.unique(groups)), max(2, np.bincount(y).min())))
    for places in folds.split(y, y, groups):
        fitted, held = (np.isin(np.arange(len(y)), p) for p in places)
        yield fitted, held


def _logistic(x: np.ndarray, y: np.ndarray, weights: np.ndarray, penalty: float) -> tuple[Any, ...]:
    """Return range, weights and centre of the features, and the intercept, of a logistic regression."""
    from sklearn.linear_model import LogisticRegression

    low, high = np.quantile(x, RANGE, axis=0)
    inside = np.clip(x, low, high)
    centre = inside.mean(axis=0)
    scale = np.maximum(inside.std(axis=0), [feature.spread for feature in FEATURES])
    model = LogisticRegression(C=penalty / len(y)).fit((inside - centre) / scale, y, weights)
    return low, high, model.coef_[0] / scale, centre, float(model.intercept_[0])


def _runs(cells: pd.DataFrame) -> pd.Series:
    """Return the name of the run of each cell, empty without such a column; rows are numbered from 0."""
    return (cells["run"] if "run" in cells else pd.Series("", cells.index)).astype(str).reset_index(drop=True)


def _run_means(x: np.ndarray, run: pd.Series) -> np.ndarray:
    """Return the means over the run of each cell (cells, features); rows with a gap do not count."""
    complete = np.where(np.isfinite(x).all(axis=1, keepdims=True), x, np.nan)
    return pd.DataFrame(complete).groupby(run.to_numpy()).transform("mean").to_numpy()


def _are_alone(cells: pd.DataFrame, known: np.ndarray, question: str) -> np.ndarray:
    """Return whether the run of each cell is no grid to compare it with.

    A grid has at least 12 cells with all measures, and varies both sides of the question. In runs that do
    not vary data, comparing was no better.
    """
    alone = np.ones(len(cells), dtype=bool)
    for places in _runs(cells).groupby(_runs(cells)).indices.values():
        own = [DIRECTIONS.get(name, ()) for name in _settings(cells.iloc[places])]
        varied = all(any(c in side for side in own for c in changes) for _, changes in _sides(question))
        alone[places] = known[places].sum() < FEWEST or not varied
    return alone


def _odds(x: np.ndarray, low: Any, high: Any, weights: Any, centre: Any, intercept: float) -> np.ndarray:
    """Return the log odds of the second answer for rows of features."""
    return (np.clip(x, low, high) - centre) @ weights + intercept


def share_right(odds: np.ndarray) -> np.ndarray:
    """Return the probability of an answer with these log odds.

    It is at most 1 - LAPSE: runs differ, and true answers come from few seeds, so some answers are wrong also
    where the odds are clear.
    """
    return LAPSE + (1 - 2 * LAPSE) / (1 + np.exp(-odds))


def calibrate(odds: np.ndarray) -> float:
    """Return the slope that makes right answers of held-out cells, with these odds, most probable.

    This is Platt scaling with lapses.
    """
    return max(map(float, SLOPES), key=lambda slope: float(np.log(share_right(slope * odds)).sum()))


def _reasons(cells: pd.DataFrame, support: np.ndarray) -> list[str]:
    """Return the two known measures of each cell that support its answer most, with their values."""
    words = {
        f.title: [
            "" if np.isnan(v) else f"{f.title} {v:.3g}{' %' if f.column.endswith('_percent') else ''}"
            for v in _floats(cells[f.column])
        ]
        for f in FEATURES
        if f.column in cells
    }
    titles = [f.title for f in FEATURES]
    return [
        ", ".join(
            [t for t in dict.fromkeys(words[titles[k]][i] for k in order if titles[k] in words) if t][:2]
        )
        for i, order in enumerate(np.argsort(-support, axis=1))
    ]


def _numbers(cells: pd.DataFrame) -> np.ndarray:
    """Return the features (cells, features); NaN where a measure is missing.

    An unknown error on the curve is the training error of its ends plus the barrier.
    """
    _require_table(cells, *(f.column for f in FEATURES))
    nothing = pd.Series(np.nan, index=cells.index)
    table = {f.column: _floats(cells.get(f.column, nothing)) for f in FEATURES}
    peak = table["train_error_percent"] + np.maximum(-table["mode_connectivity"], 0)
    table[PEAK] = np.where(np.isnan(table[PEAK]), peak, table[PEAK])
    return np.column_stack([feature.of(table[feature.column]) for feature in FEATURES])


def _floats(column: pd.Series) -> np.ndarray:
    """Return the values of a column of numbers; NaN where one is missing, however that is written."""
    return column.where(column.notna(), np.nan).to_numpy(float)
