"""Estimates for clusters that are not here: counts against closed forms, and what follows from them."""

from __future__ import annotations

import importlib.util
import math
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, explore

import explorer.measures
from explorer import spacefile
from explorer.engine.calibrate import best_time
from explorer.estimate import describe, here
from explorer.estimate.architecture import Architecture
from explorer.estimate.cluster import Nets, Plan, makespan, plan_for
from explorer.estimate.counting import CONVOLUTION, MATRIX, OTHER, Ops, count, on_meta
from explorer.estimate.devices import GPUS, Device, Seconds
from explorer.estimate.inputs import Inputs
from explorer.estimate.machines import Machines
from explorer.estimate.processor import cores
from explorer.estimate.work import MEASURES
from explorer.landscape.operator import HessianOperator
from explorer.models import memory
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.settings import InputError, plugin, plugins
from explorer.space import Cell, tasks_of
from explorer.spacefile import parse


def cell(name: str, data: Any = "digits", **options: Any) -> Cell:
    raw = {"name": "x", "data": data, "model": {"name": name, **options}, "training": {"steps": 10}}
    return parse({**raw, "temperature": {"batch_size": [8]}}).cells[0]


def net_of(name: str, shape: tuple[int, ...], classes: int = 10, **options: Any) -> Architecture:
    return Architecture(cell(name, **options), Inputs(shape, classes, 1000, 100, 1000))


def flops(ops: Ops, *kinds: int) -> float:
    return ops.repeats * float(ops.flops[np.isin(ops.kind, kinds)].sum())


# Counting


@pytest.mark.parametrize(("rows", "batch", "width"), [(1, 8, 16), (5, 32, 64)])
def test_flops_of_an_mlps_step_are_those_of_its_three_products_a_layer(
    rows: int, batch: int, width: int
) -> None:
    net = net_of("mlp", (1, 8, 8), width=width)
    # Forward, and the gradients of both weights, but not that of the inputs.
    expected = rows * 2 * batch * (2 * 64 * width + 3 * width * 10)
    assert flops(net.step(rows, batch), MATRIX) == expected
    assert flops(net.step(rows, batch), CONVOLUTION) == 0


