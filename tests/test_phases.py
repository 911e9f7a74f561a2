from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from explorer import phases
from explorer.phases import Cut
from explorer.report.facts import readings

AXES = {"load": ["width"], "temperature": ["batch_size"]}
CUTS = {
    "train_loss": Cut("train_loss", 0.01, ""),
    "connected": Cut("connected", 2.0, ""),
    "cka": Cut("cka", 0.65, ""),
}


def models(**columns) -> pd.DataFrame:
    return pd.DataFrame(
        {"width": [4, 4, 4, 8], "batch_size": [16, 16, 16, 16], "cell_id": ["a", "a", "a", "b"], **columns}
    )


def one_cell(**columns) -> pd.DataFrame:
    return pd.DataFrame(
        {"cell_id": ["a"], "n_models": [5], "n_pairs": [10], **{k: [v] for k, v in columns.items()}}
    )


# ---- cells


def test_cells_average_only_what_ended_well_and_keep_a_cell_that_lost_all():
    table = models(status=["ok", "ok", "diverged", "failed"], train_loss=[1.0, 3.0, 100.0, np.nan])
    cells = phases.cells(table, pd.DataFrame(), AXES)
    assert cells["cell_id"].tolist() == ["a", "b"]
    assert cells["n_models"].tolist() == [2, 0]
    assert cells["n_diverged"].tolist() == [1, 1]
    assert cells["n_pairs"].tolist() == [0, 0]
    assert cells["train_loss"].iloc[0] == 2.0
    assert cells["train_loss_std"].iloc[0] == pytest.approx(np.sqrt(2))  # ddof 1
    assert np.isnan(cells["train_loss"].iloc[1])


def test_the_spread_of_a_single_model_is_unknown_not_zero():
    cells = phases.cells(models(train_loss=[1.0, 1.0, 1.0, 5.0]), pd.DataFrame(), AXES)
    assert cells["train_loss_std"].iloc[0] == 0
    assert np.isnan(cells["train_loss_std"].iloc[1])


def test_pairs_join_their_cell_by_axes_or_by_their_models():
    table = models(model_id=["p", "q", "r", "s"])
    by_axes = pd.DataFrame(
        {"width": [4, 4], "batch_size": [16, 16], "status": ["ok", "failed"], "cka": [0.5, 0.9]}
    )
    by_model = pd.DataFrame(
        {"model_a": ["p", "p"], "model_b": ["q", "r"], "status": ["ok", "failed"], "cka": [0.5, 0.9]}
    )
    for pairs in (by_axes, by_model):
        cells = phases.cells(table, pairs, AXES)
        assert cells["n_pairs"].tolist() == [1, 0]
        assert cells["cka"].iloc[0] == 0.5


def test_cells_of_a_foreign_folder_have_names_even_without_ids_axes_or_models():
    bare = phases.cells(models().drop(columns="cell_id"), pd.DataFrame(), AXES)
    assert bare["cell_id"].tolist() == ["width=4,batch_size=16", "width=8,batch_size=16"]
    assert phases.cells(pd.DataFrame({"train_loss": [1.0, 2.0]}), pd.DataFrame(), {})[
        "n_models"
    ].tolist() == [2]
    only_pairs = phases.cells(
        pd.DataFrame(), pd.DataFrame({"width": [4], "batch_size": [16], "cka": [0.5]}), AXES
    )
    assert only_pairs[["n_models", "n_pairs"]].to_numpy().tolist() == [[0, 1]]
    assert phases.cells(pd.DataFrame(), pd.DataFrame(), AXES).empty


# ---- cuts


def test_the_loss_cut_lies_in_the_widest_gap():
    losses = [0.0005, 0.001, 0.002, 0.3, 0.5, 1.0]
    cut = phases.find_cuts(pd.DataFrame({"train_loss": losses}))["train_loss"]
    assert 0.002 < cut.value < 0.3
    assert "0.002" in cut.reason
    assert "0.3" in cut.reason
    assert not cut.by_user


@pytest.mark.parametrize(
    ("losses", "low"), [([1e-6, 1e-5, 9e-3], 3), ([0.11, 0.5, 3.0], 0), ([1e-6, 1e-3, 2e-3, 0.005, 0.5], 4)]
)
def test_a_grid_is_not_split_where_all_or_none_of_it_is_fitted(losses, low):
    cut = phases.find_cuts(pd.DataFrame({"train_loss": losses}))["train_loss"]
    assert sum(loss < cut.value for loss in losses) == low


