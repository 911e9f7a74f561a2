"""Estimates: counts against closed forms, what follows from them, and what `check` says."""

from __future__ import annotations

import importlib.util
import re
import socket
from typing import Any

import pytest
import ray
from conftest import ROOT, explore

import explorer.measures
from explorer.estimate import describe
from explorer.estimate.machines import GPUS, Machines
from explorer.estimate.work import Inputs, Network, trial
from explorer.plan import plan
from explorer.settings import InputError, plugin
from explorer.space import reading
from explorer.space.reading import parse


def net_of(name: str, data: Any = "digits", **options: Any) -> Network:
    raw = {"name": "x", "data": data, "model": {"name": name, **options}, "training": {"steps": 10}}
    cell = parse({**raw, "temperature": {"batch_size": [8]}}).cells[0]
    return Network(cell, Inputs.of(cell, load=False))


def rows_of(space: Any, cluster: str | None = None) -> str:
    table = describe(space, cluster)
    return " ".join(str(cell) for column in table.columns for cell in column.cells)


@pytest.mark.parametrize(("width", "depth"), [(16, 1), (64, 2)])
def test_flops_of_an_mlp_are_those_of_its_products(width: int, depth: int) -> None:
    net = net_of("mlp", width=width, depth=depth)
    # Forward, and the gradients of weights and inputs, but not of the first layer's inputs.
    assert net.flops == (0, 2 * (2 * 64 * width + 3 * (depth - 1) * width**2 + 3 * width * 10))
    assert net.floats == 65 * width + (depth - 1) * (width + 1) * width + (width + 1) * 10


def test_flops_of_resnet18_are_the_known_ones() -> None:
    net = net_of("resnet18", "cifar10", width=64)
    convolutions, products = net.flops
    first = 32 * 32 * 9 * 3 * 64
    assert products == 2 * 3 * 512 * 10
    assert (convolutions / 2 + first) / 3 / 1e9 == pytest.approx(0.556, abs=0.005)  # multiply-adds, forward
    # Each of 17 convolutions and normalisations keeps what it makes: 64 channels of 32×32 numbers and less.
    least = 4 * (5 * 65536 + 4 * (32768 + 16384 + 8192))
    assert 2 * least < net.activations < 4 * least


def test_a_users_network_may_look_at_numbers(importable: Any) -> None:
    importable(
        "needsnumbers",
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, shape, classes):\n"
        "        super().__init__()\n        self.last = nn.Linear(64, classes)\n"
        "    def forward(self, x):\n        return self.last(x.flatten(1)) * (2 if x.sum().item() > 0 else 1)\n",
    )
    assert net_of("needsnumbers:Net").flops == (0, 2 * 2 * 64 * 10)


