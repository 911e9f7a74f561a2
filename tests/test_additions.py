"""The additions that CONTRIBUTING describes, made in a copy of the package: each touches the files it says, and works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

MEASURE = '''"""Norm of each model's parameters."""

from __future__ import annotations

from pydantic import Field

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured
from explorer.measures.cost import Call, CellSize, forward
from explorer.options import Options as Settings

KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "weight_norm": Column(
        "number", "", "norm of the parameters", title="Weight norm", caption="Grows with temperature.",
        averaged=True, map=100, digits=2,
    )
}


class Options(Settings):
    """Which norm."""

    order: float = Field(2.0, gt=0, description="of the norm")


def cost(options: Options, size: CellSize) -> list[Call]:
    """Return what it costs, in gradients."""
    return forward(size, size.subjects)


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Norms of the models named in ``subjects``."""
    return Measured.of(subjects, {"weight_norm": cell.theta[cell.rows(subjects)].norm(options.order, 1)})
'''
OPTIMISER = '''"""Lion (Chen et al., 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from explorer.train.optimisers import base


class Optimiser(base.Optimiser):
    """Signs of an interpolated momentum."""

    def start(self, theta: Tensor) -> dict[str, Tensor]:
        return {"velocity": torch.zeros_like(theta)}

    def update(self, theta: Tensor, g: Tensor, state: dict[str, Tensor], rate: float, step: int) -> None:
        velocity = state["velocity"]
        theta.mul_(1 - rate * self.weight_decay).add_(velocity.lerp(g, 1 - self.momentum).sign(), alpha=-rate)
        velocity.lerp_(g, 0.01)
'''
DATA = '''"""Two half-circles that hold each other (scikit-learn)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import Arrays

SHAPE, CLASSES = (2,), 2


class Options(DataOptions):
    """How noisy they are."""

    spread: float = Field(0.1, ge=0, description="standard deviation of the points")


def available(options: Options) -> tuple[int, int]:
    """Numbers of training and test inputs."""
    return counts(options, 400, 200, load)


def load(options: Options) -> Arrays:
    """Draw them."""
    from sklearn.datasets import make_moons

    x, y = make_moons(600, noise=options.spread, random_state=0)
    x = x.astype(np.float32)
    return Arrays(x[:400], y[:400], x[400:], y[400:], CLASSES)
'''
# By what is added: new files, and changes of files as (old, new).
ADDITIONS: dict[str, tuple[dict[str, str], dict[str, list[tuple[str, str]]]]] = {
    "a measure": (
        {"measures/weight_norm.py": MEASURE},
        {"measures/__init__.py": [('"ensemble",\n', '"ensemble",\n    "weight_norm",\n')]},
    ),
    "an optimiser": (
        {"train/optimisers/lion.py": OPTIMISER},
        {"train/optimisers/__init__.py": [('"sam")', '"sam", "lion")')]},
    ),
    "a data set": (
        {"data/two_moons.py": DATA},
        {"data/__init__.py": [('    "text",\n', '    "text",\n    "two-moons",\n')]},
    ),
    "a stopping rule": (
        {},
        {
            "space/training.py": [
                (
                    '    keep: Annotated[Literal["last", "best"], Use.STOP',
                    "    max_passes: Annotated[int | None, Use.STOP | Use.ALONE] = Field(\n"
                    '        None, ge=1, description="end a replicate after so many passes"\n    )\n'
                    '    keep: Annotated[Literal["last", "best"], Use.STOP',
                )
            ],
            "train/stopping.py": [
                ('    keep: str = "last"\n', '    keep: str = "last"\n    max_passes: int | None = None\n'),
                (
                    "        if self.rule.stop_at_loss is not None:\n",
                    "        if self.rule.max_passes is not None:\n"
                    "            stops |= torch.full_like(stops, number >= self.rule.max_passes)\n"
                    "        if self.rule.stop_at_loss is not None:\n",
                ),
            ],
        },
    ),
    "an option of an architecture": (
        {},
        {
            "models/mlp.py": [
                (
                    '    activation: Activation = Field(\n        default="leaky_relu"',
                    '    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of units left out")\n'
                    '    activation: Activation = Field(\n        default="leaky_relu"',
                ),
                (
                    "activation_module(options.activation)]\n",
                    "activation_module(options.activation)]\n"
                    "        if options.dropout:\n            layers.append(nn.Dropout(options.dropout))\n",
                ),
            ]
        },
    ),
}
MOST_FILES = {  # of the package, new ones included
    "a measure": 3,
    "an optimiser": 2,
    "a data set": 2,
    "a stopping rule": 2,
    "an option of an architecture": 1,
}
WORKS = """
import sys
sys.path.insert(0, TESTS)
import tempfile
from pathlib import Path
from in_process import table, work
import explorer
assert explorer.__file__.startswith(COPY), explorer.__file__
from explorer.data import digits
from explorer.estimate import describe
from explorer.measures.tables import AVERAGED_MODELS, columns_with_maps
from explorer.report.labels import measure_title
from explorer.report.reference import markdown
from explorer.space.reading import parse
from explorer.space.schema import json_schema as schema

def models(**changes):
    space = {"name": "new", "data": {"name": "digits", "train_size": 100}, "model": {"name": "mlp", "width": 8},
             "load": {"train_size": [100]}, "seeds": 2, "training": {"steps": 60}, "measures": {}}
    for section, values in changes.items():
        space[section] = {**space[section], **values} if isinstance(values, dict) and section != "load" else values
    parsed = parse(space)
    from explorer.settings import plugin
    import explorer.data
    clean = plugin(explorer.data, parsed.data["name"], "data set").load(parsed.cells[0].data)
    store = work(parsed, clean, Path(tempfile.mkdtemp()))
    found = table(store, "models")
    assert set(found["status"]) == {"ok"}
    return parsed, found, store

plain_space, plain, _ = models()

space, found, store = models(measures={"weight_norm": {"order": 1.0}})
assert (table(store, "weight_norm")["weight_norm"] > 0).all()
assert columns_with_maps()[-1] == "weight_norm" and "weight_norm" in AVERAGED_MODELS
assert measure_title("weight_norm") == "Weight norm" and "`weight_norm`" in markdown()
assert "weight_norm" in str(schema())

space, found, _ = models(training={"optimizer": "lion", "learning_rate": 0.001})
assert set(found["model_id"]).isdisjoint(plain["model_id"])
assert (found["train_loss"] != plain["train_loss"]).all() and "lion" in str(schema())

space, found, _ = models(data={"name": "two-moons", "label_noise": 0.1})
assert (found["train_error_percent"] < 30).all()

space, found, _ = models(training={"max_passes": 5, "learning_rate": 0.05}, load={"max_passes": [5, 10]})
assert sorted(set(found["steps"])) == [15, 30], found["steps"]

space, found, _ = models(load={"dropout": [0.0, 0.5]})
assert found.groupby("dropout")["train_loss"].mean().is_monotonic_increasing
assert set(plain["model_id"]) < set(found["model_id"]), "models without the new option keep their ids"
print("all work")
"""


def add(package: Path, what: str) -> set[str]:
    """Make the addition; return the files of the package that it touches."""
    new, changes = ADDITIONS[what]
    for name, content in new.items():
        assert not (package / name).exists()
        (package / name).write_text(content)
    for name, replacements in changes.items():
        text = (package / name).read_text()
        for old, put in replacements:
            assert text.count(old) == 1, f"{name}: {old!r}"
            text = text.replace(old, put)
        (package / name).write_text(text)
    return {*new, *changes}


def test_each_addition_touches_few_files_and_works(tmp_path: Path) -> None:
    package = tmp_path / "explorer"
    shutil.copytree(ROOT / "explorer", package, ignore=shutil.ignore_patterns("__pycache__"))
    for what in ADDITIONS:
        assert len(add(package, what)) <= MOST_FILES[what], what
    code = f"TESTS, COPY = {str(ROOT / 'tests')!r}, {str(tmp_path)!r}\n{WORKS}"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "all work" in done.stdout


@pytest.mark.parametrize("what", ADDITIONS)
def test_contributing_names_the_files(what: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (row,) = re.findall(rf"^\| {what} \|(.*)\|$", text, flags=re.M)
    new, changes = ADDITIONS[what]
    for name in [*(re.sub(r"[a-z_]+\.py$", "<name>.py", n) for n in new), *changes]:
        if what == "an option of an architecture":
            name = "models/<name>.py"
        assert f"`{name}`" in row