def resnet18_products(width: int, classes: int) -> tuple[int, int]:
    """Multiply-adds of one 32×32 image, written out; and those of its first convolution."""
    first = 32 * 32 * 9 * 3 * width
    total, channels = first, width
    for stage in range(4):
        own, pixels = width * 2**stage, (32 // 2**stage) ** 2
        total += pixels * 9 * channels * own + 3 * pixels * 9 * own * own
        total += pixels * channels * own if own != channels else 0
        channels = own
    return total + channels * classes, first


@pytest.mark.parametrize(("width", "giga"), [(64, 0.56), (16, None)])
def test_flops_of_resnet18_are_the_known_ones(width: int, giga: float | None) -> None:
    total, first = resnet18_products(width, 10)
    if giga:
        assert total / 1e9 == pytest.approx(giga, abs=0.005)
    net = net_of("resnet18", (3, 32, 32), width=width)
    assert flops(net.evaluation(1, 500), MATRIX, CONVOLUTION) == pytest.approx(2 * 500 * total)
    # Forward and two gradients, but not that of the inputs.
    assert flops(net.step(3, 128), MATRIX, CONVOLUTION) == pytest.approx(3 * 2 * 128 * (3 * total - first))


@pytest.mark.parametrize("name", ["cnn", "resnet18", "densenet40", "vgg11", "vit"])
def test_what_follows_from_two_batches_is_what_counting_gives(name: str) -> None:
    net = net_of(name, (3, 32, 32), width=4)
    followed, counted = net.step(1, 200), net._counted_step(1, 200, "sgd")
    assert followed.kind.tolist() == counted.kind.tolist()
    np.testing.assert_allclose(followed.flops, counted.flops, rtol=1e-9)
    np.testing.assert_allclose(followed.moved, counted.moved, rtol=1e-9)
    assert followed.peak == pytest.approx(counted.peak, rel=0.05)


def test_memory_is_what_lives_at_the_same_time() -> None:
    a = on_meta(100, 100)

    def work() -> torch.Tensor:
        b = a + 1
        b = b * 2  # the sum is gone afterwards
        return b.sum()

    ops = count(work, a)
    assert ops.peak == 3 * 100 * 100 * 4
    assert ops.kind.tolist() == [OTHER] * 3
    assert ops.moved.tolist() == [80_000, 80_000, 40_004]


def test_activations_grow_with_the_batch_and_are_held_for_one_row_at_a_time() -> None:
    net = net_of("resnet18", (3, 32, 32), width=64)
    one, two = (net.step(1, batch).peak for batch in (256, 512))
    # Each of the 17 outputs of a convolution and a normalisation, of 64 channels of 32×32 numbers and less.
    least = 256 * 4 * 2 * (5 * 65536 + 4 * (32768 + 16384 + 8192))
    assert least < two - one < 1.5 * least
    assert net.step(5, 512).peak < two + 4 * 5 * 4 * net.parameters


def test_a_hessian_product_costs_about_two_gradients_and_its_chunks_are_counted() -> None:
    net = net_of("resnet18", (3, 32, 32), width=2)
    product = net.products(1, 100, 1)[1]
    gradient = flops(net.step(1, 100), MATRIX, CONVOLUTION)
    assert 1.5 < flops(product, MATRIX, CONVOLUTION) / gradient < 2.5
    assert net.products(1, 100, 7)[1].repeats == 7
    assert net.products(1, 100, 7)[0].repeats == 1, "the graph is kept"
    chunked = net.products(1, 20_000, 7)
    build, rows = network("resnet18", cell("resnet18", width=2).model, (3, 32, 32), 10)
    theta, buffers = (t.to("meta") for t in initial_rows(build, rows.to("meta"), [0]))
    x, y = on_meta(20_000, 3, 32, 32), on_meta(20_000, dtype=torch.long)
    parts = len(HessianOperator(rows, theta, x, y, buffers).parts)
    assert [ops.repeats for ops in chunked] == [7 * parts] * 2


@pytest.mark.parametrize("gib", [4, 20])
def test_what_is_counted_for_a_card_has_the_chunks_that_its_share_gives(gib: int) -> None:
    inputs, options = Inputs((3, 32, 32), 10, 20_000, 100, 20_000), cell("resnet18", width=8)
    net = Architecture(options, inputs, gib * 2**30)
    build, rows = network("resnet18", options.model, (3, 32, 32), 10)
    theta, buffers = (t.to("meta") for t in initial_rows(build, rows.to("meta"), [0]))
    x, y = on_meta(20_000, 3, 32, 32), on_meta(20_000, dtype=torch.long)
    with memory.used(gib * 2**30):
        parts = len(HessianOperator(rows, theta, x, y, buffers).parts)
        evaluations = len(rows.chunks(x))
    assert parts > 1, "or nothing is shown"
    graph, product = net.products(1, 20_000, 7)
    assert graph.repeats == product.repeats == 7 * parts
    assert net.evaluation(1, 20_000).repeats == evaluations
    assert net.statistics(1, 20_000).repeats == len(rows.chunks(x)), "as on a processor"
    assert max(graph.peak, product.peak) < gib * 2**30 / 4, "an eighth, and what is made of it"
    assert parts < Architecture(options, inputs).products(1, 20_000, 1)[0].repeats


def test_a_transformer_is_counted_with_all_its_places() -> None:
    space = spacefile.read(ROOT / "spaces/iwslt-transformer-width.yaml")
    first = space.cells[0]
    few, many = (
        Architecture(first, Inputs((2, length), 500, 100, 10, 100, target=(length,), tokens=True))
        for length in (16, 32)
    )
    ratio = flops(many.step(1, 8), MATRIX) / flops(few.step(1, 8), MATRIX)
    assert 2 <= ratio < 4, "linear in the length, but for attention"


def test_sam_takes_two_gradients() -> None:
    net = net_of("cnn", (1, 28, 28), width=4)
    plain, sam = (flops(net.step(1, 64, name), MATRIX, CONVOLUTION) for name in ("sgd", "sam"))
    assert sam == pytest.approx(2 * plain)


def test_a_network_whose_shapes_need_numbers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needsnumbers.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.last = nn.Linear(64, 10)\n"
        "    def forward(self, x):\n        return self.last(x.flatten(1)) * (2 if x.sum().item() > 0 else 1)\n"
        "def make(shape, classes):\n    return Net()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="cannot be counted"):
        Architecture(cell("needsnumbers:make"), Inputs((1, 8, 8), 10, 100, 10, 100))


# Devices


def ops_of(kind: int, flops: float, moved: float) -> Ops:
    return Ops(np.array([kind]), np.array([flops]), np.array([moved]), peak=0.0)


def test_an_operation_takes_what_limits_it() -> None:
    h100 = GPUS["h100"]
    assert h100.seconds(ops_of(MATRIX, 66.9e12, 0)).busy == pytest.approx(1 / h100.arithmetic)
    assert h100.seconds(ops_of(CONVOLUTION, 494.7e12, 0)).busy == pytest.approx(1 / h100.arithmetic)
    assert h100.seconds(ops_of(MATRIX, 989.4e12, 0), "bf16").busy == pytest.approx(1 / h100.arithmetic)
    assert h100.seconds(ops_of(OTHER, 0, 3.35e12)).busy == pytest.approx(1 / h100.transfer)
    assert h100.seconds(ops_of(OTHER, 0, 4)) == Seconds(h100.launch_s, h100.floor_s)
    # No TF32 and no bf16 there.
    assert GPUS["v100-32"].seconds(ops_of(CONVOLUTION, 15.7e12, 0), "bf16").busy == pytest.approx(1 / 0.3)


def test_trials_on_a_card_take_turns() -> None:
    h100, seconds = GPUS["h100"], Seconds(launch=2.0, busy=1.0)
    assert [h100.wall(seconds, sharing) for sharing in (1, 2, 4)] == [2.0, 2.0, 4.0]


def test_cores_are_measured_and_say_what_other_batches_take() -> None:
    net = net_of("cnn", (1, 28, 28), width=8)
    device = cores([net], 1)(net)
    rows = net.real()
    theta, buffers = (row[None] for row in rows.row())
    x, y = torch.randn(1, 96, 1, 28, 28), torch.zeros(1, 96, dtype=torch.long)
    measured = best_time(lambda: rows.loss_gradient(theta, x, y, buffers), 0.5)
    # Wide: this machine may be busy.
    assert 0.25 < device.wall(device.seconds(net.step(1, 96))) / measured < 4


# Clusters


@pytest.mark.parametrize(
    ("text", "nodes", "devices", "name"),
    [
        ("8xH100", 1, 8, "H100"),
        ("4x8xa100-80", 4, 8, "A100-80"),
        ("2xRTX4090", 1, 2, "RTX4090"),
        ("T4", 1, 1, "T4"),
        ("2x16xCPU", 2, 16, None),
    ],
)
def test_clusters_are_written_as_nodes_and_devices(
    text: str, nodes: int, devices: int, name: str | None
) -> None:
    found = Machines.parse(text)
    assert (found.nodes, found.devices, found.device.name if found.device else None) == (nodes, devices, name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8xA100", "known: .*A100-40.*CPU"),
        ("0xH100", "write 8xH100"),
        ("8", "write 8xH100"),
        ("", "write 8xH100"),
        ("2x2x2xH100", "write 8xH100"),
    ],
)
def test_a_wrong_cluster_is_told_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Machines.parse(text)


