"""``data.corruption: own``: each replicate is trained and measured on a sample and noise of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import table, work

from explorer import results
from explorer.data import digits
from explorer.data.base import prepare
from explorer.data.dataset import Arrays
from explorer.engine.worker import Worker
from explorer.landscape.connectivity import profile_path
from explorer.landscape.hessian import hessian
from explorer.landscape.paths import straight
from explorer.measures import base
from explorer.models.base import network
from explorer.plan import plan, provenance
from explorer.runs.store import Store
from explorer.settings import seed_for
from explorer.space.model import Cell
from explorer.space.reading import parse
from explorer.train.loop import Split, evaluate


@pytest.fixture
def noisy(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["data"] |= {"label_noise": 0.3, "corruption": "own"}
    tiny["load"], tiny["temperature"] = {"width": [8]}, {"batch_size": [20]}
    tiny["measures"]["ensemble"] = {}
    return tiny


@pytest.fixture(scope="module")
def clean() -> Arrays:
    return digits.load(digits.Options())


def own_data(clean: Arrays, cell: Cell, seed: int) -> Split:
    return Split.of(prepare(clean, cell.data.of_replicate(seed), "digits"))


def weights(store: Store, model_id: str) -> tuple[torch.Tensor, torch.Tensor]:
    rows = store.read_records("models", ["model_id", "stack", "weights_sha256"]).to_pylist()
    row = next(r for r in rows if r["model_id"] == model_id)
    place = [r["model_id"] for r in rows if r["stack"] == row["stack"]].index(model_id)
    kept = store.read_weights(row["stack"], row["weights_sha256"])
    return tuple(torch.tensor(kept[name][place : place + 1]) for name in ("theta", "buffers"))  # pyright: ignore[reportReturnType]


def test_models_and_pairs_are_measured_on_their_own_data(
    noisy: dict[str, Any], clean: Arrays, tmp_path: Path
) -> None:
    space = parse(noisy)
    (cell,) = space.cells
    store = work(space, clean, tmp_path)
    models = table(store, "models").set_index("seed")
    _, rows = network("mlp", cell.model, clean.shape, 10)
    curvature = table(store, "hessian").set_index("model_id")
    for seed in range(3):
        data, model = own_data(clean, cell, seed), cell.model_id(seed)
        theta, buffers = weights(store, model)
        loss, _ = evaluate(rows, theta, buffers, data.x_train, data.y_train)
        assert models["train_loss"][seed] == pytest.approx(loss.item(), rel=1e-5)
        others, _ = evaluate(rows, theta, buffers, *_inputs(own_data(clean, cell, (seed + 1) % 3)))
        assert abs(others.item() - loss.item()) > 0.02, "the others' data are other data"
        expected = hessian(
            rows, theta, data.x_train[:100], data.y_train[:100],
            seeds=[seed_for("hessian", model)], lanczos_steps=5, probes_max=4,
        )  # fmt: skip
        assert curvature["hessian_top_eigenvalue"][model] == pytest.approx(
            expected.top_eigenvalue.item(), rel=1e-4
        )
    curves = table(store, "curves")
    for first, second in ((0, 1), (0, 2), (1, 2)):
        a, b = (weights(store, cell.model_id(seed)) for seed in (first, second))
        line = profile_path(rows, straight(a[0], b[0]), a[1], own_data(clean, cell, first), points=5)
        found = curves.query("path == 'linear' and model_a == @x and model_b == @y", local_dict={
            "x": cell.model_id(first), "y": cell.model_id(second)})  # fmt: skip
        assert np.allclose(found.sort_values("t")["train_loss"], line.train_loss[0], rtol=1e-4)
    assert len(table(store, "ensemble")) == 1
    store.write_info(provenance.describe(space, "own"))
    run = results.read(store)
    assert np.array_equal(run.data(cell.model_id(2)).x_train, own_data(clean, cell, 2).x_train.numpy())


def _inputs(data: Split) -> tuple[torch.Tensor, torch.Tensor]:
    return data.x_train, data.y_train


def test_what_does_not_fit_side_by_side_is_measured_in_parts(
    noisy: dict[str, Any], clean: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy["data"] = {"name": "digits", "train_size": 200}
    space, stores = parse(noisy), []
    for numbers in (base.FLOATS_AT_ONCE, 1):
        monkeypatch.setattr(base, "FLOATS_AT_ONCE", numbers)
        stores.append(work(space, clean, tmp_path / str(numbers)))
    for kind, key in (("hessian", ["model_id"]), ("connectivity", ["model_a", "model_b"])):
        together, apart = (table(store, kind).set_index(key) for store in stores)
        numbers = together.select_dtypes("float").columns
        assert np.allclose(together[numbers], apart.loc[together.index, numbers], rtol=1e-3, equal_nan=True)
    assert [len(table(store, "curves")) for store in stores] == [3 * 2 * 5] * 2


def test_growing_by_seeds_trains_and_measures_only_what_is_new(
    noisy: dict[str, Any], clean: Arrays, tmp_path: Path
) -> None:
    space, grown = parse({**noisy, "seeds": 2}), parse(noisy)
    del grown.measures["ensemble"], space.measures["ensemble"]
    store = work(space, clean, tmp_path / "grown")
    before = {kind: table(store, kind) for kind in ("models", "hessian", "similarity", "connectivity")}
    assert [len(stack.models) for stack in plan.missing_stacks(grown, store)] == [1]
    whole = work(grown, clean, tmp_path / "whole")
    store = work(grown, clean, tmp_path / "grown")
    assert not plan.missing_stacks(grown, store)
    assert not plan.missing_tasks(grown, store)
    for kind, first in before.items():
        names = [name for name in ("model_id", "model_a", "model_b") if name in first]
        kept, at_once = (table(s, kind).set_index(names) for s in (store, whole))
        values = [name for name in at_once if first.dtypes[name].kind == "f" and name != "wall_s"]
        values = [name for name in values if name != "peak_memory_mb"]
        assert len(kept) == len(at_once)
        assert np.allclose(kept.loc[at_once.index, values], at_once[values], rtol=1e-4, equal_nan=True), kind


def seeds(raw: dict[str, Any]) -> list[list[int]]:
    return [part.seeds for stack in plan.stacks(parse(raw)) for part in stack.parts]


def test_replicates_of_shared_data_stay_in_one_stack(noisy: dict[str, Any]) -> None:
    assert sorted(seeds(noisy)) == [[0], [1], [2]]
    noisy["data"] = {"name": "digits", "corruption": "own"}
    assert seeds(noisy) == [[0, 1, 2]], "nothing is drawn"


def test_pairs_along_an_axis_have_the_data_of_their_seed(
    noisy: dict[str, Any], clean: Arrays, tmp_path: Path
) -> None:
    noisy["temperature"] = {"batch_size": [20, 40]}
    noisy["measures"] = {"connectivity": {"steps": 5, "points": 3, "pairs": {"along": "batch_size"}}}
    space = parse(noisy)
    worker = Worker(str(tmp_path), lambda _: clean, {}, threads=1, gpus=0)
    for stack in plan.stacks(space):
        worker.train(stack)
    tasks = plan.missing_tasks(space, worker.store)
    cold, hot = space.cells
    found = sorted((task.seed, task.subjects) for task in tasks)
    assert found == [(seed, [(cold.model_id(seed), hot.model_id(seed))]) for seed in range(3)]
    for task in tasks:
        worker.measure(task)
    assert len(table(worker.store, "connectivity")) == 3
