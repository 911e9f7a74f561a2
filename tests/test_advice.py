"""Advice and diagnosis: soft membership, steps between cells, rules with evidence, the command."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import explore
from scipy.stats import t

from explorer import phases
from explorer.phases.advice import advice_table, advise_cells, advise_phases
from explorer.phases.advice.causes import cause_of
from explorer.phases.advice.moves import moves
from explorer.phases.advice.tried import Tried
from explorer.report.diagnosis import diagnose
from explorer.results import load
from explorer.settings import InputError

AXES = {"load": ["width"], "temperature": ["batch_size"]}
CUTS = phases.find_cuts(pd.DataFrame(), {"train_loss": 0.01, "connected": 1.0, "cka": 0.6})


def grid(gain: float = 5.0, *, spread: float = 0.3) -> pd.DataFrame:
    """Widths 2 to 32: I, III, IV-A, IV-B, IV-B; a step of width gains ``gain`` points, of batch size none."""
    rows = []
    for k, (width, batch_size) in enumerate(itertools.product((2, 4, 8, 16, 32), (8, 16, 32))):
        place = k // 3
        rows.append(
            {
                "cell_id": f"c{k}",
                "width": width,
                "batch_size": batch_size,
                "n_models": 5,
                "n_diverged": 0,
                "n_pairs": 10,
                "train_loss": (1.0, 0.001, 0.001, 0.001, 0.001)[place],
                "train_error_percent": (30.0, 0.2, 0.1, 0.0, 0.0)[place] + 0.01 * k,
                "mode_connectivity": (-9.0, -5.0, 0.0, 0.0, 0.0)[place],
                "cka": (0.2, 0.4, 0.5, 0.8, 0.9)[place],
                "hessian_trace": 100.0 / width,
                "test_accuracy_percent": 70 + gain * place,
                "test_accuracy_percent_std": spread,
                "train_loss_std": 1e-5,
                "mode_connectivity_std": 0.01,
                "cka_std": 0.001,
            }
        )
    return phases.classify(pd.DataFrame(rows), CUTS)


def test_membership_is_the_share_of_draws_on_each_side_of_the_cuts():
    cell = {"n_models": 4, "n_pairs": 6, "train_loss": 0.012, "train_loss_std": 0.004, "cka": 0.7}
    cell |= {"mode_connectivity": -0.8, "mode_connectivity_std": 1e-9, "cka_std": 1e-9}
    shares = phases.memberships(pd.DataFrame([cell]), CUTS).iloc[0]
    low = t.cdf(np.log(0.01 / 0.012) / (0.002 / 0.012), df=3)
    expected = {"I": 0.0, "II": 1 - low, "III": 0.0, "IV-A": 0.0, "IV-B": low}
    assert shares.to_dict() == pytest.approx(expected, abs=0.03)


def test_an_unknown_error_gives_no_probability():
    pair = {"n_models": 2, "n_pairs": 1, "train_loss": 0.001, "train_loss_std": 1e-5, "cka": 0.7}
    cells = phases.classify(pd.DataFrame([pair | {"mode_connectivity": -0.1}]), CUTS)
    assert cells["phase"].tolist() == ["IV-B"]
    assert cells["phase_probability"].isna().all()
    assert cells["second_phase"].tolist() == [""]


@pytest.mark.parametrize("axis", ["epochs", "checkpoint"])
def test_longer_training_counts_as_tried_however_its_length_is_given(axis):
    cells = grid().rename(columns={"width": axis})
    axes = {"load": [axis], "temperature": ["batch_size"]}
    changes = [advice.change for advice in advise_phases(cells, CUTS, axes) if advice.phase == "I"]
    assert changes == [f"longer training: raise the {axis}"]


def test_memberships_sum_to_one_and_agree_with_the_phase_away_from_cuts():
    cells = grid()
    shares = phases.memberships(cells, CUTS)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert shares.idxmax(axis=1).tolist() == cells["phase"].tolist()
    missing = phases.memberships(cells.assign(mode_connectivity=np.nan), CUTS)
    assert missing.isna().all(axis=None)


def test_moves_are_the_steps_between_neighbours_in_both_directions():
    steps = moves(grid(), ["width", "batch_size"])
    assert len(steps) == 2 * (4 * 3 + 5 * 2)
    up = [s for s in steps if (s.axis, s.direction) == ("width", "larger model")]
    assert [s.gain for s in up] == pytest.approx([5.0] * 12)
    assert up[0].stderr == pytest.approx(0.3 * np.sqrt(2 / 5))
    colder = [s.cell for s in steps if (s.axis, s.direction) == ("batch_size", "colder training")]
    assert sorted(colder) == [k for k in range(15) if k % 3 < 2]  # not from the largest batch


def test_the_taxonomy_and_the_neighbours_agree_on_a_larger_model():
    advice = {a.phase: a for a in advise_phases(grid(), CUTS, AXES)}
    assert list(advice) == ["I", "III", "IV-A", "IV-B"]
    assert advice["III"].change == "larger model: raise the width"
    assert advice["III"].sure == "very sure"
    assert "by +5.00 points (95 % interval 4." in " ".join(advice["III"].evidence)
    assert "it helped in 3 of 3 steps" in " ".join(advice["III"].evidence)


def test_without_a_gain_the_advice_is_a_guess_or_to_keep_things():
    advice = {a.phase: a for a in advise_phases(grid(gain=0.0), CUTS, AXES)}
    assert advice["I"].sure == "a guess"
    assert advice["I"].change == "try longer training"  # the only one of the phase's changes not on the grid
    assert advice["IV-B"].change.startswith("keep these settings")


def histories(*per_model: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Models of cell c0 and their accuracies at steps 1, 2, …; the first model of all has diverged."""
    ids = [f"m{k}" for k in range(len(per_model))]
    models = pd.DataFrame({"model_id": ids, "cell_id": "c0", "status": "ok"})
    models.loc[0, "status"] = "diverged"
    epochs = [
        {"model_id": i, "step": step, "test_accuracy_percent": value}
        for i, values in zip(ids, per_model, strict=True)
        for step, value in enumerate(values, 1)
    ]
    return models, pd.DataFrame(epochs)