def test_time_of_a_list_of_work() -> None:
    assert makespan([3, 3, 2, 2, 2], 2) == 7  # the longest first; 6 would be possible
    assert makespan([1.0] * 12, 4) == 3
    assert makespan([5.0, 1.0], 8) == 5


@pytest.fixture(scope="module")
def nets() -> Nets:
    return Nets()


WIDE = ["load.width=[8, 128]", "temperature.batch_size=[16, 1024]"]


def planned(nets: Nets, cluster: str, *overrides: str) -> Plan:
    space = spacefile.read(ROOT / "spaces/cifar10-resnet18-width-batch.yaml", [*WIDE, *overrides])
    return plan_for(space, Machines.parse(cluster), nets)


def test_more_and_faster_cards_take_less_time(nets: Nets) -> None:
    one, two, four = (planned(nets, f"{n}xH100", "seeds=8") for n in (1, 2, 4))
    assert one.wall_s > two.wall_s > four.wall_s
    times = [planned(nets, f"8x{name}").wall_s for name in ("T4", "A100-80", "H200")]
    assert times == sorted(times, reverse=True)
    half = planned(nets, "4xH100", "training.epochs=75")
    assert half.training_s == pytest.approx(planned(nets, "4xH100").training_s / 2, rel=0.1)


def test_nodes_beyond_the_first_copy_the_data(nets: Nets) -> None:
    one, four = planned(nets, "8xH100"), planned(nets, "4x8xH100")
    assert one.data == (50_000 + 10_000) * (3 * 32 * 32 * 4 + 8)
    assert (one.traffic, four.traffic) == (0, 3 * one.data)
    assert planned(nets, "8xH100", "data.train_size=0.1").data == one.data, "the clean data are stored"
    assert four.slots == 4 * one.slots == 4 * 32
    numbers = sum(
        net.parameters + net.buffers for net in (net_of("resnet18", (3, 32, 32), width=w) for w in (8, 128))
    )
    assert one.weights == 4 * 2 * 5 * numbers
    assert one.disk > one.weights