def test_the_cka_cut_splits_the_connected_low_loss_cells_and_no_others():
    cells = pd.DataFrame({
        "train_loss": [0.001] * 6 + [1.0, 0.001],
        "mode_connectivity": [0.0] * 6 + [0.0, -9.0],
        "cka": [0.70, 0.71, 0.72, 0.90, 0.91, 0.92, 0.1, 0.1],
    })  # fmt: skip
    assert phases.find_cuts(cells, {"train_loss": 0.01})["cka"].value == pytest.approx(0.81)
    few, alike = cells.iloc[:3], cells.assign(cka=[0.90, 0.91, 0.92, 0.93, 0.94, 0.945, 0.1, 0.1])
    assert phases.find_cuts(few)["cka"].value == 0.65
    assert phases.find_cuts(alike)["cka"].value == 0.65


def test_cuts_can_be_given_by_name_and_none_means_find_it():
    cuts = phases.find_cuts(
        pd.DataFrame({"train_loss": [1.0]}), {"connected": 1, "cka": 0.8, "train_loss": None}
    )
    assert (cuts["connected"].value, cuts["connected"].by_user) == (1.0, True)
    assert (cuts["cka"].value, cuts["train_loss"].by_user) == (0.8, False)


@pytest.mark.parametrize(
    "wrong", [{"ckaa": 1}, {"cka": "high"}, {"connected": -1}, {"connected": True}, {"cka": np.nan}]
)
def test_a_wrong_cut_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        phases.find_cuts(pd.DataFrame(), wrong)


# ---- phases


@pytest.mark.parametrize(
    ("loss", "mc", "cka", "phase"),
    [
        (1.0, -8.0, 0.3, "I"),
        (1.0, 5.0, 0.3, "II"),
        (1.0, -0.1, 0.3, "II"),  # within the tolerance there is no barrier
        (1.0, 0.1, 0.3, "II"),
        (0.001, -8.0, 0.3, "III"),
        (0.001, 8.0, 0.9, "II"),  # the curve out-trained its ends
        (0.001, -1.9, 0.3, "IV-A"),
        (0.001, 1.9, 0.9, "IV-B"),
        (0.001, 0.0, np.nan, ""),
        (0.001, np.nan, 0.9, ""),
        (np.nan, -8.0, 0.3, ""),
    ],
)
def test_every_phase(loss, mc, cka, phase):
    cells = phases.classify(one_cell(train_loss=loss, mode_connectivity=mc, cka=cka), CUTS)
    assert cells["phase"].tolist() == [phase]


def test_a_cell_is_near_a_cut_when_its_standard_error_reaches_over_it():
    known = {"train_loss": 0.001, "train_loss_std": 0.0001, "cka": 0.9, "cka_std": 0.01}
    spread = 1.0 / np.sqrt(0.6)  # ten pairs of five models: standard error 1
    near = phases.classify(one_cell(**known, mode_connectivity=-1.1, mode_connectivity_std=spread), CUTS)
    far = phases.classify(one_cell(**known, mode_connectivity=-0.9, mode_connectivity_std=spread), CUTS)
    unknown = phases.classify(one_cell(**known, mode_connectivity=-1.1, mode_connectivity_std=np.nan), CUTS)
    assert [t["near_cut"].iloc[0] for t in (near, far, unknown)] == ["connected", "", ""]


def test_underfitted_cells_are_parted_at_the_barrier():
    at = {"train_loss": 1.0, "train_loss_std": 0.01, "mode_connectivity_std": 0.5}
    for mc, near in ((-0.1, ""), (-2.0, "connected"), (2.0, "")):
        assert phases.classify(one_cell(**at, mode_connectivity=mc), CUTS)["near_cut"].iloc[0] == near


