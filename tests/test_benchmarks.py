"""The baselines that Explorer is measured against still work, and compute the same as it does."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, TINY
from in_process import train
from torch import nn

from explorer.landscape.connectivity import curve_rate, fit_curves, profile
from explorer.landscape.hessian import hessian
from explorer.landscape.rows_of import rows_of
from explorer.landscape.similarity import linear_cka
from explorer.models.base import network
from explorer.models.cnn import Options as CnnOptions
from explorer.models.mlp import Options as MlpOptions
from explorer.models.rows import initial_rows
from explorer.settings import InputError
from explorer.space.reading import parse, read
from explorer.train.loop import Split, milestones

sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu
import print_readme
import stacked
import step_time
import usual_measure
import usual_train
import usual_way
from usual_networks import NETWORKS, CurveNet

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def data() -> Split:
    """120 digits to train on."""
    split = step_time.data_of(step_time.Case("mlp", {"width": 4}, None, 0, 0))
    return Split(split.x_train[:120], split.y_train[:120], split.x_test[:100], split.y_test[:100], 10)


def by_name(data: Split) -> dict[str, torch.Tensor]:
    return {name: getattr(data, name) for name in ("x_train", "y_train", "x_test", "y_test")}


def plain(name: str, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    module = NETWORKS[name](SHAPE, 4, 10)
    assert isinstance(module, nn.Sequential)
    return module


@pytest.mark.parametrize(
    ("name", "options"),
    [("mlp", MlpOptions(width=4)), ("cnn", CnnOptions(width=4, norm="none", activation="leaky_relu"))],
)
def test_usual_networks_are_explorers(name: str, options: Any, data: Split) -> None:
    module = plain(name, 7)
    build, rows = network(name, options, SHAPE, 10)
    theta, _ = initial_rows(build, rows, [7])
    torch.testing.assert_close(rows.row(module)[0], theta[0], rtol=0, atol=0)
    torch.testing.assert_close(module(data.x_test), rows.outputs(theta, data.x_test)[0])


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_curve_net_is_the_network_at_the_point_of_the_curve(name: str, data: Split) -> None:
    a, b, c = (plain(name, seed) for seed in range(3))
    curve = CurveNet(a, b)
    bends = [p for p in curve.parameters() if p.requires_grad]
    with torch.no_grad():
        for bend, point in zip(bends, c.parameters(), strict=True):
            bend.copy_(point)
    t, between = 0.3, plain(name, 3)
    with torch.no_grad():
        for p, own, middle, other in zip(*(m.parameters() for m in (between, a, c, b)), strict=True):
            p.copy_(0.7**2 * own + 2 * t * 0.7 * middle + t**2 * other)
    torch.testing.assert_close(curve(data.x_test, t), between(data.x_test))
    torch.testing.assert_close(curve(data.x_test, 0.0), a(data.x_test))
    torch.testing.assert_close(curve(data.x_test, 1.0), b(data.x_test))


def test_usual_training_takes_the_same_steps(data: Split) -> None:
    """With all inputs in one batch the order of the data does not matter."""
    module = plain("mlp", 0)
    network, theta, buffers = rows_of(module)
    settings: dict[str, Any] = {"batch_size": 120, "steps": 40, "learning_rate": 0.05, "momentum": 0.9}
    history = usual_train.train(module, by_name(data), **settings, points=5)
    ours = train(network, theta, buffers, data, seeds=[0], **settings, history_points=5)
    assert [row["step"] for row in history] == [row["step"] for row in ours.history]
    for theirs, own in zip(history, ours.history, strict=True):
        assert theirs["train_loss"] == pytest.approx(own["train_loss"], rel=1e-4)
        assert theirs["test_accuracy_percent"] == pytest.approx(own["test_accuracy_percent"], abs=1e-4)
    torch.testing.assert_close(network.row(module)[0], ours.theta[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 7, 2500])
def test_usual_points_and_rates_are_explorers(steps: int) -> None:
    assert sorted(usual_train.evaluated_at(steps, 20)) == milestones(steps, 20)
    assert [usual_measure.curve_rate(i, steps) for i in range(steps)] == [
        curve_rate(i, steps) for i in range(steps)
    ]


def trained_pair(data: Split) -> tuple[nn.Sequential, nn.Sequential]:
    a, b = plain("mlp", 0), plain("mlp", 1)
    for module in (a, b):
        usual_train.train(
            module, by_name(data), batch_size=20, steps=200, learning_rate=0.03, momentum=0.9, points=2
        )
    return a, b


def test_usual_curves_reach_the_same_loss(data: Split) -> None:
    a, b = trained_pair(data)
    budget: dict[str, Any] = {"steps": 300, "batch_size": 20, "learning_rate": 0.1, "momentum": 0.9}
    curve = usual_measure.fit_curve(a, b, data.x_train, data.y_train, **budget)
    rows = usual_measure.along("bezier", curve, by_name(data), 11)
    straight = usual_measure.along("linear", CurveNet(a, b), by_name(data), 11)
    network, theta, buffers = rows_of(a, b)
    control = fit_curves(
        network, theta[:1], theta[1:], buffers[:1], data.x_train, data.y_train, seeds=[0], **budget
    )
    ours = profile(network, theta[:1], control, theta[1:], buffers[:1], data).train_loss.mean().item()
    theirs, line = (sum(row["train_loss"] for row in path) / 11 for path in (rows, straight))
    assert theirs == pytest.approx(ours, rel=0.15)
    assert abs(theirs - ours) < 0.2 * (line - ours)
    middle = profile(network, theta[:1], theta.mean(0, keepdim=True), theta[1:], buffers[:1], data)
    assert [row["train_loss"] for row in straight] == pytest.approx(middle.train_loss[0].tolist(), rel=1e-4)


def test_usual_curvature_and_similarity_are_explorers(data: Split) -> None:
    a, b = trained_pair(data)
    network, theta, buffers = rows_of(a, b)
    ours = hessian(network, theta, data.x_train, data.y_train, buffers=buffers, seeds=[0, 1], probes_max=400)
    found = [usual_measure.curvature(a, data.x_train, data.y_train, seed) for seed in range(8)]
    assert found[0][0] == pytest.approx(ours.top_eigenvalue[0].item(), rel=0.05)
    assert sum(trace for _, trace, _ in found) / 8 == pytest.approx(ours.trace[0].item(), rel=0.15)
    logits = network.outputs(theta, data.x_test, buffers)
    found = usual_measure.similarity(a, b, data.x_test, data.x_test)
    assert found["cka"] == pytest.approx(linear_cka(logits.softmax(2))[0, 1].item(), abs=1e-4)
    assert found["l2_distance"] == pytest.approx((theta[0] - theta[1]).norm().item(), rel=1e-5)


def test_stacked_benchmark_compares_equals(data: Split) -> None:
    rows = stacked.measure(data, 16, runs=1, steps=20)  # raises where weights differ
    assert [row["replicates"] for row in rows] == [1, 5, 50]
    assert all(row["least"] <= row["times_faster"] <= row["greatest"] for row in rows)


def test_sample_takes_each_temperature_equally_often() -> None:
    space = read(ROOT / "benchmarks/digits.yaml")
    numbers = usual_way.sample(space, 4)
    taken = [space.cells[number].at["batch_size"] for number in numbers]
    assert sorted(taken) == sorted(2 * space.axes["batch_size"])
    assert len({space.cells[number].at["width"] for number in numbers}) == 8
    assert usual_way.sample(space, 1) == list(range(40))


@pytest.mark.parametrize(
    "file", ["benchmarks/digits.yaml", "spaces/fashion.yaml", "benchmarks/small_cnn.yaml"]
)
def test_the_spaces_of_the_bars_are_comparable(file: str) -> None:
    space = read(ROOT / file, usual_way.PLAIN)
    usual_way.comparable(space)
    assert space.name in usual_way.BARS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training": {"steps": 5, "schedule": "constant"}}, "has schedule cosine; the space has constant"),
        ({"model": {"name": "mlp", "depth": 2}}, "has depth 1; the space has 2"),
        ({"model": {"name": "cnn"}}, "has activation leaky_relu"),
        ({"model": {"name": "resnet18"}}, "not resnet18"),
        ({"load": {"label_noise": [0.0, 0.1]}}, "share their data"),
        ({"measures": {"hessian": {}}}, "compares hessian, connectivity and similarity"),
    ],
)
def test_what_the_usual_way_does_not_do_is_refused(
    tiny: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        usual_way.comparable(parse({**tiny, **change}))


def test_the_usual_way_comes_to_the_same_as_explorer(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole script but for Explorer's own run, which is the finished one."""
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(TINY))

    def as_finished(_file: str, _overrides: list[str], folder: Path, _processes: int) -> float:
        shutil.copytree(finished / "tiny", folder / "run")
        return 2.0

    monkeypatch.setattr(usual_way, "command_to_page", as_finished)
    monkeypatch.setattr(
        sys, "argv", ["usual_way.py", str(file), "--every", "2", "--out", str(tmp_path / "out.json")]
    )
    usual_way.main()
    result = json.loads((tmp_path / "out.json").read_text())
    assert (result["cells"], result["cells_of_the_usual_way"], result["models"]) == (4, 2, 12)
    spent = result["usual"][0]
    assert spent["whole_job_s"] == pytest.approx(2 * (spent["training_s"] + spent["measuring_s"]))
    assert result["ratios"] == [spent["whole_job_s"] / 2.0] == [result["times_faster"]]
    apart = {row["quantity"]: row for row in result["agreement"]}
    assert set(apart) == set(usual_way.QUANTITIES)
    assert all(row["cells"] == 2 for row in apart.values())
    assert abs(apart["test_accuracy_percent"]["difference"]) < 10
    assert apart["test_accuracy_percent"]["usual"] > 60
    for name in ("train_loss", "curve_loss", "hessian_trace", "hessian_top_eigenvalue", "l2_distance"):
        assert abs(apart[name]["difference"]) < 0.5, apart[name]
    lines = print_readme.usual(result)
    assert lines[0].endswith("scaled up from 2 of the 4 cells; 12 models, 12 pairs, 2 processes at a time")
    assert print_readme.job(result).endswith("in the usual way, 2 s here)")


