"""What is decided about a user's network before training: whether it can be used, and how its rows run."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from explorer.engine import probe
from explorer.models import base
from explorer.models.rows import Rows
from explorer.plan.networks import check_function
from explorer.settings import InputError
from explorer.train.loop import Split
from tests.models import user_networks as networks
from tests.models.test_agreement import CLASSES, SHAPE, data


def half(shape: tuple[int, ...], classes: int) -> nn.Module:
    return networks.Plain(shape, classes).half()


def compiled_inside(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(torch.compile(networks.Plain(shape, classes)))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (half, "torch.float16.*precision: bf16"),
        (compiled_inside, "of torch.compile"),
        (networks.transposed_view, r"'0\.weight' and '2\.weight' share memory"),
        (networks.row_of_parameter, "'first.weight' and 'row' share memory"),
        (networks.sparse_embedding, "sparse gradients"),
    ],
)
def test_networks_that_cannot_be_measured_are_rejected_when_built(
    network: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "user_function", lambda _: network)
    with pytest.raises(InputError, match=said):
        base.builder("mine:network", {}, SHAPE, CLASSES)()


@pytest.mark.parametrize(("network", "way"), [("Plain", "vmap"), ("PaddedEmbedding", "loop")])
def test_vmap_is_chosen_only_with_the_gradients_of_the_module(
    network: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "user_function", lambda _: getattr(networks, network))
    monkeypatch.setattr(probe, "step_time", lambda rows, *_: 1.0 if rows.execution == "loop" else 0.1)
    split = Split(*data(), *data(), CLASSES)
    worker: Any = SimpleNamespace(
        device=torch.device("cpu"), split=lambda _: split, kernels=lambda _: nullcontext()
    )
    cell: Any = SimpleNamespace(model_name="mine:network", model={}, task="classification")
    assert probe.fastest(worker, cell, 16, 3) == way


def test_a_network_is_checked_beside_measures_of_the_users_own() -> None:
    x, y = data()

    def build() -> nn.Module:
        return networks.Plain(SHAPE, CLASSES)

    cell: Any = SimpleNamespace(model_name="mine:network", model={})
    check_function(build, Rows(build(), build=build), cell, x, y, {"mine:measure": {}, "connectivity": {}})
