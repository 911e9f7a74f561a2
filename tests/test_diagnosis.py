"""Questions with two answers: room for improvement by hand, and diagnosers on a grid whose truth is known."""

from __future__ import annotations

import doctest
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from explorer import diagnosis
from explorer.settings import InputError

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import fit_diagnoser


def grid(noise: float = 0.0, widths: tuple[int, ...] = (2, 4, 8, 16, 32), seed: int = 0) -> pd.DataFrame:
    """Cells whose best batch size grows with the amount of data and does not depend on the width.

    Too hot cells have a high training loss and curves that are better inside; too cold ones have barriers.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for width, size, batch in itertools.product(widths, (500, 1000, 2000, 4000), 2.0 ** np.arange(2, 10)):
        heat = np.log2(size / 50 / batch)  # above 0: too hot
        loss = 10 ** (-2 + 0.4 * max(heat, 0) - np.log2(width) / 4 + 0.1 * draw.normal())
        error = min(60.0, 100 * loss)
        connectivity = 3 * heat + draw.normal() if heat > 0 else 6 * heat + draw.normal()
        accuracy = 70 + 3 * np.log2(width) + 2 * np.log2(size / 500) - heat**2 + noise * draw.normal()
        rows.append((width, size, batch, loss, error, error + max(0, -connectivity), connectivity, accuracy))
    names = ("width", "train_size", "batch_size", "train_loss", "train_error_percent")
    names += ("curve_peak_error_percent", "mode_connectivity", "test_accuracy_percent")
    return pd.DataFrame(rows, columns=list(names)).assign(cka=0.5)


def test_room_is_what_the_best_cell_in_a_direction_has_more() -> None:
    cells = pd.DataFrame(
        {
            "width": [2, 4, 8, 2, 4, 8],
            "batch_size": [16, 16, 16, 64, 64, 64],
            "test_accuracy_percent": [50.0, 60.0, 55.0, 40.0, np.nan, 70.0],
        },
        index=list("abcdef"),
    )
    found = diagnosis.room(cells, "width")
    assert found["up"].tolist()[:4] == [10.0, 0.0, 0.0, 30.0]
    assert found["down"].tolist()[:4] == [0.0, 0.0, 5.0, 0.0]
    assert found.loc["e"].isna().all()
    assert found["down"]["f"] == 0.0
    assert diagnosis.room(cells, "batch_size")["up"].to_dict() == pytest.approx(
        {"a": 0.0, "b": 0.0, "c": 15.0, "d": 0.0, "e": np.nan, "f": 0.0}, nan_ok=True
    )
    assert diagnosis.room(cells.sample(frac=1, random_state=0), "width").loc[list("abcdef")].equals(found)


def test_the_examples_of_the_module_hold() -> None:
    assert doctest.testmod(diagnosis).failed == 0


def test_answers_come_from_the_larger_room() -> None:
    cells = grid()
    heat = np.log2(cells["train_size"] / 50 / cells["batch_size"])
    answers = diagnosis.true_answers(cells, "temperature")
    assert set(answers[heat > 0.8]) == {"too hot"}
    assert set(answers[heat < -0.8]) == {"too cold"}
    wide = diagnosis.true_answers(cells, "temperature_or_size")[cells["width"] == 32]
    assert set(wide.dropna()) == {"temperature"}
    assert set(diagnosis.true_answers(cells, "size_or_data").dropna()) == {"size", "data"}


@pytest.mark.parametrize(("question", "widths"), [("temperature", (4, 16)), ("temperature_or_size", (2, 8))])
def test_a_diagnoser_answers_cells_of_other_sizes_and_noisier_data(
    question: str, widths: tuple[int, ...]
) -> None:
    cells, other = grid(widths=(2, 8)), grid(noise=0.3, widths=widths, seed=1)
    diagnoser = diagnosis.fit(cells, question)
    found, truth = diagnoser.predict(other), diagnosis.true_answers(other, question)
    known = truth.notna()
    right = (found["answer"] == truth)[known]
    assert right.mean() > max(0.8, truth.value_counts(normalize=True).max() + 0.1)
    assert question != "temperature" or diagnoser.accuracy > diagnoser.baseline + 0.2
    assert found["probability"].between(0.5, 1).all()
    assert abs(found["probability"][known].mean() - right.mean()) < 0.15
    assert found["reason"].str.contains(r"^\S.*\d(?: %)?, \S.*\d(?: %)?$").all()
    assert diagnosis.fit(cells, question).predict(other).equals(found), "the same answers every time"


def test_given_answers_are_learnt_and_cells_without_measures_have_none() -> None:
    cells = grid()
    given = pd.Series(np.where(cells["train_loss"] > 0.01, "too hot", "too cold"), index=cells.index)
    diagnoser = diagnosis.fit(cells.drop(columns="curve_peak_error_percent"), answers=given)
    gaps = cells.copy()
    gaps.loc[3, "cka"] = np.nan
    found = diagnoser.predict(gaps)
    assert found["answer"].isna().tolist() == [k == 3 for k in range(len(cells))]
    assert (found["answer"] == given).mean() > 0.95


def test_answers_of_other_cells_and_words_in_place_of_numbers_are_told() -> None:
    cells = grid()
    given = diagnosis.true_answers(cells, "temperature")
    later = cells.set_axis(cells.index + 7)
    for wrong in (given, given.tolist(), pd.concat([given.set_axis(later.index)] * 2)):
        with pytest.raises(InputError, match="with the index of the cells"):
            diagnosis.fit(later, answers=wrong)  # pyright: ignore[reportArgumentType]
    some = diagnosis.fit(cells.iloc[::2], answers=given)
    assert some.cells == given.iloc[::2].notna().sum()
    with pytest.raises(InputError, match="column width of the table of cells has '2'; give numbers"):
        diagnosis.room(cells.assign(width=cells["width"].astype(str)), "width")
    for value in ("high", [0.5], 1j, pd.Timestamp("2020-01-01")):
        column = pd.Series([value, *cells["cka"].iloc[1:]], index=cells.index, dtype=object)
        for ask in (some.predict, diagnosis.fit):
            with pytest.raises(InputError, match=r"column cka of the table of cells has .*; give numbers"):
                ask(cells.assign(cka=column))
    gaps = cells.assign(cka=pd.Series([None, pd.NA, *cells["cka"].iloc[2:]], dtype=object))
    assert some.predict(gaps)["answer"].isna().sum() == 2


def test_cells_that_are_no_table_are_told() -> None:
    cell: Any = grid().iloc[0].to_dict()
    shipped = diagnosis.shipped()["size_or_data"]
    asked: tuple[Callable[[Any], object], ...] = (
        shipped.predict,
        diagnosis.fit,
        lambda c: diagnosis.room(c, "width"),
        lambda c: diagnosis.true_answers(c, "temperature"),
    )
    for ask in asked:
        with pytest.raises(
            InputError, match=r"of type dict; give a pandas DataFrame .* pd.DataFrame\(\[cell\]\)"
        ):
            ask(cell)
    assert len(shipped.predict(pd.DataFrame([cell]))) == 1


NONE: Any = None
NAMES: Any = ["width"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda c: diagnosis.room(c, NONE), "an axis is the name of a column, not None"),
        (lambda c: diagnosis.room(c, NAMES), r"an axis is the name of a column, not \['width'\]"),
        (lambda c: diagnosis.true_answers(c, NAMES), r"no question \['width'\]; known: "),
        (lambda c: diagnosis.fit(c, NONE), "no question None; known"),
        (lambda c: diagnosis.fit(pd.concat([c, c["cka"]], axis=1)), "two columns cka; keep one"),
        (
            lambda c: diagnosis.room(c.assign(test_accuracy_percent=120.0), "width"),
            "has 120; .* at most 100 %",
        ),
        (lambda c: diagnosis.fit(c.assign(run=[None, *["a"] * (len(c) - 1)])), "some cells have no run"),
    ],
)
def test_wrong_questions_axes_and_columns_are_told(ask: Callable[[Any], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ask(grid())


def test_any_index_will_do() -> None:
    cells = grid()
    odd = cells.set_index(["width", "batch_size"], drop=False)
    assert diagnosis.room(odd, "width").to_numpy() == pytest.approx(diagnosis.room(cells, "width").to_numpy())
    assert diagnosis.fit(cells.set_axis([0] * len(cells))).cells == diagnosis.fit(cells).cells


def drawn(lines: int, seed: int, shift: float = 0.0) -> tuple[pd.DataFrame, pd.Series]:
    """Lines of ten cells whose answers are drawn with odds that the training loss gives, up to an offset a line."""
    draw = np.random.default_rng(seed)
    cells = pd.DataFrame(
        {"width": np.repeat(np.arange(lines), 10), "batch_size": np.tile(2 ** np.arange(10), lines)}
    )
    place = draw.normal(size=len(cells))
    cells["train_loss"] = 10 ** (place - 2)
    cells["train_error_percent"] = 10 ** draw.normal(size=len(cells))
    cells["mode_connectivity"] = draw.normal(size=len(cells))
    cells["cka"] = draw.uniform(size=len(cells))
    odds = 2 * place + shift + np.repeat(draw.normal(size=lines), 10)
    hot = draw.uniform(size=len(cells)) < 1 / (1 + np.exp(-odds))
    return cells, pd.Series(np.where(hot, "too hot", "too cold"), index=cells.index)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_probabilities_are_calibrated_on_lines_that_were_not_fitted(seed: int) -> None:
    fitted, given = drawn(30, seed)
    diagnoser = diagnosis.fit(fitted, answers=given)
    cells, truth = drawn(300, seed + 10, shift=0.3)
    found = diagnoser.predict(cells)
    right = found["answer"] == truth
    assert right.mean() > 0.7
    assert abs(diagnoser.accuracy - right.mean()) < 0.06
    assert (
        fit_diagnoser.calibration_error(found["probability"].to_numpy(float), right.to_numpy(float)) <= 0.05
    )


def test_a_diagnoser_survives_json() -> None:
    diagnoser = diagnosis.fit(grid(), "size_or_data")
    again = diagnosis.Diagnoser.of(json.loads(json.dumps(diagnoser.as_dict())))
    assert again.predict(grid()).equals(diagnoser.predict(grid()))
    assert (again.accuracy, again.baseline, again.gains) == (
        diagnoser.accuracy,
        diagnoser.baseline,
        diagnoser.gains,
    )


def test_runs_are_held_out_whole_and_those_of_the_same_data_with_them() -> None:
    """In two of three runs, cold and hot are the other way round; these two are of the same data."""
    one = grid().assign(run="a", data="x")
    turned = one.assign(
        train_loss=1 / one["train_loss"], mode_connectivity=-one["mode_connectivity"], data="y"
    )
    turned[["train_error_percent", "curve_peak_error_percent"]] = (
        100.0 / one[["train_error_percent", "curve_peak_error_percent"]]
    )
    three = pd.concat([one, turned.assign(run="b"), turned.assign(run="c")], ignore_index=True)
    alone = diagnosis.fit(three, "temperature")
    assert alone.accuracy < 0.2
    assert not alone.useful
    assert diagnosis.fit(three.drop(columns="data"), "temperature").accuracy > alone.accuracy + 0.2


def test_the_probability_of_a_cell_alone_is_the_share_right_in_held_out_runs() -> None:
    runs = []
    for k in range(8):
        cells, given = drawn(5, k, shift=0.5 * (k - 3.5))
        runs.append(cells.assign(run=f"run {k}", given=given))
    cells = pd.concat(runs, ignore_index=True)
    several = diagnosis.fit(cells, answers=cells["given"])
    assert several.probability == pytest.approx((8 * several.alone + 0.5) / 9)
    few, many = several.predict(cells.head(11)), several.predict(cells)
    assert set(few["probability"]) == {several.probability}
    assert (set(few["accuracy"]), set(many["accuracy"])) == ({several.alone}, {several.accuracy})
    assert many["probability"].nunique() > 100
    assert many["probability"].max() <= 1 - diagnosis.LAPSE
    rights = pd.Series({k: float(k > 0) for k in range(3)})
    assert diagnosis.probability_of(rights) == pytest.approx(2.5 / 4)
    assert diagnosis.probability_of(0 * rights) == 0.5
    error = fit_diagnoser.error_by_chance(np.full(250, 0.65))
    assert error == pytest.approx(np.sqrt(0.65 * 0.35 / 250 * 2 / np.pi), rel=0.1)


def level(k: int) -> pd.DataFrame:
    """A run whose losses and errors are all higher, the higher k is; the truth is that of other runs."""
    cells = grid(seed=k)
    measures = ["train_loss", "train_error_percent", "curve_peak_error_percent"]
    cells[measures] *= 0.1 * 4.0**k
    return cells.assign(mode_connectivity=0.0, run=f"run {k}")


def test_a_run_is_compared_with_its_own_mean_unless_it_is_no_grid() -> None:
    several = diagnosis.fit(pd.concat([level(k) for k in (0, 1, 2, 4)], ignore_index=True), "size_or_data")
    assert several.accuracy > several.alone + 0.05
    further = level(6)
    truth = diagnosis.true_answers(further, "size_or_data")
    table, alone = several.predict(further), several.predict(further.assign(run=range(len(further))))
    right, right_alone = ((told["answer"] == truth)[truth.notna()].mean() for told in (table, alone))
    assert right > right_alone + 0.05
    both = several.predict(pd.concat([further, level(0)], ignore_index=True))
    assert both.head(len(further)).equals(table), "each run is compared with itself only"
    gaps = further.assign(cka=further["cka"].where(np.arange(len(further)) < 11))
    for lone in (gaps, further[further["train_size"] == 1000]):
        assert set(several.predict(lone)["probability"].dropna()) == {several.probability}


def test_narrow_features_do_not_get_large_weights() -> None:
    """The CKA of the fitted cells spans a hundredth and tells the answer; elsewhere all of it is shifted."""
    cells, given = drawn(12, 0)
    clear = (given == "too cold").to_numpy()
    narrow = cells.assign(cka=0.5 + 0.01 * clear)
    found = diagnosis.fit(narrow, answers=given).predict(narrow.assign(cka=0.51))
    assert (found["answer"] == given).mean() > 0.7


def test_the_package_answers_other_data_and_architectures_clearly_better_than_the_commonest_answer() -> None:
    cells = pd.read_csv(fit_diagnoser.CELLS)
    told = fit_diagnoser.left_out(cells, "size_or_data").groupby("run")[["right", "commonest"]].mean()
    assert len(told) == 7
    assert (told["right"] >= told["commonest"] + diagnosis.MARGIN).all()


def test_the_diagnosers_of_the_package_are_those_of_the_committed_cells() -> None:
    cells = pd.read_csv(fit_diagnoser.CELLS)
    assert list(diagnosis.shipped()) == list(diagnosis.QUESTIONS)
    for question, one in diagnosis.shipped().items():
        fitted = diagnosis.fit(cells, question)
        assert (one.useful, one.cells) == (fitted.useful, fitted.cells)
        assert one.accuracy == pytest.approx(fitted.accuracy, abs=0.01)
        told, again = one.predict(cells), fitted.predict(cells)
        assert told["probability"].to_numpy(float) == pytest.approx(
            again["probability"].to_numpy(float), abs=1e-3
        )


@pytest.mark.parametrize(
    ("change", "question", "said"),
    [
        ({}, "temprature", "known: temperature"),
        ({"test_accuracy_percent": None}, "temperature", "no column test_accuracy_percent"),
        ({"batch_size": 8}, "temperature", "the table has no axis for colder training"),
        ({"width": 8}, "size_or_data", "the table has no axis for larger model"),
        ({"cka": None}, "temperature", "needs cka"),
        ({"train_loss": np.nan}, "temperature", "needs train_loss"),
    ],
)
def test_what_a_diagnoser_lacks_is_told(change: dict[str, Any], question: str, said: str) -> None:
    cells = grid()
    for name, value in change.items():
        cells = cells.drop(columns=name) if value is None else cells.assign(**{name: value})
    with pytest.raises(InputError, match=said):
        diagnosis.fit(cells, question)
    with pytest.raises(InputError, match="is no answer of the question"):
        diagnosis.fit(grid(), answers=pd.Series("hot", index=grid().index))
    with pytest.raises(InputError, match="at least 12 cells"):
        diagnosis.fit(grid().head(9), answers=pd.Series("too hot", index=range(9)))
