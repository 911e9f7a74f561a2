"""Measures as part of a run: every one of them, on a real run, beside what the numerics say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import in_process
import numpy as np
import pytest
from conftest import explore
from in_process import work

import explorer
import explorer.measures
from explorer.data import digits
from explorer.engine.run import measure
from explorer.landscape import connectivity, ensemble, rows_of
from explorer.landscape.paths import straight
from explorer.measures import connectivity as connectivity_measure
from explorer.measures import spectra, tables
from explorer.measures.base import Measured
from explorer.plan.subjects import CellMembers, groups
from explorer.runs.store import Store
from explorer.settings import InputError, plugin
from explorer.space.reading import parse
from explorer.train.loop import Split

LATER = ["sharpness", "noise", "density", "spectra", "ensemble", "alignment"]


@pytest.fixture(scope="module")
def more(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The finished run with every other measure added, two taken again and one changed, by the command line."""
    storage = tmp_path_factory.mktemp("more") / "runs"
    shutil.copytree(finished, storage)
    added = [argument for name in LATER for argument in ("--add", name)]
    again = ["--again", "hessian", "--set", "measures.connectivity.steps=20"]
    where = ["--storage", storage, "--reports", storage.parent / "reports", "--workers", "1"]
    done = explore("measure", "tiny", *added, *again, *where)
    assert done.returncode == 0, done.stdout + done.stderr
    return explorer.load("tiny", str(storage))


def test_every_measure_of_classifiers_is_tried_here() -> None:
    tried = {*LATER, "hessian", "connectivity", "similarity"}
    for name in explorer.measures.NAMES:
        allowed = getattr(plugin(explorer.measures, name, "measure"), "TASKS", ["classification"])
        assert ("classification" in allowed) == (name in tried), name


@pytest.mark.slow
def test_added_and_changed_measures_do_just_what_is_missing(more: Any, finished: Path) -> None:
    session = more.info["sessions"][-1]
    assert session["trained"] == 0
    assert session["measured"] == (4 * 12 + 4 + 12) + 12 + 12
    assert set(more.pairs["curve_steps"]) == {20}
    assert more.pairs["cka"].notna().all()
    before = explorer.load("tiny", str(finished)).models
    assert more.models["hessian_trace"].equals(before["hessian_trace"])
    assert more.curves["path"].value_counts().to_dict()["bezier"] == 12 * 5
    with pytest.raises(InputError, match="only measures"):
        measure("tiny", overrides=["training.steps=20"], storage=str(finished))
    for name in LATER:
        module = plugin(explorer.measures, name, "measure")
        table = {"model": more.models, "pair": more.pairs, "cell": more.cells}[module.KIND]
        for column in module.COLUMNS:
            assert column in table
            # Layers this small have no tail; an infinite noise scale has no error.
            if not column.startswith(("spectral_alpha", "noise_scale_stderr")):
                assert table[column].notna().all(), column
    assert set(more.curves["path"]) == {"bezier", "linear", "aligned"}
    assert (more.pairs["aligned_l2_distance"] <= more.pairs["l2_distance"] + 1e-6).all()
    np.testing.assert_allclose([w.sum() for w in more.models["density_weights"]], 1)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["spectral_alpha"], "spectra declares the column 'spectral_alpha_weighted' but did not return it"),
        ([*spectra.COLUMNS, "more"], "spectra returned the column 'more' without declaring it"),
    ],
)
def test_a_measure_returns_the_columns_that_it_declares(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: list[str], message: str
) -> None:
    def measure(cell: Any, subjects: list[str], options: Any) -> Measured:
        return Measured.of(subjects, {name: [1.0] * len(subjects) for name in columns})

    monkeypatch.setattr(spectra, "measure", measure)
    tiny |= {"load": {"width": [2]}, "temperature": {"batch_size": [50]}, "measures": {"spectra": {}}}
    space = parse(tiny)
    with pytest.raises(ValueError, match=message):
        work(space, digits.load(space.cells[0].data), tmp_path)


