"""A user's own architecture, data set, loss and optimiser, by module:function."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import explore

import explorer
from explorer.engine import choose
from explorer.estimate import describe
from explorer.settings import InputError
from explorer.space.reading import parse

SOURCE = '''
import numpy as np
import torch
from torch import nn
from torch.nn import functional


def data(inputs=80, shift=0.0):
    x = np.random.default_rng(0).normal(size=(inputs + 40, 6)) + shift
    y = (x[:, 0] > shift).astype(int)
    return {"x_train": x[:inputs], "y_train": y[:inputs], "x_test": x[inputs:], "y_test": y[inputs:]}


def net(shape, classes, width=4):
    return nn.Sequential(nn.Linear(shape[0], width), nn.Tanh(), nn.Linear(width, classes))


def smoothed(logits, y):
    losses = functional.cross_entropy(logits.transpose(1, 2), y, label_smoothing=0.3, reduction="none")
    return losses.mean(1)


class Sign:
    """Steps along the sign of the gradient."""

    def __init__(self, momentum, weight_decay):
        self.momentum = momentum

    def start(self, theta):
        return {"velocity": torch.zeros_like(theta)}

    def step(self, theta, gradient, state, rate, step):
        state["velocity"].mul_(self.momentum).add_(gradient(theta).sign())
        theta.add_(state["velocity"], alpha=-rate)


def wrong():
    return [1, 2]


def infinite():
    found = data()
    found["x_test"][3, 2] = np.inf
    return found


def broken():
    raise OSError("no such disk")
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "ownthings.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("ownthings", None)


def space(**training: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "data": {"name": "ownthings:data", "inputs": 60, "shift": 0.0, "label_noise": 0.1},
        "model": {"name": "ownthings:net"},  # a width can be swept without one
        "load": {"width": [3, 5]},
        "temperature": {"shift": [0.0, 1.0]},
        "seeds": 2,
        "training": {"steps": 60, "batch_size": 20, "learning_rate": 0.02, **training},
        "measures": {"similarity": {"inputs": 20}},
    }


@pytest.mark.slow
def test_everything_of_the_users_own_in_one_run(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on although the worker dies that tries ways to run it."""

    def dies(*_: Any) -> None:
        os.kill(os.getpid(), 9)

    monkeypatch.setattr(choose, "time_steps", dies)
    (mine / "space.yaml").write_text(str(space(loss="ownthings:smoothed", optimizer="ownthings:Sign")))
    done = explore("run", "space.yaml", cwd=mine)
    assert done.returncode == 0, done.stdout + done.stderr
    run = explorer.load(mine / "runs/own")
    assert set(run.models["status"]) == {"ok"}
    assert set(run.models["shift"]) == {0.0, 1.0}
    assert (run.models["train_error_percent"] < 40).all()
    assert run.pairs["cka"].notna().all()
    assert set(run.info["execution"].values()) == {"loop"}
    said = "could not be measured; they run one by one: the worker process died"
    assert f"The fastest way to run models together {said}" in done.stdout.replace("\n", " ")
    with monkeypatch.context() as patch:
        patch.setattr("explorer.space.model.USER_NETWORKS", 1000)
        with pytest.raises(InputError, match=r"trained by a version of Explorer.*`resume own`"):
            run.model(run.models["model_id"][0])
    (mine / "ownthings.py").write_text(SOURCE.replace("label_smoothing=0.3", "label_smoothing=0.2"))
    changed = explore("resume", "own", cwd=mine)
    assert changed.returncode == 2
    assert "ownthings.py differs from the copy that the run was trained with" in changed.stderr


def test_each_of_them_is_used_and_is_part_of_the_identity(mine: Path) -> None:
    ids = {
        parse(space(**training)).cells[0].id
        for training in ({}, {"loss": "ownthings:smoothed"}, {"optimizer": "ownthings:Sign"})
    }
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"name": "ownthings:nothing"}}, "has no function 'nothing'"),
        ({"data": {"name": "ownthings:wrong"}}, "should return a dict"),
        (
            {"data": {"name": "ownthings:infinite"}},
            "ownthings:infinite: x_test\\[3, 2\\] is inf",
        ),
        ({"data": {"name": "ownthings:broken"}}, "no such disk"),
        ({"data": {"name": "nowhere:data"}}, "No module named 'nowhere'"),
        (
            {"task": "regression", "data": {"name": "ownthings:data", "noise_kind": "uniform"}},
            "noise_kind is for class labels",
        ),
        (
            {"data": {"name": "ownthings:data", "seed": 1}, "load": {"seed": [1, 2]}},
            "axis 'seed' has the same name",
        ),
        ({"training": {"steps": 5, "loss": "ownthings:none"}}, "has no function 'none'"),
        ({"training": {"steps": 5, "optimizer": "adam"}}, "not allowed"),
    ],
)
def test_what_is_wrong_with_them_is_told(mine: Path, change: dict[str, Any], said: str) -> None:
    raw = {**space(), "temperature": {"batch_size": [20]}, **change}
    with pytest.raises(InputError, match=said):
        parse(raw)


NETWORKS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, shape, classes, width=4):
        super().__init__()
        self.first, self.last = nn.Linear(shape[0], width), nn.Linear(width, classes)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Two(Net):
    def forward(self, x):
        return super().forward(x), x


class Answers(Net):
    def forward(self, x):
        return super().forward(x).argmax(1)


class Images(Net):
    def forward(self, x):
        return super().forward(x.mean((2, 3)))


class More(Net):
    def __init__(self, shape, classes, width=4):
        super().__init__(shape, 10, width)


class Lazy(Net):
    def __init__(self, shape, classes, width=4):
        super().__init__(shape, classes, width)
        self.first = nn.LazyLinear(width)
"""


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (
            "Two",
            r"'nets:Two' with \{'width': 3\} returns tuple for two inputs \(2, 6\); it should return \(2, 2\)",
        ),
        ("Answers", r"returns \(2,\) for two inputs"),
        ("More", r"returns \(2, 10\) for two inputs \(2, 6\); it should return \(2, 2\)"),
        ("Images", r"fails on two inputs \(2, 6\): IndexError"),
        ("Lazy", "a network with a lazy layer"),
    ],
)
def test_a_network_that_does_not_fit_is_told_before_anything_is_started(
    mine: Path, importable: Any, net: str, said: str
) -> None:
    importable("nets", NETWORKS)
    raw = space() | {"model": {"name": f"nets:{net}"}}
    with pytest.raises(InputError, match=said):
        explorer.run(raw, storage=str(mine / "runs"))
    assert not (mine / "runs").exists()
    for cluster in (None, "16xCPU"):
        with pytest.raises(InputError, match=said):
            describe(parse(raw), cluster)


def test_overrides_count_for_a_space_in_python_too(tiny: dict[str, Any]) -> None:
    before = copy.deepcopy(tiny)
    with pytest.raises(InputError, match=r"training\.steps: 0 is not allowed"):
        explorer.run(tiny, set=["training.steps=0"])
    with pytest.raises(InputError, match="--set steps: it should be key=value"):
        explorer.run(tiny, set=["steps"])
    assert tiny == before