def test_what_does_not_fit_is_named_with_what_to_do(nets: Nets) -> None:
    found = planned(nets, "8xT4")
    large = found.too_large
    assert found.share == pytest.approx(4e9)
    assert [p.cell.at["width"] for p in large] == [128] * len(large)
    assert not planned(nets, "8xH100").too_large
    text = "".join(
        _cells(describe(spacefile.read(ROOT / "spaces/cifar10-resnet18-width-batch.yaml", WIDE), "8xT4"))
    )
    assert "width 128 at batch_size 1024" in text
    assert "raise resources.gpus_per_trial to 0." in text or "whole card" in text
    assert "not measured" in text
    assert not planned(nets, "8xT4", "resources.gpus_per_trial=1", "load.width=[8]").too_large


def _cells(table: Any) -> list[str]:
    return [str(cell) for column in table.columns for cell in column.cells]


@pytest.mark.parametrize(
    ("cluster", "overrides", "said"),
    [
        ("8xH100", ["resources.gpus_per_trial=0"], "asks for no GPU"),
        ("16xCPU", [], "there is none"),
        ("2xH100", ["resources.gpus_per_trial=4"], "Lower resources"),
    ],
)
def test_a_space_that_does_not_go_with_the_cluster_is_told(
    cluster: str, overrides: list[str], said: str, nets: Nets
) -> None:
    with pytest.raises(InputError, match=said):
        planned(nets, cluster, *overrides)


def test_every_measure_is_counted_or_said_to_be_not(tiny: dict[str, Any]) -> None:
    every = {name: plugin(explorer.measures, name, "measure") for name in plugins(explorer.measures)}
    uncounted = {"spectra"}
    assert set(MEASURES) | uncounted == set(every)
    here = [name for name, module in every.items() if "classification" in tasks_of(module)]
    tiny["measures"] = {name: {} for name in here}
    tiny["resources"] = {"gpus_per_trial": 0.5}
    found = plan_for(parse(tiny), Machines.parse("2xL4"))
    assert found.unknown == ["spectra"]
    assert {task.what for task in found.tasks} == set(here) - uncounted
    text = "".join(_cells(describe(parse(tiny), "2xL4")))
    assert "not counted: spectra" in text
    longer = plan_for(
        parse({**tiny, "measures": {"connectivity": {"steps": 100_000}}}), Machines.parse("2xL4")
    )
    short = plan_for(parse({**tiny, "measures": {"connectivity": {"steps": 1000}}}), Machines.parse("2xL4"))
    assert sum(t.wall_s for t in longer.tasks) > 20 * sum(t.wall_s for t in short.tasks)


def test_one_seed_is_told_that_there_are_no_pairs(tiny: dict[str, Any]) -> None:
    assert "0: a pair needs two seeds" in " ".join(_cells(describe(parse({**tiny, "seeds": 1}), "16xCPU")))


def test_this_machine_says_what_it_does_not_count(tiny: dict[str, Any]) -> None:
    assert "not counted" not in "".join(_cells(describe(parse(tiny))))
    tiny["measures"] = {"hessian": {"inputs": "all"}, "density": {}, "spectra": {}}
    assert "not counted: density, spectra" in "".join(_cells(describe(parse(tiny))))


def test_cores_of_a_cluster_share_the_work_of_a_space(tiny: dict[str, Any]) -> None:
    found = plan_for(parse(tiny), Machines.parse("2x2xCPU"))
    assert (found.slots, found.share, found.traffic) == (4, None, found.data)
    assert len(found.trials) == 4
    assert 0 < sum(trial.wall_s for trial in found.trials) < 60