def test_no_two_columns_claim_the_same_map_position(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = [tables.EVERY[name].map for name in tables.columns_with_maps()]
    assert positions == sorted(set(positions))
    twice = tables.EVERY["cka"]._replace(map=tables.EVERY["hessian_trace"].map)
    monkeypatch.setitem(tables.EVERY, "cka", twice)
    with pytest.raises(ValueError, match="'cka' and 'hessian_trace' both have the map position 51"):
        tables.columns_with_maps.__wrapped__()


def split_of(run: Any, model_id: str) -> Split:
    return Split.of(run.data(model_id))


def test_a_run_says_what_the_numerics_say_of_its_modules(more: Any) -> None:
    pair = more.pairs.iloc[-1]
    ids = [pair["model_a"], pair["model_b"]]
    data = split_of(more, ids[0])
    network, theta, buffers = rows_of(*(more.model(i) for i in ids))
    line = connectivity.profile_path(network, straight(theta[:1], theta[1:]), buffers[:1], data, points=5)
    assert pair["linear_barrier"] == pytest.approx(
        connectivity.barrier(line.train_error_percent).item(), abs=1e-6
    )
    first, second = network.outputs(theta, data.x_test, buffers).argmax(2)
    assert pair["disagreement_percent"] == pytest.approx(100 * (first != second).double().mean().item())
    assert pair["l2_distance"] == pytest.approx((theta[0] - theta[1]).norm().item(), rel=1e-5)

    cell = more.cells[more.cells["cell_id"] == pair["cell_id"]].iloc[0]
    members = more.models[more.models["cell_id"] == pair["cell_id"]]["model_id"]
    network, theta, buffers = rows_of(*(more.model(i) for i in members))
    vote = ensemble.ensemble_of(network, theta, buffers, data.x_test, data.y_test)
    assert cell["ensemble_accuracy_percent"] == pytest.approx(vote.vote_accuracy_percent)
    assert cell["ensemble_models"] == 3


def test_options_of_the_measures_are_used(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["load"], tiny["temperature"], tiny["seeds"] = {"width": [4]}, {"batch_size": [8]}, 3
    tiny["measures"] = {
        "hessian": {"inputs": "all", "top": 3, "smallest": True},
        "connectivity": {
            "pairs": 2,
            "path": "chain",
            "bends": 2,
            "start": "random",
            "steps": 50,
            "points": 5,
        },
        "similarity": {"inputs": 64, "layers": ["1"]},
    }
    run = in_process.run(tiny, tmp_path / "run")
    assert [len(values) for values in run.models["hessian_eigenvalues"]] == [3, 3, 3]
    top = [values[0] for values in run.models["hessian_eigenvalues"]]
    np.testing.assert_allclose(top, run.models["hessian_top_eigenvalue"])
    assert (run.models["hessian_bottom_eigenvalue"] < run.models["hessian_top_eigenvalue"]).all()
    assert run.pairs["mode_connectivity"].notna().sum() == 2
    assert run.pairs["cka_at_1"].between(0, 1).all()
    assert set(run.curves["path"]) == {"chain", "linear"}


def test_pairs_beyond_the_cell(tiny: dict[str, Any], own_copy: Path) -> None:
    store = Store(own_copy / "tiny")
    for pairs, number in (({"along": "batch_size"}, 6), ({"count": 7}, 7)):
        tiny["measures"]["connectivity"]["pairs"] = pairs
        for kind in ("connectivity", "curves"):
            store.drop_records(kind)
        run = in_process.run(tiny, own_copy / "tiny")
        measured = run.pairs[run.pairs["mode_connectivity"].notna()]
        assert len(measured) == number
        models = run.models.set_index("model_id")
        a, b = models.loc[measured["model_a"]], models.loc[measured["model_b"]]
        assert (a["width"].to_numpy() == b["width"].to_numpy()).all()
        if "along" in pairs:
            assert (a["seed"].to_numpy() == b["seed"].to_numpy()).all()
            assert (a["batch_size"].to_numpy() != b["batch_size"].to_numpy()).all()
            assert (measured["cell_id"] != measured["cell_id_b"]).all()
            assert "mode_connectivity" not in run.cells or run.cells["mode_connectivity"].isna().all()


def test_neighbours_along_an_axis_are_so_by_size_in_whatever_order_it_was_grown(tiny: dict[str, Any]) -> None:
    tiny["temperature"]["batch_size"] = [8, 50, 20]
    tiny["measures"]["connectivity"]["pairs"] = {"along": "batch_size"}
    space = parse(tiny)
    cells = {c.id: CellMembers([c.model_id(seed) for seed in range(3)], []) for c in space.cells}
    size = {model: c.at["batch_size"] for c in space.cells for model in cells[c.id].model_ids}
    options = connectivity_measure.Options.model_validate(space.measures["connectivity"])
    pairs = [pair for group in groups("pair", space, cells, options) for pair in group.subjects]
    assert {(size[a], size[b]) for a, b in pairs} == {(8, 20), (20, 50)}


def test_pairs_along_what_is_no_training_axis_are_refused(tiny: dict[str, Any]) -> None:
    tiny["measures"]["connectivity"]["pairs"] = {"along": "width"}
    with pytest.raises(InputError, match=r"it should be an axis of the training.*: batch_size"):
        parse(tiny)
    tiny["measures"]["connectivity"]["pairs"] = {"within": "cell"}
    assert parse(tiny).measures["connectivity"]["pairs"] == {"within": "cell"}


def test_a_measure_that_fails_is_told_and_the_rest_is_kept(own_copy: Path) -> None:
    store = Store(own_copy / "tiny")
    pairs = explorer.load("tiny", str(own_copy)).pairs[["model_a", "model_b"]].to_dict("records")
    store.drop_records("similarity")
    lost = [{"kind": "pairs", **pair, "error": "similarity: no", "traceback": ""} for pair in pairs]
    store.write_record("failures", "lost", lost)
    run = explorer.load("tiny", str(own_copy))
    assert set(run.pairs["error"]) == {"similarity: no"}
    assert run.pairs["cka"].isna().all()
    assert (run.cells["n_pairs"] == 3).all()
    assert run.cells["mode_connectivity"].notna().all(), "what is measured counts"
    shown = explore("report", "tiny", "--storage", own_copy, "--reports", own_copy.parent / "reports")
    assert shown.returncode == 3, shown.stdout + shown.stderr
    assert "Finished with 12 failures:" in shown.stderr
    assert "seeds 0 and 1 and 11 more: similarity: no" in shown.stderr
    store.drop_records("connectivity")
    assert set(explorer.load("tiny", str(own_copy)).pairs["status"]) == {"failed"}


def test_a_layer_that_is_not_there_costs_nothing(own_copy: Path) -> None:
    before = explorer.load("tiny", str(own_copy)).pairs["cka"]
    with pytest.raises(InputError, match="mlp has no layer 'nowhere'; it has 0, 1, 2, 3"):
        measure("tiny", overrides=["measures.similarity.layers=[nowhere]"], storage=str(own_copy))
    after = explorer.load("tiny", str(own_copy))
    assert after.pairs["cka"].equals(before)
    assert after.info["space"]["measures"]["similarity"]["layers"] == []