@pytest.mark.parametrize(("unit_s", "most_units"), [(1e-3, 40_000), (0.2, 4), (30.0, 2)])
def test_the_benchmark_of_a_gpu_does_not_repeat_slow_work(
    unit_s: float, most_units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, done = [0.0], []

    def work(units: int) -> None:
        done.append(units)
        clock[0] += 0.01 + unit_s * units

    monkeypatch.setattr(gpu.time, "perf_counter", lambda: clock[0])
    assert gpu.seconds(work, "cpu", 1.0) == pytest.approx(unit_s, rel=0.03)
    assert sum(done) <= most_units
    assert clock[0] < 62


def test_the_benchmark_of_a_gpu_works_and_says_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--small", "--out", str(out)])
    gpu.main()
    found = json.loads(out.read_text())
    assert "unusable" in found["card"]
    assert not [name for name, section in found.items() if isinstance(section, dict) and "error" in section]
    assert set(found["placement on cpu"].values()) == {"ok"}
    assert found["bits on cpu"]["deterministic"]["same_training"]
    assert {row["network"] for row in found["steps on cpu"]} == {"mlp", "resnet18"}
    assert all(row["images_per_s"] > 0 for row in found["steps on cpu"])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(out)])
    with pytest.raises(SystemExit):
        gpu.main()