def test_a_model_is_stopped_where_the_others_of_its_cell_were_best():
    models, epochs = histories(
        [99, 0, 0], [50, 80, 70], [60, 70, 75], [65, 90]
    )  # the last one ended at step 2
    gains = phases.gains_of_stopping(models, epochs)
    assert list(gains) == ["c0"]
    # Without m1: 62.5, 80, 82.5; without m2: 57.5, 85, 80; without m3: 55, 75, 72.5.
    assert gains["c0"].tolist() == [70 - 70, 70 - 75, 90 - 90]
    assert phases.gains_of_stopping(models.drop(columns="cell_id"), epochs) == {}
    assert phases.gains_of_stopping(models, epochs.iloc[:0]) == {}
    assert phases.gains_of_stopping(models.head(2), epochs) == {}  # one model has no others


@pytest.mark.parametrize(
    ("gained", "change"),
    [
        ([4.8, 5.0, 5.2], "shorter training: stop earlier"),
        ([-1.0, 5.0, 0.0], "try longer training"),  # may be chance
        ([0.2, 0.2, 0.2], "try longer training"),  # not worth naming
    ],
)
def test_longer_training_is_not_advised_where_models_stopped_early_were_better(
    gained: list[float], change: str
):
    stopping = {"c0": np.array(gained), "c3": np.array([-9.0, 9.0]), "elsewhere": np.array([50.0, 51.0])}
    cells = grid(gain=0.0)
    advice = {a.phase: a for a in advise_phases(cells, CUTS, AXES, stopping)}
    one = advise_cells(cells, CUTS, AXES, {"c0"}, stopping)["c0"]
    assert advice["I"].change == one.change == change
    assert " models improved" in " ".join(one.evidence)
    assert "Longer training was not tried" not in " ".join(one.evidence) or change == "try longer training"


@pytest.mark.parametrize(
    ("gained", "change"),
    [
        ([8.8, 9.0, 9.2], "shorter training: stop earlier"),
        ([5.0, 6.0, 7.0], "larger model: raise the width"),  # a point more, which may be chance
        ([1.0, 1.0, 1.0], "larger model: raise the width"),
    ],
)
def test_stopping_early_is_advised_first_where_it_gained_surely_more(gained: list[float], change: str):
    advice = advise_cells(grid(), CUTS, AXES, {"c3"}, {"c3": np.array(gained)})["c3"]  # III
    assert advice.change == change
    said = " ".join(advice.evidence)
    assert "One step of larger model (width) changed accuracy by +5.00" in said
    assert f"best step of the other replicates gained +{np.mean(gained):.2f} points" in said