def test_inputs_of_public_data_are_known_without_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("an estimate must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    found = Inputs.of(cell("resnet18", {"name": "svhn", "pool": 2, "train_size": 0.5}))
    assert found == Inputs((3, 16, 16), 10, round(73_257 / 2), 26_032, 73_257)
    assert Inputs.of(cell("mlp")) == Inputs((1, 8, 8), 10, 1000, 797, 1000)
    assert found.one == 4 * 3 * 16 * 16 + 8


def test_spaces_tell_the_cost_that_check_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    spec = importlib.util.spec_from_file_location("costs", ROOT / "spaces/costs.py")
    assert spec is not None
    assert spec.loader is not None
    costs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(costs)
    nets, readme = Nets(), (ROOT / "spaces/README.md").read_text()
    counted = ("cifar10-resnet18-label-noise", "cifar10-resnet18-data-batch")  # one network: a few seconds
    assert len(costs.FULL_SIZE) == 11
    for file in costs.FULL_SIZE:
        (row,), (head,) = costs.row_of(file.stem).findall(readme), costs.HEAD.findall(file.read_text())
        assert row[1] == head[1]
        if file.stem in counted:
            found = plan_for(spacefile.read(file), Machines.parse(costs.CLUSTER), nets)
            assert not found.too_large
            assert float(row[1].removesuffix(" h")) == pytest.approx(found.wall_s / 3600, rel=0.05, abs=0.5)


def test_check_tells_what_a_cluster_takes() -> None:
    done = explore(
        "check", "spaces/cifar10-resnet18-label-noise.yaml", "--cluster", "2x8xH200", "--set", "seeds=3"
    )
    assert done.returncode == 0, done.stderr
    for said in (
        "on 8 H200 in each of 2 nodes, 64 trials",
        "share of 32.8 GiB",
        "from node to node",
        "assumed",
    ):
        assert said in " ".join(done.stdout.split())
    wrong = explore("check", "spaces/digits.yaml", "--cluster", "8xH1000")
    assert wrong.returncode == 2
    assert "known: H100" in wrong.stderr


def test_published_figures_are_plain() -> None:
    for device in GPUS.values():
        assert isinstance(device, Device)
        assert device.bandwidth < 1e13
        assert 8e12 <= device.float32 <= (device.tf32 or math.inf)
        assert (device.tf32 or 0) <= (device.bf16 or math.inf)


def test_a_training_is_paid_once_whatever_is_taken_on_the_way(tiny: dict[str, Any]) -> None:
    """With a fixed speed of a step: ten checkpoints take the time of one training, not of ten."""
    tiny["load"], tiny["model"]["width"], tiny["measures"] = {"label_noise": [0.2]}, 8, {}
    tiny["temperature"] = {"batch_size": [8]}
    tiny["training"]["steps"] = 50_000
    tiny["resources"] = {"cells_per_trial": 1}
    once = parse(tiny)
    tiny["temperature"]["checkpoint"] = [0.1 * k for k in range(1, 10)] + [1.0]
    with pytest.MonkeyPatch.context() as fixed:
        fixed.setattr(here, "step_time", lambda *_: 1e-4)
        one, ten = here.estimate(once).training_s, here.estimate(parse(tiny)).training_s
        assert one == pytest.approx(1.15 * 5 + here.TRIAL_S, abs=0.1)
        assert ten == pytest.approx(one, abs=0.1)
        del tiny["temperature"]["checkpoint"]
        tiny["load"]["label_noise"] = [0.0, 0.1, 0.2, 0.3]
        apart = here.estimate(parse(tiny)).training_s
        tiny["resources"] = {"cells_per_trial": 4}
        together = here.estimate(parse(tiny)).training_s
    workers = min(4, os.cpu_count() or 1)
    assert apart == pytest.approx(1.15 * 5 * 4 / workers, rel=0.1)
    assert together == pytest.approx(1.15 * 5, rel=0.1), "four cells in one trial: one worker"


def test_all_inputs_of_a_hessian_are_estimated_too(tiny: dict[str, Any]) -> None:
    tiny["measures"] = {"hessian": {"inputs": "all", "lanczos_steps": 2, "probes": 4}}
    assert here.estimate(parse(tiny)).measuring_s > 0
