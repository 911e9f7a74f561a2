"""Stacks: which models are trained side by side, and that it makes no difference to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import in_process
import numpy as np
import pandas as pd
import pytest
import torch
from in_process import table, work

import explorer
import explorer.models
from explorer.data import digits
from explorer.data.base import prepare
from explorer.data.dataset import Arrays
from explorer.engine.probe import peak_bytes
from explorer.engine.worker import Worker
from explorer.models.base import network
from explorer.plan import plan
from explorer.plan.stacks import MODELS_PER_STACK, NO_SIZES, PARAMETERS_PER_STACK, Sizes, parts, sizes
from explorer.plan.units import Stack, architecture_key
from explorer.runs.store import Store
from explorer.settings import InputError, plugin
from explorer.space.model import Cell, CheckedSpace
from explorer.space.reading import parse
from explorer.train.optimisers import NAMES
from explorer.train.optimisers.base import PerRowOptimiser, optimiser

SHAPE = ((64,), 10)


@pytest.fixture(scope="module")
def clean() -> Arrays:
    return digits.load(digits.Options())


@pytest.fixture
def merged(tiny: dict[str, Any]) -> dict[str, Any]:
    """Six cells of one shape at each of two batch sizes."""
    tiny["load"] = {"label_noise": [0.0, 0.2, 0.4], "weight_decay": [0.0, 0.01]}
    tiny["model"]["width"] = 4
    return tiny


def chosen(space: CheckedSpace, known: Sizes = NO_SIZES) -> Sizes:
    return sizes(space, lambda cell: SHAPE, known)


def stacks(raw: dict[str, Any]) -> list[Stack]:
    space = parse(raw)
    return plan.stacks(space, sizes=chosen(space))


def same(a: Store, b: Store, space: CheckedSpace) -> None:
    """Equal to the last bit in every column that is not a time, a place or a memory."""
    for kind in ("models", "epochs", *space.measures):
        one, other = (
            table(s, kind).drop(
                columns=["wall_s", "peak_memory_mb", "stack", "weights_sha256", "weights_bytes"],
                errors="ignore",
            )
            for s in (a, b)
        )
        keys = [k for k in ("model_id", "model_a", "model_b", "step") if k in one]
        one, other = (t.sort_values(keys).reset_index(drop=True) for t in (one, other))
        assert len(one) > 0
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_cells_of_one_shape_share_a_stack(merged: dict[str, Any]) -> None:
    found = stacks(merged)
    assert [len(s.parts) for s in found] == [6, 6]
    assert sorted(
        {cell.training.batch_size for cell in s.cells} == {b} for s, b in zip(found, (50, 8), strict=True)
    ) == [
        1,
        1,
    ]
    assert [len(s.rows) for s in found] == [18, 18]
    assert found[0].at == {"label_noise": "0.0…0.4", "weight_decay": "0.0…0.01", "batch_size": 50}
    decays = [part.cells[0].training.weight_decay for part in found[0].parts]
    assert decays == sorted(decays), "what has the same settings lies side by side"


def test_every_model_is_in_one_stack(merged: dict[str, Any]) -> None:
    for resources in ({}, {"cells_per_trial": 4}, {"replicates_per_trial": 2}, {"cells_per_trial": 1}):
        space = parse(merged | {"resources": resources})
        ids = [name for s in plan.stacks(space, sizes=chosen(space)) for name in s.model_ids]
        assert len(ids) == len(set(ids)) == 36
        assert set(ids) == {cell.model_id(seed) for cell in space.cells for seed in range(3)}


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("training", {"early_stop": {"change": 0.1}}),
        ("training", {"stop_at_loss": 0.1}),
        ("data", {"corruption": "own", "pixel_noise": 0.1}),
        ("resources", {"cells_per_trial": 1}),
        ("resources", {"replicates_per_trial": 3}),
    ],
)
def test_cells_that_stay_alone(merged: dict[str, Any], section: str, changes: dict[str, Any]) -> None:
    merged[section] = merged.get(section, {}) | changes
    assert {len(s.parts) for s in stacks(merged)} == {1}


@pytest.mark.parametrize(
    "axis", [{"steps": [50, 60]}, {"train_size": [100, 200]}, {"pixel_noise": [0, 0.1]}, {"depth": [1, 2]},
             {"optimizer": ["sgd", "sam"]}, {"corruption_seed": [0, 1]}],
)  # fmt: skip
def test_what_is_not_of_one_shape_is_apart(merged: dict[str, Any], axis: dict[str, Any]) -> None:
    if "steps" in axis:
        del merged["training"]["steps"]
    merged["load"], merged["temperature"] = axis, {"learning_rate": [0.01, 0.1]}
    (name, values) = next(iter(axis.items()))
    for stack in stacks(merged):
        assert len({cell.at[name] for cell in stack.cells}) == 1
        assert len(stack.parts) == 2
    assert len(stacks(merged)) == len(values)


def test_targets_that_are_standardised_with_their_noise_are_apart(
    merged: dict[str, Any], tmp_path: Path
) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 60, 2)).astype("float32")
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    merged["data"] = {"name": "arrays", "path": str(tmp_path / "own.npz")}
    merged["task"] = "regression"
    merged["temperature"] = {"learning_rate": [0.01, 0.1]}
    assert [len(s.parts) for s in stacks(merged)] == [4, 4, 4]
    assert all(len({cell.at["label_noise"] for cell in s.cells}) == 1 for s in stacks(merged))


def test_large_models_are_not_side_by_side(tiny: dict[str, Any]) -> None:
    tiny["load"], tiny["seeds"] = {"width": [4, 2**9, 2**13]}, 5
    space = parse(tiny)
    found = chosen(space)
    by_width = [found[architecture_key(cell)] for cell in space.cells[::2]]
    assert by_width == [MODELS_PER_STACK, PARAMETERS_PER_STACK // (65 * 2**9 + 10 * (2**9 + 1)), 1]
    assert sorted(len(s.rows) for s in plan.stacks(space, sizes=found)) == [1] * 10 + [5] * 4
    tiny["resources"] = {"replicates_per_trial": "all"}
    assert {len(s.rows) for s in plan.stacks(parse(tiny), sizes=found)} == {5}


def test_the_sizes_of_a_run_stay(merged: dict[str, Any]) -> None:
    space = parse(merged)
    (key,) = chosen(space)
    assert chosen(space, known={key: 3}) == {key: 3}
    merged["load"]["width"] = [4, 8]
    assert sorted(chosen(parse(merged), known={key: 3}).values()) == [3, MODELS_PER_STACK]


@pytest.mark.parametrize(
    "resources", [{"cells_per_trial": 0}, {"replicates_per_trial": 0}, {"cells_per_trial": "all"}]
)
def test_a_number_that_is_none_is_refused(tiny: dict[str, Any], resources: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(resources))):
        parse(tiny | {"resources": resources})


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options"),
    [
        ("mlp", (3, 5, 5), 4, {"width": 1, "depth": 1}),
        ("mlp", (64,), 10, {"width": 7, "depth": 3}),
        ("pinn", (3,), 2, {"width": 5, "depth": 1}),
        ("pinn", (3,), 2, {"width": 6, "depth": 3, "periodic": False}),
    ],
)
def test_parameters_by_arithmetic_are_those_of_the_network(
    name: str, shape: tuple[int, ...], classes: int, options: dict[str, Any]
) -> None:
    module = plugin(explorer.models, name, "architecture")
    checked = module.Options.model_validate(options)
    assert module.parameters(checked, shape, classes) == network(name, checked, shape, classes)[1].parameters


@pytest.mark.parametrize(
    "training",
    [
        {"momentum": 0.5, "schedule": "one_cycle", "warmup": 0.1},
        {"optimizer": "adamw", "learning_rate": 0.005},
        {"optimizer": "sam"},
        {"keep": "best"},
    ],
)
def test_models_are_the_same_alone_and_side_by_side(
    merged: dict[str, Any], clean: Arrays, tmp_path: Path, training: dict[str, Any]
) -> None:
    merged["training"] |= training
    merged["load"]["learning_rate"] = [0.004, 0.01]
    merged["load"]["label_noise"] = [0.0, 0.3]
    merged["temperature"] = {"checkpoint": [0.3, 1.0]}
    del merged["measures"]["connectivity"]
    space = parse(merged)
    together = work(space, clean, tmp_path / "together", chosen(space))
    apart = work(space, clean, tmp_path / "apart")
    assert table(together, "models")["stack"].nunique() == 1
    assert table(apart, "models")["stack"].nunique() == 8
    same(together, apart, space)


def test_each_row_learns_its_own_targets(merged: dict[str, Any], clean: Arrays, tmp_path: Path) -> None:
    space = parse(merged)
    worker = Worker(str(tmp_path), lambda _: clean, {}, threads=1, gpus=0)
    stack = plan.stacks(space, sizes=chosen(space))[0]
    targets = worker._targets(stack)
    assert targets is not None
    for (part, _), own in zip(stack.rows, targets, strict=True):
        wanted = prepare(clean, part.cells[-1].data, "digits")
        assert np.array_equal(own, wanted.y_train)
        assert torch.equal(worker.split(part.cells[-1]).x_train, worker.split(stack.cell).x_train)


def test_several_optimisers_are_each_of_them_on_its_rows() -> None:
    for name in NAMES:
        generator = torch.Generator().manual_seed(1)
        start, centre = (torch.randn(4, 6, generator=generator) for _ in range(2))
        rules = [optimiser(name, 0.5, 0.1, 0.2), optimiser(name, 0.9, 0.0, 0.7)]
        rows = [slice(0, 1), slice(1, 4)]
        together = start.clone()

        def gradient(
            at: torch.Tensor, own: slice = slice(None), centre: torch.Tensor = centre
        ) -> torch.Tensor:
            return (at - centre[own]) ** 3

        several = PerRowOptimiser(list(zip(rows, rules, strict=True)))
        memory = several.start(together)
        for step in range(5):
            several.step(together, gradient, memory, [0.1, 0.02], step)
        for rule, own, rate in zip(rules, rows, (0.1, 0.02), strict=True):
            alone = start[own].clone()
            memory = rule.start(alone)
            for step in range(5):
                rule.step(alone, lambda at, own=own, g=gradient: g(at, own), memory, rate, step)
            assert torch.equal(alone, together[own]), name


def test_a_grown_axis_trains_only_what_is_new(merged: dict[str, Any], clean: Arrays, tmp_path: Path) -> None:
    del merged["measures"]["connectivity"]
    whole = parse(merged)
    small = parse(merged | {"load": {**merged["load"], "label_noise": [0.0, 0.4]}})
    first = chosen(small)
    store = work(small, clean, tmp_path / "grown", first)
    missing = plan.missing_stacks(whole, store, chosen(whole, known=first))
    assert {cell.at["label_noise"] for s in missing for cell in s.cells} == {0.2}
    assert sum(len(s.models) for s in missing) == 12
    work(whole, clean, tmp_path / "grown", chosen(whole, known=first))
    same(store, work(whole, clean, tmp_path / "at_once", chosen(whole)), whole)


def test_memory_is_measured_beside_the_neighbours(
    merged: dict[str, Any], clean: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged["resources"] = {"cells_per_trial": 6}
    space, trained = parse(merged), []
    train = Worker.train

    def noted(self: Worker, stack: Stack) -> list[dict[str, Any]]:
        trained.append(len(stack.rows))
        return train(self, stack)

    monkeypatch.setattr(Worker, "train", noted)
    found = peak_bytes(Worker(str(tmp_path), lambda _: clean, {}, threads=1, gpus=0), space.cells[0], space)
    assert trained == [18]
    assert found


@pytest.mark.slow
def test_a_run_side_by_side_has_the_tables_of_one_apart(merged: dict[str, Any], tmp_path: Path) -> None:
    del merged["load"]["weight_decay"]
    beside = explorer.run(merged, storage=str(tmp_path / "beside"), workers=1)
    merged["resources"] = {"cells_per_trial": 1}
    apart = in_process.run(merged, tmp_path / "apart")
    assert (beside.models["stack"].nunique(), apart.models["stack"].nunique()) == (2, 6)
    assert beside.info["stacks"] == {architecture_key(_first(merged)): MODELS_PER_STACK}
    for name in ("models", "epochs", "pairs", "curves", "cells"):
        one, other = (
            getattr(run, name).drop(
                columns=["wall_s", "peak_memory_mb", "stack", "weights_sha256", "weights_bytes"],
                errors="ignore",
            )
            for run in (beside, apart)
        )
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    for model_id, wanted in beside.models.set_index("model_id")["test_accuracy_percent"].items():
        data = beside.data(str(model_id))
        with torch.no_grad():
            here, there = (run.model(str(model_id))(torch.tensor(data.x_test)) for run in (beside, apart))
        assert torch.equal(here, there)
        assert 100 * (here.argmax(1).numpy() == data.y_test).mean() == pytest.approx(wanted)


def _first(raw: dict[str, Any]) -> Cell:
    return parse(raw).cells[0]


def test_stacks_of_the_space_alone(tiny: dict[str, Any]) -> None:
    def seeds(**resources: Any) -> list[list[int]]:
        space = parse({**tiny, "seeds": 5, "load": {"width": [8]}, "temperature": {"batch_size": [8]},
                       "resources": resources})  # fmt: skip
        return [part.seeds for stack in parts(space) for part in stack]

    assert seeds() == seeds(replicates_per_trial="all") == [[0, 1, 2, 3, 4]]
    assert seeds(replicates_per_trial=2) == [[0, 1], [2, 3], [4]]


def test_a_cell_of_an_axis_of_steps_keeps_its_place_wherever_its_models_stop(
    tiny: dict[str, Any], clean: Arrays, tmp_path: Path
) -> None:
    tiny |= {"load": {"steps": [100, 400]}, "temperature": {"checkpoint": [0.5, 1.0]}, "measures": {}}
    tiny["training"] = {"learning_rate": 0.1, "stop_at_loss": 0.2, "batch_size": 10}
    space = parse(tiny)
    store = work(space, clean, tmp_path)
    models, epochs = table(store, "models"), table(store, "epochs")
    assert (
        models["steps"] == models["cell_id"].map({cell.id: cell.at["steps"] for cell in space.cells})
    ).all()
    trained = models["model_id"].map(epochs.groupby("model_id")["step"].max())
    assert (trained < models["steps"] * models["checkpoint"]).any()  # some have stopped early