def test_a_cell_without_neighbours_is_not_told_to_stay_as_it_is():
    cells = grid().iloc[[12]]
    (advice,) = advise_phases(cells, CUTS, AXES, {"c12": np.array([-0.3, -0.2, -0.3, -0.2, -0.3])})
    assert [t.direction for t in advice.tried] == ["shorter training"]
    assert advice.tried[0].high < 1
    assert (advice.change, advice.sure) == ("keep these settings; try more data", "a guess")


def test_a_change_that_few_cells_of_a_phase_can_make_names_how_many():
    cells = (
        grid(gain=0.0)
        .iloc[9:15]
        .assign(
            batch_size=[8, 16, 32, 64, 128, 128],
            label_noise=[0.0, 0.0, 0.0, 0.0, 0.0, 0.1],
            test_accuracy_percent=[80.0, 80.0, 80.0, 80.0, 80.0, 74.0],
            phase="IV-B",
        )
    )
    axes = {"load": ["label_noise"], "temperature": ["batch_size"]}
    (advice,) = advise_phases(cells, CUTS, axes)
    assert advice.change == "cleaner data: lower the label noise, possible from 1 of these 6 cells"
    one = advise_cells(cells, CUTS, axes)["c14"]
    assert one.change == "cleaner data: lower the label noise"


def test_a_change_that_the_taxonomy_would_not_name_is_marked_so():
    cells = grid(gain=0.0).assign(test_accuracy_percent=lambda t: 80 + 2 * np.log2(t["batch_size"]))
    advice = advise_cells(cells, CUTS, AXES)["c3"]  # III at width 4
    assert advice.change == "colder training: raise the batch size"
    assert advice.sure == "fairly sure"
    assert "The cause does not suggest this change" in " ".join(advice.evidence)


def test_a_cell_without_a_phase_is_told_what_it_lacks():
    cells = phases.classify(grid().assign(cka=np.nan), CUTS)
    advice = advise_cells(cells, CUTS, AXES, {"c9"})
    assert list(advice) == ["c9"]
    assert advice["c9"].cause == "unknown without CKA"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    grid().drop(columns=["phase", "near_cut", "cell_id", "n_models", "n_diverged"]).to_csv(
        folder / "cells.csv", index=False
    )
    return folder


def test_a_folder_of_cells_alone_can_be_diagnosed(tables: Path):
    said = "\n".join(diagnose(load(tables)))
    assert "15 cells" in said
    assert "larger model: raise the width" in said
    one = "\n".join(diagnose(load(tables), cell="width=4,batch_size=16"))
    assert "Width 4, batch size 16. Phase III" in one


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("width=5,batch_size=16", "no cell has width 5"),
        ("width=4", "matches 3 cells; give every axis"),
        ("depth=1", "give a cell_id, or settings such as width=2,batch_size=8"),
        ("width=wide,batch_size=16", "width is a number"),
    ],
)
def test_a_wrong_cell_is_named(tables: Path, cell: str, message: str):
    with pytest.raises(InputError, match=message):
        diagnose(load(tables), cell=cell)


def test_models_without_axes_are_one_cell(tmp_path: Path):
    models = pd.DataFrame(
        {"model_id": ["a", "b"], "train_loss": [0.001, 0.002], "test_accuracy_percent": 90.0}
    )
    models.to_csv(tmp_path / "models.csv", index=False)
    pairs = pd.DataFrame({"model_a": ["a"], "model_b": ["b"], "mode_connectivity": [-9.0], "cka": [0.4]})
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    said = "\n".join(diagnose(load(tmp_path)))
    assert "phase III" in said
    assert "Larger model was not tried" in said


def test_the_command_answers_and_refuses(tables: Path, tmp_path: Path):
    done = explore("diagnose", tables, "--cell", "width=4,batch_size=16")
    assert done.returncode == 0, done.stderr
    assert "Next: larger model: raise the width (very sure)." in done.stdout
    wrong = explore("diagnose", tmp_path / "nothing")
    assert wrong.returncode == 2
    (tmp_path / "epochs.csv").write_text("model_id,step\na,1\n")
    useless = explore("diagnose", tmp_path)
    assert useless.returncode == 2
    assert "so it cannot be diagnosed" in useless.stderr