def test_public_data_are_known_without_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("an estimate for a cluster must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    inputs = net_of("cnn", {"name": "svhn", "pool": 2, "train_size": 0.5}, width=2).inputs
    assert (inputs.x.shape, inputs.classes) == ((1, 3, 16, 16), 10)
    assert (inputs.train, inputs.test, inputs.available) == (round(73_257 / 2), 26_032, 73_257)


def test_more_work_takes_longer_and_faster_cards_less_time() -> None:
    def seconds(card: str, **changes: Any) -> float:
        space = reading.read(
            ROOT / "spaces/cifar10-resnet18-label-noise.yaml",
            [f"training.{name}={value}" for name, value in {"epochs": 10, **changes}.items()],
        )
        stack = plan.stacks(space)[0]
        cell = stack.cell
        gpu = Machines.parse(card).gpu
        return trial(stack, nets.setdefault(card, Network(cell, Inputs.of(cell, load=False)))).seconds(gpu, 1)

    nets: dict[str, Network] = {}
    times = [seconds(card) for card in ("T4", "A100-80", "H100", "H200")]
    assert times == sorted(times, reverse=True)
    assert times[0] < seconds("T4", epochs=20) < 2 * times[0]
    assert seconds("T4", optimizer="sam") == pytest.approx(2 * times[0])
    assert all(8 < gpu.float32 <= gpu.tf32 <= gpu.bf16 < 1000 < 1e4 * gpu.memory for gpu in GPUS)


def test_larger_batches_are_not_faster_here() -> None:
    net = net_of("mlp", width=256, depth=3)
    assert net.seconds(4, 256) > net.seconds(4, 2)


@pytest.mark.parametrize(
    ("text", "nodes", "devices", "name"),
    [
        ("8xH100", 1, 8, "H100"),
        ("4x8xa100-80", 4, 8, "A100-80"),
        ("T4", 1, 1, "T4"),
        ("2x16xCPU", 2, 16, None),
    ],
)
def test_clusters_are_written_as_nodes_and_devices(
    text: str, nodes: int, devices: int, name: str | None
) -> None:
    found = Machines.parse(text)
    assert (found.nodes, found.devices, found.gpu and found.gpu.name) == (nodes, devices, name)


@pytest.mark.parametrize(
    ("cluster", "overrides", "said"),
    [
        ("8xA100", {}, "known: .*A100-40.*CPU"),
        ("0xH100", {}, "write 8xH100"),
        ("8", {}, "write 8xH100"),
        ("2x2x2xH100", {}, "write 8xH100"),
        ("8xH100", {}, "asks for 0.0 GPUs.*gpus_per_trial=0.25"),
        ("8xH100", {"gpus_per_trial": "auto"}, "asks for auto GPUs.*gpus_per_trial=0.25"),
        ("16xCPU", {"gpus_per_trial": 0.5}, "asks for 0.5 GPUs.*gpus_per_trial=0$"),
        ("2xCPU", {"cpus_per_trial": 4}, "Lower resources"),
    ],
)
def test_what_does_not_go_with_a_cluster_is_told(
    tiny: dict[str, Any], cluster: str, overrides: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        describe(parse({**tiny, "resources": overrides}), cluster)


def test_the_table_says_what_a_space_takes_and_starts_nothing(tiny: dict[str, Any]) -> None:
    text = rows_of(parse(tiny))
    assert re.search(r"about \d+ (s|min) on \d workers? of this machine", text)
    for said in (
        "2 × batch_size 2 = 4 cells",
        "12 (3 seeds a cell)",
        "disk",
        "real steps of each network",
        "Nothing was started",
    ):
        assert said in text
    assert "not counted" not in text
    assert not ray.is_initialized()
    cores = rows_of(parse(tiny), "2x2xCPU")
    assert "2 cores like this machine's in each of 2 nodes, 4 trials at a time" in cores
    assert "0: a pair needs two seeds" in rows_of(parse({**tiny, "seeds": 1}), "16xCPU")


def test_every_measure_is_counted_or_said_to_be_not(tiny: dict[str, Any]) -> None:
    plural = {n for n in explorer.measures.NAMES if hasattr(plugin(explorer.measures, n, "measure"), "cost")}
    assert plural == set(explorer.measures.NAMES) - {"spectra"}
    of_images = plural - {"bleu", "perplexity"} | {"spectra"}
    tiny |= {"measures": {name: {} for name in of_images}, "resources": {"gpus_per_trial": 0.5}}
    assert "not counted: spectra" in rows_of(parse(tiny), "2xL4")
    tiny["measures"] = {"hessian": {"inputs": "all"}}
    assert "not counted" not in rows_of(parse(tiny), "2xL4")


def test_what_does_not_fit_on_a_card_is_named_with_what_to_do() -> None:
    wide = ["load.width=[64]", "temperature.batch_size=[4096]", "training.epochs=1"]
    space = reading.read(ROOT / "spaces/cifar10-resnet18-width-batch.yaml", wide)
    assert re.search(r"width 64 at batch_size 4096, does not fit", rows_of(space, "8xT4"))
    assert "does not fit" not in rows_of(space, "8xH200")


def test_spaces_tell_the_cost_that_check_tells() -> None:
    spec = importlib.util.spec_from_file_location("costs", ROOT / "spaces/costs.py")
    assert spec is not None
    assert spec.loader is not None
    costs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(costs)
    readme = (ROOT / "spaces/README.md").read_text()
    assert len(costs.FULL_SIZE) == 11
    for file in costs.FULL_SIZE:
        (row,), (head,) = costs.row_of(file.stem).findall(readme), costs.HEAD.findall(file.read_text())
        assert row[1] == head[1]
        if file.stem == "cifar10-resnet18-label-noise":  # one network: a few seconds
            assert row[1] == costs.cost(file)


def test_check_tells_what_a_cluster_takes() -> None:
    done = explore(
        "check", "spaces/cifar10-resnet18-label-noise.yaml", "--cluster", "2x8xH200", "--set", "seeds=3"
    )
    assert done.returncode == 0, done.stderr
    for said in (
        "on 8 H200 in each of 2 nodes, 64 trials",
        "of a share of 35.2 GB",
        "from node to node",
        "assumed",
    ):
        assert said in " ".join(done.stdout.split())
    wrong = explore("check", "spaces/digits.yaml", "--cluster", "8xH1000")
    assert wrong.returncode == 2
    assert "known: H100" in wrong.stderr