def test_models_that_fit_their_labels_are_not_underfitted_whatever_their_loss():
    spread = {"train_loss_std": 0.001, "mode_connectivity_std": 0.1, "cka_std": 0.01}
    at = {"train_loss": 0.05, "mode_connectivity": -0.1, "cka": 0.8, **spread}
    cells = pd.concat([one_cell(**at, train_error_percent=v) for v in (0.4, 0.6)], ignore_index=True)
    labels = {**CUTS, "train_loss": replace(CUTS["train_loss"], fitted_error=0.5)}
    found = phases.classify(cells, labels)
    assert found["phase"].tolist() == ["IV-B", "II"]
    assert found["phase_probability"].iloc[0] < phases.CERTAIN < found["phase_probability"].iloc[1]
    assert found["second_phase"].iloc[0] == "II"
    assert phases.classify(cells, CUTS)["phase"].tolist() == ["II", "II"]  # targets that are no labels
    assert phases.find_cuts(cells)["train_loss"].fitted_error == 0.5


def test_a_loss_cut_that_is_a_coin_toss_makes_the_cells_between_uncertain():
    """Two gaps of the same width, and one that is far wider: cells between the first two have no sure phase."""

    def probability(losses: list[float]) -> np.ndarray:
        table = {"train_loss": losses, "mode_connectivity": 0.0, "cka": 0.8, "n_models": 5, "n_pairs": 10}
        spread = {"train_loss_std": 1e-6, "mode_connectivity_std": 0.01, "cka_std": 0.001}
        cells = pd.DataFrame(table).assign(**spread)
        return phases.classify(cells, phases.find_cuts(cells))["phase_probability"].to_numpy()

    low, middle, high = [0.004] * 8, [0.02] * 8, [0.1] * 8
    toss = probability([*low, *middle, *high])
    assert (toss[8:16] < phases.CERTAIN).all()
    assert (toss[:8] > 0.99).all()
    assert (probability([*low, *middle, *[1.0] * 8]) > 0.99).all()


@pytest.mark.parametrize("seed", range(3))
def test_cka_has_two_groups_or_the_cut_of_the_authors(seed: int):
    random = np.random.default_rng(seed)

    def cut(cka: np.ndarray) -> float:
        table = {"train_loss": 0.001, "mode_connectivity": 0.0, "cka": cka}
        return phases.find_cuts(pd.DataFrame(table), {"train_loss": 0.01})["cka"].value

    two = np.concatenate([random.normal(0.5, 0.03, 20), random.normal(0.8, 0.03, 20)])
    assert cut(two) == pytest.approx(0.65, abs=0.06)
    assert cut(two + 0.15) == pytest.approx(0.8, abs=0.06)
    assert cut(random.uniform(0.4, 0.9, 40)) == 0.65
    assert cut(0.9 - random.exponential(0.05, 40)) == 0.65


def test_sensitivity_counts_the_cells_that_a_moved_cut_would_recolour():
    cells = pd.DataFrame({"train_loss": [0.0095, 0.001], "mode_connectivity": [0.0, 0.0], "cka": [0.9, 0.9]})
    assert phases.sensitivity(cells, CUTS) == {"train_loss": 1, "connected": 0, "cka": 0}


@pytest.mark.parametrize(
    "chosen", [range(10), [0, 2, 5, 9, 6], [0, 9]], ids=["all pairs", "a ring", "disjoint"]
)
def test_the_standard_error_of_pairs_knows_that_they_share_models(chosen):
    """A simulation in which all spread comes from the models: taken for draws, ten pairs mislead."""
    random = np.random.default_rng(0)
    places = [(i, j) for i in range(5) for j in range(i)]
    used = [places[k] for k in chosen]
    effects = random.normal(size=(4000, 5))
    pairs = np.array([effects[:, i] + effects[:, j] for i, j in used]).T  # (draws, pairs)
    spread = np.sqrt(pairs.var(axis=1, ddof=1).mean())
    cell = {"n_models": 5, "n_pairs": len(used), "cka_std": spread, "barrier_std": spread}
    few_curves = cell | {"n_pairs": 10, "n_curves": len(used)}
    for cells, name in ((cell, "cka"), (few_curves, "barrier")):
        estimate = phases.standard_error(pd.DataFrame([cells]), name).iloc[0]
        assert estimate == pytest.approx(pairs.mean(axis=1).std(), rel=0.06)


def test_curves_are_counted_apart_from_pairs_of_which_something_else_is_known():
    pairs = pd.DataFrame(
        {"width": 4, "batch_size": 16, "cka": [0.5] * 3, "mode_connectivity": [-1.0, np.nan, -3.0]}
    )
    cells = phases.cells(models(), pairs, AXES)
    assert cells[["n_pairs", "n_curves"]].to_numpy().tolist() == [[3, 2], [0, 0]]


