"""Each architecture learns: a few dozen steps on digits, as rows, against chance of 90 % error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_process import train

import explorer.models
from explorer.data import digits
from explorer.data.base import prepare
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.settings import plugin
from explorer.train.loop import Split, evaluate

# Architecture, options, learning rate, steps. VGG11 without normalisation is left out: on images of 8×8 its
# last maps are single pixels, of which a 3×3 kernel sees a ninth, and the signal fades before it learns.
CASES: list[tuple[str, dict[str, Any], float, int]] = [
    ("mlp", {"width": 32}, 0.03, 60),
    ("cnn", {"width": 8}, 0.03, 60),
    ("resnet18", {"width": 6}, 0.03, 60),
    ("resnet18", {"width": 6, "norm": "group"}, 0.01, 100),
    ("resnet18", {"width": 6, "norm": "none"}, 0.03, 60),
    ("resnet50", {"width": 4}, 0.03, 60),
    ("vgg11", {"width": 6}, 0.03, 60),
    ("vgg11", {"width": 16, "norm": "group"}, 0.01, 100),
    ("densenet40", {"width": 6}, 0.03, 25),
    ("densenet40", {"width": 6, "norm": "none"}, 0.03, 60),
    ("vit", {"width": 32, "patch": 2, "depth": 2}, 0.01, 400),
]
IDS = [f"{name}-{options.get('norm', '')}" for name, options, _, _ in CASES]


def test_no_architecture_is_forgotten() -> None:
    others = {
        name
        for name in explorer.models.NAMES
        if "classification"
        not in getattr(plugin(explorer.models, name, "architecture"), "TASKS", ["classification"])
    }
    assert {name for name, *_ in CASES} == set(explorer.models.NAMES) - others
    assert others == {"transformer", "gpt", "pinn"}


@pytest.mark.parametrize(("name", "options", "rate", "steps"), CASES, ids=IDS)
def test_an_architecture_learns_digits(name: str, options: dict[str, Any], rate: float, steps: int) -> None:
    data = Split.of(prepare(digits.load(digits.Options()), digits.Options(train_size=512), "digits"))
    settings = plugin(explorer.models, name, "architecture").Options(**options)
    build, rows = network(name, settings, (1, 8, 8), 10, "loop")
    theta, buffers = initial_rows(build, rows, [0])
    trained = train(
        rows, theta, buffers, data,
        seeds=[1], batch_size=32, steps=steps, learning_rate=rate, schedule="cosine", history_points=2,
    )  # fmt: skip
    assert trained.final[0]["status"] == "ok"
    assert trained.final[0]["train_error_percent"] < 50
    # What training reports is what the trained rows do.
    x, y = data.x_test, data.y_test
    _, error = evaluate(rows, trained.theta, trained.buffers, x, y)
    module = rows.to_module(trained.theta[0], trained.buffers[0])
    with torch.no_grad():
        plain = 100 * (module(x).argmax(1) != y).double().mean()
    assert error[0].item() == pytest.approx(plain.item(), abs=0.3)
