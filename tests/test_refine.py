"""Which cells of a grid to run next, and the phases of the others."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import explore

from explorer import phases, refine, results
from explorer.phases.cuts import sort_means
from explorer.refine.domain import coordinates
from explorer.refine.grid import Grid
from explorer.refine.measures import MEASURES
from explorer.refine.probabilities import shares_of_phases
from explorer.refine.process import regressor
from explorer.report.replay import replay
from explorer.settings import InputError
from explorer.space.model import RefineOptions

CUTS = {"train_loss": 0.01, "connected": 1, "cka": 0.65}
DOMAIN = {
    "width": [2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64],
    "batch_size": [8, 12, 16, 24, 32, 48, 64, 96, 128],
}


def world(domain: dict[str, list] = DOMAIN, noise: float = 0.0) -> pd.DataFrame:
    """A grid with all phases: wide models fit unless batches are small, cold ones lie behind barriers."""
    draw = np.random.default_rng(0)
    rows = []
    for values in itertools.product(*domain.values()):
        at = dict(zip(domain, values, strict=True))
        w, b = np.log2(at["width"]), np.log2(at["batch_size"])
        shift = 2.0 * (at.get("activation") == "tanh")
        loss = 10 ** (0.5 - 0.9 * (w - shift) + 0.25 * (w - 7) * (b - 5) / 4 + noise * draw.normal())
        mc = 4 * (w - shift - 3 - 0.3 * (b - 3)) + noise * draw.normal()
        rows.append({**at, "train_loss": loss, "mode_connectivity": min(mc, 0.0), "cka": 0.4 + 0.05 * w})
    return pd.DataFrame(rows)


def true_phases(cells: pd.DataFrame) -> np.ndarray:
    return phases.classify(cells, phases.find_cuts(cells, CUTS))["phase"].to_numpy()


def at(cells: pd.DataFrame, settings: list[dict]) -> pd.DataFrame:
    return cells.merge(pd.DataFrame(settings), on=list(settings[0]))


def replayed(cells: pd.DataFrame, domain: dict[str, list], most: int) -> pd.DataFrame:
    known = refine.propose(pd.DataFrame(), domain, 16, CUTS)
    while len(known) < most:
        known += refine.propose(at(cells, known), domain, min(6, most - len(known)), CUTS)
    assert len({tuple(one.items()) for one in known}) == most
    return at(cells, known)


def test_a_start_covers_the_grid_with_its_ends_and_needs_no_measure() -> None:
    start = refine.propose(pd.DataFrame(), DOMAIN, 16)
    for axis, values in DOMAIN.items():
        chosen = sorted({one[axis] for one in start})
        assert len(chosen) == 4
        assert {chosen[0], chosen[-1]} == {values[0], values[-1]}
    more = refine.propose(pd.DataFrame(), DOMAIN, 19)
    assert more[:16] == start
    assert len({tuple(one.items()) for one in more}) == 19
    assert len(refine.propose(pd.DataFrame(), DOMAIN, 10_000)) == 99
    assert all(type(value) is int for one in start for value in one.values())
    assert refine.propose([], DOMAIN, 16) == start  # pyright: ignore[reportArgumentType]


def test_borders_are_found_from_a_third_of_the_cells() -> None:
    cells = world(noise=0.02)
    truth, known = true_phases(cells), replayed(cells, DOMAIN, 34)
    assert set(truth) == set(phases.PHASES)
    found = refine.predict(known, DOMAIN, CUTS)
    right = (found["phase"].to_numpy() == truth).mean()
    assert right > 0.95
    assert abs(refine.expected_share(found) - right) < 0.04
    at_random = [refine.predict(cells.sample(34, random_state=k), DOMAIN, CUTS)["phase"] for k in range(3)]
    assert right > np.mean([(one.to_numpy() == truth).mean() for one in at_random]) + 0.03


def test_a_prediction_has_a_row_for_each_cell_with_its_probabilities_and_measures() -> None:
    cells = world()
    known = cells.iloc[::3].assign(train_loss_std=0.001)
    found = refine.predict(known, DOMAIN, CUTS)
    assert found[["width", "batch_size"]].equals(cells[["width", "batch_size"]])
    measured = found["source"] == "measured"
    assert measured.sum() == len(known)
    assert found["phase"][measured].tolist() == true_phases(cells)[measured].tolist()
    assert (found["probability"][measured] == 1).all()
    assert np.allclose(found[list(phases.PHASES)].sum(axis=1), 1)
    assert np.allclose(found[list(phases.PHASES)].max(axis=1), found["probability"])
    assert found["train_loss"][measured].tolist() == known["train_loss"].tolist()
    assert (found["train_loss_std"][measured] == 0.001).all()
    assert (found["train_loss_std"][~measured] > 0).all()
    assert found[["train_loss", "mode_connectivity", "cka"]].notna().all(axis=None)
    nearly = np.abs(np.log10(found["train_loss"]) - np.log10(cells["train_loss"]))
    assert nearly.max() < 0.5


def test_predicted_measures_are_near_the_measured_ones_with_sane_deviations() -> None:
    cells = world(noise=0.02)
    cells["cka"] = np.where(cells["train_loss"] < 0.01, cells["cka"] + 0.2, 0.2)
    known = replayed(cells, DOMAIN, 34)
    found = refine.predict(known, DOMAIN, CUTS)
    for name in ("train_loss", "mode_connectivity", "cka"):
        least, most = known[name].min(), known[name].max()
        assert found[name].between(least - (most - least) / 2, most + (most - least) / 2).all(), name
        away = np.abs(found[name] - cells[name])[found["source"] == "predicted"]
        deviation = found[f"{name}_std"][found["source"] == "predicted"]
        assert (away < 2 * deviation).mean() > 0.85, name
        assert deviation.max() < most - least, name


def test_a_map_without_known_cells_comes_first() -> None:
    domain = {**DOMAIN, "activation": ["relu", "tanh"]}
    cells = world(domain)
    known = cells[cells["activation"] == "relu"].iloc[::3]
    first = refine.propose(known, domain, 1, CUTS)[0]
    assert first["activation"] == "tanh"


def test_the_answer_depends_neither_on_order_nor_on_number_types_nor_on_other_columns() -> None:
    cells = world().iloc[::4]
    first = refine.propose(cells, DOMAIN, 6, CUTS)
    other = cells.sample(frac=1, random_state=1).astype({"width": float}).assign(note="x")
    assert refine.propose(other, DOMAIN, 6, CUTS) == first
    assert refine.predict(other, DOMAIN, CUTS)["phase"].equals(refine.predict(cells, DOMAIN, CUTS)["phase"])


def test_a_grid_of_which_all_is_known_is_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.refine.partial.fit_models", None)
    cells = world()
    found = refine.predict(cells, DOMAIN, CUTS)
    assert found["phase"].tolist() == true_phases(cells).tolist()
    assert found["cka"].tolist() == cells["cka"].tolist()


def test_many_cells_take_seconds() -> None:
    domain = {"width": list(range(2, 42)), "batch_size": list(range(8, 38))}
    cells = world(domain)
    found = refine.predict(cells.sample(700, random_state=0), domain, CUTS)
    assert (found["phase"].to_numpy() == true_phases(cells)).mean() > 0.95


def test_a_proposed_cell_counts_as_a_measurement_of_its_predicted_values() -> None:
    cells = world(noise=0.02)
    known = at(cells, refine.propose(pd.DataFrame(), DOMAIN, 16))
    model = refine.PartialGrid(known, DOMAIN, CUTS).models["train_loss"]
    following, process = model.following(0), model.processes[0]
    mean, spread = following.predictions()
    for place in (3, 50):
        following.add(place)
        one, x = process.fitted[1], model.x[[place]]
        values = np.append(one.y_train_, one.predict(x))
        process.fitted[1] = regressor(one.kernel_).fit(np.vstack([one.X_train_, x]), values)
    want_mean, want = process.fitted[1].predict(model.x, return_std=True)
    assert following.means[1] == pytest.approx(want_mean, abs=1e-6)
    assert np.sqrt(following.variances[1]) == pytest.approx(want, abs=1e-6)
    assert following.predictions()[0] == pytest.approx(mean)
    assert (following.predictions()[1] < spread + 1e-12).all()


def test_a_measured_cell_is_predicted_from_the_others() -> None:
    known = at(world(noise=0.02), refine.propose(pd.DataFrame(), DOMAIN, 16))
    for model in refine.PartialGrid(known, DOMAIN, CUTS).models.values():
        process, place = model.processes[0], np.flatnonzero(model.used)[5]
        mean, spread = model.left_out()
        rest = [
            regressor(one.kernel_).fit(np.delete(one.X_train_, 5, 0), np.delete(one.y_train_, 5))
            for one in process.fitted
        ]
        want = process._replace(fitted=rest).at(model.x[[place]])
        assert (mean[place], spread[place]) == pytest.approx((want[0][0], want[1][0]), rel=1e-4, abs=1e-6)


def test_probabilities_of_phases_are_shares_of_draws_that_the_rule_sorts() -> None:
    cells = world().assign(train_error_percent=lambda table: np.minimum(90 * table["train_loss"], 90))
    grid = refine.PartialGrid(cells.iloc[::5], DOMAIN, CUTS)
    predicted = {name: model.predictions() for name, model in grid.models.items()}
    draw = np.random.default_rng(0).normal(size=(3, 20_000, 1))
    order = {"train_loss": 0, "train_error_percent": 0, "mode_connectivity": 1, "cka": 2}
    values = {
        name: MEASURES[name].back(mean + spread * draw[order[name]], grid.cuts)
        for name, (mean, spread) in predicted.items()
    }
    fits = values["train_error_percent"] < grid.cuts["train_loss"].fitted_error
    loss, connected, cka = (grid.cuts[name].value for name in ("train_loss", "connected", "cka"))
    means = values["train_loss"], values["mode_connectivity"], values["cka"]
    drawn = sort_means(*means, loss, connected, cka, fits).phase
    want = np.stack([(drawn == number).mean(axis=0) for number in range(1, 6)], axis=1)
    assert shares_of_phases(predicted, grid.cuts) == pytest.approx(want, abs=0.02)


def test_the_cka_of_cells_of_high_loss_does_not_count() -> None:
    known = at(world(), refine.propose(pd.DataFrame(), DOMAIN, 30))
    other = known.assign(cka=known["cka"].where(known["train_loss"] < 0.01, 0.99))
    assert not other["cka"].equals(known["cka"])
    found, again = (refine.predict(table, DOMAIN, CUTS) for table in (known, other))
    assert again["phase"].equals(found["phase"])


def test_mode_connectivity_is_the_same_there_and_back() -> None:
    values, cuts = np.array([-40.0, -2.0, 0.0, 1.9, 2.1, 40.0]), phases.find_cuts(world())
    scale = MEASURES["mode_connectivity"]
    assert scale.back(scale.to(values, cuts), cuts) == pytest.approx(values)


def test_cells_of_a_round_are_not_all_neighbours() -> None:
    cells = world()
    known = at(cells, refine.propose(pd.DataFrame(), DOMAIN, 16))
    grid = Grid(known, DOMAIN)
    places = refine.propose_places(known, DOMAIN, 6, CUTS)
    apart = np.abs(grid.x[places][:, None] - grid.x[places][None]).max(axis=-1)
    assert apart.max() > 0.5
    assert (apart[np.triu_indices(6, 1)] > 0.11).mean() > 0.7


def test_cells_without_measures_are_known_and_not_proposed_again() -> None:
    cells = world()
    known = at(cells, refine.propose(pd.DataFrame(), DOMAIN, 16))
    lost = refine.propose(known, DOMAIN, 8, CUTS)
    known = pd.concat([known, pd.DataFrame(lost)], ignore_index=True)
    after = refine.propose(known, DOMAIN, 8, CUTS)
    assert not [one for one in after if one in lost]
    found = at(refine.predict(known, DOMAIN, CUTS), lost)
    assert (found["source"] == "measured").all()
    assert (found["phase"] == "").all()
    assert found["probability"].isna().all()
    assert refine.propose(at(cells, refine.propose(pd.DataFrame(), DOMAIN, 99)), DOMAIN, 5, CUTS) == []


def test_measures_that_no_or_few_cells_have_leave_phases_open() -> None:
    cells = world()
    known = at(cells, refine.propose(pd.DataFrame(), DOMAIN, 16)).assign(cka=np.nan)
    found = refine.predict(known, DOMAIN, CUTS)
    unsure = found[(found["source"] == "predicted") & (found["IV-A"] + found["IV-B"] > 0.9)]
    assert len(unsure)
    assert (unsure["probability"] < 0.8).all()
    one = refine.predict(known.iloc[:1], DOMAIN, CUTS)
    assert one["phase"].isin(phases.PHASES).all()
    assert len(refine.propose(known.iloc[:1], DOMAIN, 6, CUTS)) == 6


def test_more_axes_work_and_axes_without_order_have_a_map_each() -> None:
    domain = {"width": DOMAIN["width"], "batch_size": [8, 16, 32, 64, 128], "activation": ["relu", "tanh"]}
    cells = world(domain)
    start = refine.propose(pd.DataFrame(), domain, 24)
    assert [sum(one["activation"] == name for one in start) for name in ("relu", "tanh")] == [12, 12]
    known = at(cells, start)
    chosen = refine.propose(known, domain, 12, CUTS)
    known = at(cells, start + chosen)
    right = (refine.predict(known, domain, CUTS)["phase"].to_numpy() == true_phases(cells)).mean()
    assert right > 0.9
    deep = {**domain, "activation": ["relu"], "depth": [1, 2, 4]}
    assert len(refine.propose(world(deep).iloc[::9], deep, 6, CUTS)) == 6


def test_a_grid_with_gaps_is_a_table() -> None:
    cells = world()
    domain = cells.loc[(cells["width"] > 3) | (cells["batch_size"] < 64), ["width", "batch_size"]]
    start = refine.propose(pd.DataFrame(), domain, 16)
    assert len(start) == 16
    assert len(at(domain, start)) == 16
    assert len(refine.predict(at(cells, start), domain, CUTS)) == len(domain)


def test_axes_are_logarithmic_where_their_values_are() -> None:
    def places(values: list[float]) -> list[float]:
        return coordinates(pd.Series(values)).tolist()

    assert places([1, 2, 4, 8, 16]) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert places([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert places([0, 0.001, 0.01, 0.1]) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert places([0, 0.1, 0.2, 0.4]) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert places([0, 0.5, 1.0]) == pytest.approx([0, 0.5, 1])
    assert places([3]) == [0]


def test_cuts_that_are_not_given_are_found_and_wrong_tables_are_one_sentence() -> None:
    cells = world()
    free = refine.predict(cells.iloc[::2], DOMAIN)
    assert free["phase"].isin(phases.PHASES).all()
    with pytest.raises(InputError, match="has no column cka; it has"):
        refine.predict(cells.drop(columns="cka"), DOMAIN)
    with pytest.raises(InputError, match="has no column width"):
        refine.propose(cells.drop(columns="width"), DOMAIN, 6)
    with pytest.raises(InputError, match="several rows for width 2, batch_size 8"):
        refine.propose(pd.concat([cells, cells]), DOMAIN, 6)
    with pytest.raises(InputError, match="unknown cut 'loss'"):
        refine.propose(cells.iloc[:9], DOMAIN, 6, {"loss": 1})
    with pytest.raises(InputError, match="unknown cut 'loss'"):
        refine.propose(pd.DataFrame(), DOMAIN, 6, {"loss": 1})
    with pytest.raises(InputError, match="several columns cka"):
        refine.propose(pd.concat([cells, cells[["cka"]]], axis=1), DOMAIN, 6)
    with pytest.raises(InputError, match="no cell of the table: the first one has width 1, batch_size 8"):
        refine.propose(cells.assign(width=cells["width"] // 2).iloc[:1], {**DOMAIN, "width": [2, 4]}, 6)
    with pytest.raises(InputError, match="no cell of the domain is known"):
        refine.predict(pd.DataFrame(), DOMAIN)
    with pytest.raises(InputError, match="'width' has no values"):
        refine.propose(cells, {"width": []}, 6)


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ({}, "no axis"),
        ([1, 2], "the domain is a list"),
        ({"width": 4}, "give a list of values"),
        ({"width": "relu"}, "give a list of values"),
        ({"width": [[1], [2]]}, "numbers or words"),
        ({"width": [2, 4, float("inf")]}, "infinite value of width"),
        ({"width": [2, 4, 4.0]}, "width 4 several times"),
        ({"phase": [1, 2]}, "the column phase, which is a result"),
        (world(), "the column train_loss, which is a result"),
        (pd.DataFrame({"width": []}), "no cells"),
        (pd.DataFrame({"width": [[1, 2], [2]]}), "numbers or words"),
        (pd.DataFrame({"width": pd.to_datetime(["2020-01-01"])}), "numbers or words"),
        (pd.DataFrame([[1, 2]], columns=["width", "width"]), "several columns width"),
        ({1: [2], "1": [3]}, "several columns 1"),
    ],
)
def test_a_domain_that_is_none_is_told(domain: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        refine.propose(pd.DataFrame(), domain, 2)  # pyright: ignore[reportArgumentType]


def test_a_setting_that_is_left_out_stays_none() -> None:
    domain = {"width": [2, 4, 8], "linear_scaling": [None, 32]}
    chosen = refine.propose(pd.DataFrame(), domain, 6)
    assert {(one["width"], one["linear_scaling"]) for one in chosen} == set(
        itertools.product(*domain.values())
    )
    known = pd.DataFrame(chosen[:5]).assign(train_loss=0.1, mode_connectivity=0.0, cka=0.5)
    assert refine.propose(known, domain, 6) == chosen[5:]


def test_names_of_axes_may_be_numbers() -> None:
    domain = {0: DOMAIN["width"], 1: DOMAIN["batch_size"]}
    cells = world().rename(columns={"width": 0, "batch_size": 1})
    named = refine.propose(world().iloc[::4], DOMAIN, 3, CUTS)
    found = refine.propose(cells.iloc[::4], domain, 3, CUTS)
    assert [list(one.values()) for one in found] == [list(one.values()) for one in named]


def test_wrong_numbers_words_and_cuts_are_told() -> None:
    cells = world().iloc[::5]
    for n in (-1, 2.5, "3", True):
        with pytest.raises(InputError, match="a whole number of cells"):
            refine.propose(pd.DataFrame(), DOMAIN, n)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="has train_loss 'low'"):
        refine.predict(cells.assign(train_loss="low"), DOMAIN)
    some = cells.assign(train_error_percent=np.where(cells["train_loss"] < 0.01, 0.1, np.nan))
    with pytest.raises(InputError, match=r"train_error_percent in \d+ of the 20 cells with a train_loss"):
        refine.predict(some, DOMAIN, CUTS)
    with pytest.raises(InputError, match="the cells are a str"):
        refine.predict("cells.csv", DOMAIN)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="cuts is a list"):
        refine.predict(cells, DOMAIN, [0.01])  # pyright: ignore[reportArgumentType]
    given = {name: np.float32(value) for name, value in CUTS.items()}
    mixed = {"train_loss": phases.find_cuts(cells, CUTS)["train_loss"], "connected": 1, "cka": 0.65}
    want = refine.predict(cells, DOMAIN, CUTS)["phase"]
    for cuts in (given, mixed):
        assert refine.predict(cells, DOMAIN, cuts)["phase"].equals(want)


def test_simulate_replays_tables_beside_random_cells_and_a_coarser_grid(tmp_path: Path) -> None:
    cells = pd.concat([world(noise=0.02).assign(label_noise=share) for share in (0.0, 0.1)])
    cells.to_csv(tmp_path / "cells.csv", index=False)
    options = ("--refine", "0.3", "--round", "8", "--by", "label_noise", "--cut", "train_loss=0.01")
    done = explore("simulate", tmp_path, *options, "--cut", "connected=1", "--cut", "cka=0.65")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:4] for line in lines[2:5]] == [["0.0", n, "of", "99"] for n in ("14", "22", "29")]
    last = dict(zip(("refined", "expected", "random", "coarser"), map(float, lines[4][4::2]), strict=True))
    assert last["refined"] > max(last["random"], last["coarser"], 90)
    assert lines[-1][0] == "mean"
    for wrong, said in ((("--by", "depth"), "no such axis"), (("--refine", "0"), "a share below 1")):
        done = explore("simulate", tmp_path, *wrong)
        assert (done.returncode, said in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (world().iloc[:1], "no axis has two values"),
        (world().drop(columns="train_loss"), "phases need columns train_loss, mode_connectivity and cka"),
    ],
)
def test_tables_that_cannot_be_replayed_are_told(tmp_path: Path, cells: pd.DataFrame, said: str) -> None:
    cells.to_csv(tmp_path / "cells.csv", index=False)
    with pytest.raises(InputError, match=said):
        replay(results.load(tmp_path), RefineOptions())