# ---- correlations and words


def test_rank_correlations_are_spearmans():
    random = np.random.default_rng(1)
    cells = pd.DataFrame(
        {"width": [1, 2, 2, 3, 4, 5], "cka": random.normal(size=6), "l2_distance": [1.0] * 6}
    )
    cells.loc[0, "cka"] = np.nan
    found = phases.rank_correlations(cells, ["width", "absent"], ["cka", "l2_distance"]).set_index("y")
    expected = spearmanr(cells["width"][1:], cells["cka"][1:]).statistic
    assert found.loc["cka", "rho"] == pytest.approx(expected)
    assert found.loc["cka", "n"] == 5
    assert np.isnan(found.loc["l2_distance", "rho"])
    assert found.index.tolist() == ["cka", "l2_distance"]


def grid() -> pd.DataFrame:
    """Width 2 behind a barrier, width 64 best; the training error is 0 in both of the wide cells."""
    return pd.DataFrame({
        "cell_id": list("abc"), "width": [2, 16, 64], "batch_size": [8, 8, 8], "n_models": [5, 5, 5],
        "n_diverged": [2, 0, 0], "n_pairs": [10, 10, 10], "train_loss": [0.5, 0.001, 0.001],
        "train_error_percent": [20.0, 0.0, 0.0], "mode_connectivity": [-9.0, -0.1, 0.0],
        "mode_connectivity_std": [2.0, 0.1, 0.0], "loss_barrier": [0.5, 0.02, 0.01], "cka": [0.3, 0.7, 0.9],
        "test_accuracy_percent": [60.0, 90.0, 95.0], "test_accuracy_percent_std": [3.0, 0.4, 0.4],
    })  # fmt: skip


def test_findings_say_what_the_numbers_say():
    cells = phases.classify(grid(), CUTS)
    best, barriers, load, ranks, lost = phases.findings(cells, CUTS, AXES)
    assert "95.0 ± 0.4 % (5 models)" in best
    assert "width 64, batch size 8" in best
    assert "phase IV-B" in best
    assert "(connected and alike); the certainty of this phase is unknown" in best
    known = phases.classify(grid().assign(train_loss_std=1e-5, cka_std=0.001), CUTS)
    assert "certain" not in phases.findings(known, CUTS, AXES)[0]
    assert barriers.startswith("There is a barrier (mode connectivity below −2 points) in 1 of 3 cells: ")
    assert "1 of 3 cells: −9.0 ± 2.0 points, at width 2, batch size 8." in barriers
    assert "In 2 cells, training error is 0" in barriers
    assert "0.02" in barriers  # the largest loss barrier among those two
    behind = phases.findings(cells.assign(train_error_percent=[0.0, 0.0, 1.0]), CUTS, AXES)[1]
    assert "In 1 cell, training error is 0" in behind  # not at width 2, whose mode connectivity is −9
    assert "rises with width (Spearman +1.00, n = 3 cells); with so few" in load
    assert "too few to rely on" in ranks
    assert lost.startswith("2 of 17 models diverged")