# ---- causes


def cause(phase: str, tried=(), noise: float = 0.0, **numbers: float) -> str:
    at = {"train_loss": 0.001, "train_error_percent": 0.0, "test_error_percent": 3.0}
    at |= {"mode_connectivity": 0.0, "cka": 0.8} | numbers
    return cause_of(at, phase, tried, 2.0, noise).text


def step(direction: str, axis: str, *, loss: float, low: float = -1.0, high: float = 1.0) -> Tried:
    return Tried(axis, direction, (low + high) / 2, 0.5, 100.0, 1, 1, loss, low, high)


@pytest.mark.parametrize("phase", ["I", "II", "III", "IV-A", "IV-B"])
def test_overfitting_is_the_cause_whatever_the_phase_and_only_with_a_gap(phase: str):
    text = cause(phase, train_loss=0.3, train_error_percent=30.0, test_error_percent=128.0)
    assert text.startswith("it overfits: training error 30 %, test error 128 %")
    assert "too small" not in text
    for train, test in ((30.0, 33.0), (1.0, 4.0), (30.0, 50.0)):
        assert "overfits" not in cause(phase, train_error_percent=train, test_error_percent=test)


@pytest.mark.parametrize("direction", ["smaller model", "shorter training"])
def test_models_overfit_where_learning_less_surely_helps(direction: str):
    at = {"train_loss": 0.4, "train_error_percent": 39.0, "test_error_percent": 50.0}
    unsure = step(direction, "width", loss=0.1, low=-1.0, high=6.0)
    assert cause("I", [unsure], **at).startswith("it does not fit the data")
    helps = step(direction, "width", loss=0.1, low=0.5, high=6.0)
    found = cause_of({**at, "mode_connectivity": 0.0, "cka": 0.8}, "I", [helps], 2.0, 0.0)
    assert found.text == "it overfits: training error 39 %, test error 50 %"
    assert found.wanted[0] == direction
    larger = step("larger model", "width", loss=-0.5, low=2.0, high=6.0)
    at = {"train_error_percent": 3.0, "test_error_percent": 10.0}
    assert cause("I", [larger], **at).startswith("it fits most labels (training error 3 %), but")
    assert cause("III", [larger], **at).startswith("it overfits")
    colder = step("colder training", "batch_size", loss=-0.7, low=2.0, high=6.0)
    far = {"train_error_percent": 15.0, "test_error_percent": 35.0}
    assert cause("I", [colder], **far).startswith("training is too hot to fit the data")
    regular = step("colder training", "weight_decay", loss=0.7, low=2.0, high=6.0)  # learns less
    assert cause("I", [regular], **far).startswith("it overfits")


def test_curves_speak_for_a_cause_only_if_they_find_points_beyond_the_tolerance():
    at = {"train_loss": 0.5, "train_error_percent": 20.0, "test_error_percent": 25.0}
    assert "curves" not in cause("II", mode_connectivity=0.1, **at)
    found = "curves find points with 3 points less training error than the models reached"
    assert cause("II", mode_connectivity=3.0, **at).endswith(f"training error 20 %; {found}")
    at = {"train_loss": 0.06, "train_error_percent": 4.0, "test_error_percent": 7.0}
    text = cause("II", mode_connectivity=3.0, **at)
    assert text == f"it fits most labels (training error 4 %), but {found}"


def test_the_reason_of_underfitting_is_the_step_that_lowers_the_loss():
    hot, small = step("colder training", "batch_size", loss=-1.0), step("larger model", "width", loss=-0.3)
    at = {"train_loss": 0.9, "train_error_percent": 40.0, "test_error_percent": 41.0}
    assert cause("I", [hot, small], **at).startswith(
        "training is too hot to fit the data: training error 40 %"
    )
    assert "divides the training loss by 2.72" in cause("I", [hot, small], **at)
    assert cause("I", [small], **at).startswith("the model is too small to fit the data")
    hurts = step("colder training", "batch_size", loss=-1.0, low=-9.0, high=-5.0)
    assert cause("II", [hurts, small], **at).startswith("the model is too small")
    hotter = step("hotter training", "batch_size", loss=1.0, low=2.0, high=4.0)  # accuracy says the opposite
    assert cause("II", [hot, hotter, small], **at).startswith("the model is too small")
    worse = step("larger model", "width", loss=-0.3, low=-3.0, high=1.0)
    assert cause("I", [worse], **at).endswith("lowers its training loss by 10 % and gains accuracy")
    useless = step("larger model", "width", loss=0.2)
    assert "no step to a neighbouring cell lowers" in cause("I", [useless], **at)


