"""Answers to the questions of a practitioner: the run's own cells first, then other runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import test_advice
import test_diagnosis

from explorer import diagnosis
from explorer.report.diagnosis import diagnose
from explorer.report.questions import ASKED, answer_questions
from explorer.results import load

AXES = test_advice.AXES
LEARNED = {q: diagnosis.fit(test_diagnosis.grid(), q) for q in diagnosis.QUESTIONS}


def learned(answer: str, *, accuracy: float = 0.9) -> dict[str, diagnosis.Diagnoser]:
    """Diagnosers that always give the same answer to one question."""
    question, sign = next(
        (q, (-9.0, 9.0)[[name for name, _ in sides].index(answer)])
        for q, sides in diagnosis.QUESTIONS.items()
        if answer in [name for name, _ in sides]
    )
    one = LEARNED[question]
    fixed = replace(
        one, weights=0 * one.weights, intercept=sign, gains=(0.3, 0.4), accuracy=accuracy, baseline=0.6
    )
    return {question: fixed}


def answers(cells: pd.DataFrame, cell: str, **options: diagnosis.Diagnoser) -> dict[str, str]:
    """Return the lines about each question, joined, by question."""
    place = cells["cell_id"].tolist().index(cell)
    said: dict[str, str] = {}
    question = ""
    for line in answer_questions(cells, place, AXES, options):
        question = next((q for q, asked in ASKED.items() if asked in line), question)
        said[question] = f"{said.get(question, '')}\n{line}"
    return said


def test_a_gain_in_the_run_answers_with_the_value_to_choose():
    said = answers(test_advice.grid(), "c4")
    assert (
        "A bigger model: raise the width from 4 to 32 (+15.0 points, fairly sure)."
        in said["temperature_or_size"]
    )
    assert "Neither: keep these" in said["temperature"]
    assert (
        "Another temperature does not gain a point; try a larger training set" in said["temperature_or_data"]
    )
    edge = answers(test_advice.grid(), "c0")["temperature_or_data"]
    assert "Colder does not gain a point; try a larger training set" in edge, "hotter was not tried"
    guess = answers(test_advice.grid().assign(n_models=2), "c4")
    assert "(+15.0 points, a guess)" in guess["temperature_or_size"]
    assert "The run cannot tell; train more seeds" in guess["temperature"]


def test_a_gain_that_may_be_chance_is_a_guess_and_noise_is_no_answer():
    said = answers(test_advice.grid(gain=5.0, spread=12.0), "c4")
    assert (
        "A bigger model: raise the width from 4 to 32 (+15.0 points, a guess)" in said["temperature_or_size"]
    )
    said = answers(test_advice.grid(gain=0.4, spread=9.0), "c4")
    assert "The run cannot tell" in said["temperature"]
    assert "The run cannot tell" in said["temperature_or_size"]


def test_a_gain_that_may_be_chance_does_not_speak_for_a_side_that_was_not_tried():
    cells = test_advice.grid(spread=9.0).iloc[:3].assign(test_accuracy_percent=[70.0, 73.0, 70.0])
    said = answers(cells, "c0")["temperature"]
    assert (
        "The run cannot tell whether colder helps; train more seeds, or try a smaller batch size than 8"
        in said
    )
    assert "(+3.0 points, 95 % interval −" in said
    cells["test_accuracy_percent"] = [73.0, 70.0, 70.0]
    assert "Colder may not help; try a smaller batch size than 8" in answers(cells, "c0")["temperature"]


@pytest.mark.parametrize("gain", [-4.0, 4.0])
def test_too_hot_and_too_cold_follow_the_batch_size(gain: float):
    cells = test_advice.grid().assign(test_accuracy_percent=lambda t: 80 + gain * np.log2(t["batch_size"]))
    said = answers(cells, "c4")["temperature"]
    assert (
        "Too hot: raise the batch size from 16 to 32" if gain > 0 else "Too cold: lower the batch size"
    ) in said
    assert "(+4.0 points, fairly sure)" in said


def test_other_runs_are_told_where_the_run_is_silent_or_says_something_else():
    cells = test_advice.grid()
    same = answers(cells, "c4", **learned("size"))["temperature_or_size"]
    assert "ther runs" not in same
    against = answers(cells, "c4", **learned("temperature"))["temperature_or_size"]
    assert against.index("A bigger model: raise") < against.index("Other runs disagree: another temperature")
    alone = answers(cells.iloc[[4]], "c4", **learned("too cold"))["temperature"]
    assert (
        "Is training too hot or too cold? Too cold: try a smaller batch size or a higher learning rate"
        in alone
    )
    assert "On average this removed 40 % of the test error, here 10.0 points" in alone
    assert "right in 90 % of the cells of other runs, the commonest answer in 60 %" in alone
    refuted = answers(cells, "c3", **learned("too hot"))["temperature"]
    assert "ther runs" not in refuted, "colder training was tried and gained nothing"


def test_no_change_gains_more_than_is_missing_to_100_percent():
    cells = test_advice.grid(spread=9.0)
    cells["test_accuracy_percent"] = [99.9, *[99.5] * (len(cells) - 1)]
    said = answers(cells, "c0", **learned("size"))
    assert all("Neither: " in text for text in said.values())
    assert " to 0.1)" in said["temperature"]
    assert "ther runs" not in "".join(said.values())


def test_diagnosers_no_better_than_the_commonest_answer_are_silent():
    said = "".join(answers(test_advice.grid().iloc[[4]], "c4", **learned("too hot", accuracy=0.65)).values())
    assert "Too hot" not in said
    assert "No answer is learned from other runs for temperature (65 % against 60 %)" in said


def test_one_setting_with_two_seeds_is_answered(tmp_path):
    test_advice.grid().iloc[[4]].drop(columns=["phase", "cell_id"]).to_csv(
        tmp_path / "cells.csv", index=False
    )
    said = diagnose(load(tmp_path))
    assert sum(any(asked in line for asked in ASKED.values()) for line in said) == len(ASKED)
    assert any("of other runs" in line or "other runs for" in line for line in said)


def test_diagnosers_of_the_package_answer_for_classification_only(tmp_path):
    test_advice.grid().iloc[[4]].drop(columns=["phase", "cell_id"]).to_csv(
        tmp_path / "cells.csv", index=False
    )
    run = load(tmp_path)
    assert "other runs" in "\n".join(diagnose(run))
    run.info["space"] = {"task": "regression"}
    assert "other runs" not in "\n".join(diagnose(run))