def test_findings_admit_ties_barriers_absent_and_tables_missing():
    close = grid().assign(test_accuracy_percent=[60.0, 94.9, 95.0])
    best = phases.findings(phases.classify(close, CUTS), CUTS, AXES)[0]
    assert "1 other cell cannot be told from it" in best
    alone = grid().drop(columns="test_accuracy_percent_std").assign(n_models=1)
    tied = phases.classify(alone.assign(test_accuracy_percent=[60.0, 95.0, 95.0]), CUTS)
    assert "; 1 other cell has the same; with so few" in phases.findings(tied, CUTS, AXES)[0]
    two = pd.concat([grid(), grid()[:1].assign(cell_id="d", batch_size=16)])
    assert (
        "There are barriers (mode connectivity below −2 points) in 2 of 4 cells, all at width 2; the deepest is −9.0"
        in (phases.findings(phases.classify(two, CUTS), CUTS, AXES)[1])
    )
    level = phases.classify(grid().assign(mode_connectivity=0.0), CUTS)
    assert phases.findings(level, CUTS, AXES)[1].startswith(
        "No barrier: mode connectivity is below −2 points in none of 3"
    )
    one = phases.classify(grid().assign(mode_connectivity=0.0)[:1], CUTS)
    said = " ".join(phases.findings(one, CUTS, AXES))
    assert "No barrier: mode connectivity is not below −2 points." in said
    same = phases.classify(grid().assign(hessian_trace=3.0), CUTS)
    assert phases.hessian_contrast(same, CUTS) == (
        "The median Hessian trace is the same on both sides of the loss cut."
    )
    learnt = {
        "train_loss": [0.5, 0.001, 0.5],
        "train_error_percent": [12.0, 0.0, 30.0],
        "mode_connectivity": 0.0,
    }
    noisy = phases.classify(grid().assign(test_accuracy_percent=[95.0, 80.0, 70.0], **learnt), CUTS)
    said = phases.findings(noisy, CUTS, AXES, noise=0.1)
    assert "in phase II (fits what can be learnt, but not the noisy labels)" in said[0]
    assert any(s.startswith("In 1 of 2 cells of phases I and II, training error is at most 5 ") for s in said)
    own = phases.findings(noisy.assign(label_noise=[0.1, 0.1, 0.3]), CUTS, AXES)
    assert any(s.startswith("In 2 of 2 cells of phases I and II") for s in own)
    assert "in phase II (underfitted" in phases.findings(noisy, CUTS, AXES)[0]
    assert phases.reading_of("II", 1.0, 0.1) == "fits most noisy labels, but without confidence"
    assert readings(noisy, 0.1) == ["fits what can be learnt, but not the noisy labels", "", ""]
    assert phases.reading_of("III", 1.0, 0.1) == phases.READINGS["III"]
    bare = phases.classify(grid()[["cell_id", "width", "batch_size", "n_models", "n_diverged"]], CUTS)
    said = " ".join(phases.findings(bare, CUTS, AXES))
    assert "No test accuracy" in said
    assert "No curves between models" in said
    nothing = phases.classify(phases.cells(pd.DataFrame(), pd.DataFrame(), AXES), CUTS)
    assert phases.findings(nothing, CUTS, AXES)[-1] == "No model has been trained yet."


def test_the_hessian_is_compared_across_the_loss_cut():
    cells = grid().assign(hessian_trace=[500.0, 40.0, 60.0])
    assert "10 times larger in the 1 high-loss cell than in the 2 low-loss cells" in phases.hessian_contrast(
        cells, CUTS
    )
    assert phases.hessian_contrast(grid(), CUTS) == ""
    saddles = cells.assign(hessian_trace=[-3.0, 40.0, 60.0])  # they lie on both sides, but have no ratio
    assert phases.hessian_contrast(saddles, CUTS) == ""
    both = phases.hessian_contrast(saddles.assign(hessian_top_eigenvalue=[8.0, 2.0, 2.0]), CUTS)
    assert both.startswith("The median Hessian top eigenvalue is 4 times larger")
    assert "on one side" in phases.hessian_contrast(cells.assign(train_loss=1.0), CUTS)


def test_numbers_read_well():
    assert [phases.format_number(v) for v in (0.00026, 0.0123, 12345.6, -0.5, np.nan)] == [
        "2.6e-4".replace("-", "−"),
        "0.0123",
        "12,346",
        "−0.5",
        "",
    ]
    assert phases.format_number(-0.01, 1) == "0.0"


def test_neither_torch_nor_ray_nor_altair_is_imported():
    code = (
        "import sys, explorer.phases, explorer.report\n"
        "print(sorted({'torch', 'ray', 'altair', 'vl_convert', 'scipy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_cell_has_the_share_of_its_curves_that_converged() -> None:
    pairs = pd.DataFrame(
        {
            "width": [4, 4, 4, 8, 16],
            "cell_id": ["a", "a", "a", "b", "c"],
            "mode_connectivity": [-1.0, -2.0, np.nan, 0.0, np.nan],
            "curve_converged": pd.array([True, False, False, None, True], dtype="boolean"),
        }
    )
    cells = phases.cells(pairs, pairs, {"load": ["width"]}).set_index("width")
    assert cells["curves_converged_share"].tolist() == pytest.approx([0.5, np.nan, np.nan], nan_ok=True)
    assert "curves_converged_share_std" not in cells
    assert phases.cells(pairs, pairs.iloc[:0], {"load": ["width"]})["curves_converged_share"].isna().all()