def test_label_noise_shifts_what_counts_as_fitted():
    at = {"train_loss": 0.8, "train_error_percent": 20.0, "test_error_percent": 4.0}
    assert "does not fit" in cause("II", **at)
    assert cause("II", noise=0.2, **at).startswith(
        "it fits what can be learnt (training error 20 %, with 20 %"
    )
    memory = cause("III", noise=0.2, test_error_percent=25.0, mode_connectivity=-9.0)
    assert memory.startswith(
        "it overfits and memorises noisy labels: training error 0 %, with 20 % noisy labels"
    )
    assert memory.endswith("replicates lie behind a barrier of 9 points")
    for train, test in ((28.6, 30.7), (27.5, 21.4), (17.3, 8.9)):  # most noisy labels are not learnt
        errors = {"train_error_percent": train, "test_error_percent": test}
        assert "overfits" not in cause("II", noise=0.2, **{**at, **errors})
    learnt = cause_of({**at, "mode_connectivity": 0.0, "cka": 0.8}, "II", [], 2.0, 0.2)
    assert "longer training" not in learnt.wanted


def test_two_replicates_and_unfinished_curves_make_advice_a_guess():
    assert advise_cells(grid(), CUTS, AXES, {"c3"})["c3"].sure == "very sure"
    for weaker in (grid().assign(n_models=2), grid().assign(curves_converged_share=0.5)):
        advice = advise_cells(weaker, CUTS, AXES, {"c3"})["c3"]
        assert advice.sure == "a guess"
        assert advice.guess.endswith("so this is a guess.")
        assert advice.guess in advice.evidence
    assert not advise_cells(grid(), CUTS, AXES, {"c3"})["c3"].guess
    unsorted = phases.classify(grid().assign(n_models=2).drop(columns="mode_connectivity"), CUTS)
    assert set(unsorted["phase"]) == {""}
    table = advice_table(unsorted, advise_cells(unsorted, CUTS, AXES), AXES)
    assert "yes" in set(table["answer"])
    assert set(table["confidence"]) == {"a guess"}


def test_advice_says_how_many_curves_converged():
    cells = grid().assign(n_curves=10, curves_converged_share=[1.0] * 3 + [0.4] + [1.0] * 11)
    advice = advise_cells(cells, CUTS, AXES)
    assert advice["c3"].evidence[-1] == "4 of 10 curves here have converged, so this is a guess."
    assert advice["c4"].sure == "very sure"
    table = advice_table(cells, advice, AXES)
    unsure = table["curves_converged_share"] < 1
    assert set(table.loc[unsure, "cell_id"]) == {"c3"}
    assert set(table.loc[unsure, "confidence"]) == {"a guess"}
    of_phases = {a.phase: a for a in advise_phases(cells.assign(curves_converged_share=0.4), CUTS, AXES)}
    n = 10 * of_phases["III"].n_cells
    assert (
        f"{4 * n // 10} of {n} curves here have converged, so this is a guess." in of_phases["III"].evidence
    )


def test_the_table_of_advice_has_a_row_for_each_cell_and_change():
    cells = grid()
    table = advice_table(cells, advise_cells(cells, CUTS, AXES), AXES)
    asked = table[(table["cell_id"] == "c3") & (table["question"] == "Would a larger model help?")].iloc[0]
    assert (asked["answer"], asked["change"]) == ("yes", "larger model: raise the width")
    assert asked["low"] < asked["gain"] < asked["high"]
    assert asked["confidence"] == "very sure"
    assert set(table["confidence"]) <= {"very sure", "fairly sure", "a guess"}
    assert (table.loc[table["answer"] == "not tried", "confidence"] == "a guess").all()
