"""Stacked functions give what the module gives, for every option of every architecture, in training mode."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import nn

import explorer.models
from explorer.models import base, mlp
from explorer.models.base import ModelOptions, honours, network
from explorer.models.rows import initial_rows
from explorer.settings import plugin

INPUTS: dict[str, tuple[str, tuple[int, ...], int]] = {  # task, shape of an input, classes
    "mlp": ("classification", (6,), 3),
    "cnn": ("classification", (1, 8, 8), 3),
    "pinn": ("regression", (3,), 2),
    "gpt": ("language", (7,), 9),
    "transformer": ("translation", (2, 7), 9),
}
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"width": 5},
    "cnn": {"width": 2, "norm": "none"},
    "pinn": {"width": 5, "depth": 2},
    "gpt": {"width": 12, "layers": 1},
    "transformer": {"width": 12, "layers": 1},
}
FAST = [
    name for name in explorer.models.NAMES if hasattr(plugin(explorer.models, name, ""), "stacked_forward")
]


def values(field: Any) -> list[Any]:
    """Return values of an option, its default left out."""
    found: list[Any] = []
    for kind in typing.get_args(field.annotation) or (field.annotation,):
        if kind is bool:
            found += [True, False]
        elif kind is int:
            found += [2, 3]
        elif kind is float:
            found += [0.25]
        elif not isinstance(kind, type) and typing.get_origin(kind) is not None:
            found += typing.get_args(kind)
        elif isinstance(kind, str):
            found.append(kind)
    return [value for value in found if value != field.default]


def test_every_option_has_values_to_try() -> None:
    for name in FAST:
        fields = plugin(explorer.models, name, "architecture").Options.model_fields
        assert all(values(field) for field in fields.values()), name


def cases() -> Iterator[tuple[str, str, Any]]:
    for name in FAST:
        for option, field in plugin(explorer.models, name, "architecture").Options.model_fields.items():
            for value in values(field):
                yield name, option, value


def example(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (2, 4, …) and targets of two models."""
    task, shape, classes = INPUTS[name]
    generator = torch.Generator().manual_seed(0)
    if task in ("language", "translation"):
        x = torch.randint(1, classes, (2, 4, *shape), generator=generator)
        return x, torch.randint(1, classes, (2, 4, shape[-1]), generator=generator)
    x = torch.randn(2, 4, *shape, generator=generator)
    if task == "regression":
        return x, torch.randn(2, 4, classes, generator=generator)
    return x, torch.randint(classes, (2, 4), generator=generator)


def compare(name: str, options: ModelOptions) -> None:
    """Assert that outputs, losses and gradients are those of the module, one by one."""
    task, shape, classes = INPUTS[name]
    found = {}
    for way in (None, "loop"):
        build, rows = network(name, options, shape, classes, way, task)  # type: ignore[arg-type]
        theta, buffers = initial_rows(build, rows, [1, 2])
        x, y = example(name)
        outputs = [rows(theta, x, buffers.clone(), training=training) for training in (True, False)]
        found[way] = (*rows.loss_gradient(theta, x, y, buffers), *outputs)
    for fast, plain in zip(found[None], found["loop"], strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "option", "value"), list(cases()))
def test_a_stack_learns_as_the_module_does_for_every_option(name: str, option: str, value: Any) -> None:
    module = plugin(explorer.models, name, "architecture")
    options = module.Options(**{**SMALL[name], option: value})
    assert honours(module, options) == (option in module.HONOURED)
    compare(name, options)


def test_all_architectures_with_a_fast_path_are_tried() -> None:
    assert sorted(INPUTS) == sorted(FAST)
    assert len(list(cases())) > 20


class WithDropout(mlp.Options):
    dropout: float = Field(default=0.0, ge=0, lt=1)


@pytest.fixture
def dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The perceptron with an option that only its module knows."""

    def build(options: Any, shape: tuple[int, ...], classes: int) -> nn.Module:
        plain = mlp.build(options, shape, classes)
        return nn.Sequential(*list(plain)[:-1], nn.Dropout(options.dropout), plain[-1])  # type: ignore[call-overload]

    changed = types.SimpleNamespace(**{**vars(mlp), "Options": WithDropout, "build": build})
    monkeypatch.setattr(base, "plugin", lambda *_: changed)


def test_an_option_that_the_fast_path_ignores_is_the_module_s(dropout: None) -> None:
    assert base.stacked_function("mlp", WithDropout(), "stacked_forward") is not None
    assert base.stacked_function("mlp", WithDropout(dropout=0.5), "stacked_forward") is None
    assert base.needs_timing("mlp", WithDropout(dropout=0.5), gpus=False)
    build, rows = network("mlp", WithDropout(width=64, dropout=0.5), (6,), 3)
    theta, buffers = initial_rows(build, rows, [1])
    x = torch.randn(1, 4, 6)
    first, again = (rows(theta, x, buffers, training=True) for _ in range(2))
    assert not torch.equal(first, again), "nothing is dropped"
