"""What is measured of a model has the same bits alone, beside others, in another order and elsewhere in memory."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from in_process import train
from torch import Tensor

import explorer.measures
import explorer.models
from explorer.landscape import operator
from explorer.measures.base import CellModels
from explorer.models import rows, stacked_cnn
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.settings import plugin
from explorer.train.loop import Split

MODELS, INPUTS = 4, 60
CASES: dict[str, tuple[str, dict[str, Any], str, tuple[int, ...], int, Any]] = {
    "mlp": ("mlp", {"width": 7}, "classification", (64,), 10, None),
    "mlp, width 1": ("mlp", {"width": 1}, "classification", (64,), 10, None),
    "mlp, one number": ("mlp", {"width": 9, "activation": "gelu"}, "regression", (64,), 1, None),
    "pinn": ("pinn", {"width": 9, "depth": 2}, "regression", (3,), 2, None),
    "cnn, stacked": ("cnn", {"width": 3, "norm": "none"}, "classification", (1, 8, 8), 4, None),
    "cnn, loop": ("cnn", {"width": 3}, "classification", (1, 8, 8), 4, "loop"),
    "cnn, vmap": ("cnn", {"width": 3}, "classification", (1, 8, 8), 4, "vmap"),
    "resnet18, loop": ("resnet18", {"width": 1}, "classification", (1, 5, 5), 4, "loop"),
    "gpt": ("gpt", {"width": 12, "layers": 1}, "language", (7,), 19, None),
    "transformer": ("transformer", {"width": 12, "layers": 1}, "translation", (2, 9), 23, None),
}
MEASURES: dict[str, dict[str, Any]] = {
    "hessian": {"inputs": 30, "lanczos_steps": 4, "probes": 4},
    "density": {"inputs": 30, "steps": 3, "probes": 1},
    "noise": {"batch_size": 7, "batches": 6},
    "sharpness": {"inputs": 30},
    "connectivity": {"steps": 8, "batch_size": 13, "points": 3},
    "similarity": {"inputs": 60},
    "spectra": {},
    "perplexity": {},
}
# So small that models and inputs go in several blocks, some of them of one model.
SIZES = [
    *((rows, "MEMORY", 2**15), (operator, "GRAPH", 2**18)),
    *((stacked_cnn, "CACHE", 2**14), (stacked_cnn, "HELD", 2**14)),
]
Found = dict[tuple[Any, ...], dict[str, Any]]


def data(task: str, shape: tuple[int, ...], classes: int) -> Split:
    """Inputs and targets of a task; sentences of a translation differ in their lengths."""
    generator = torch.Generator().manual_seed(0)
    size = 2 * INPUTS
    if task in ("classification", "regression"):
        x = torch.randn(size, *shape, generator=generator)
        scores = x.flatten(1) @ torch.randn(math.prod(shape), classes, generator=generator)
        y = scores.argmax(1) if task == "classification" else scores.sin()
    else:
        tokens = torch.randint(3, classes, (size, shape[-1]), generator=generator)
        x, y = tokens, tokens.roll(-1, 1)
        if task == "translation":
            there = torch.arange(shape[-1]) < torch.randint(2, shape[-1], (size, 1), generator=generator)
            x = torch.stack([torch.where(there, tokens, 0), torch.where(there, y, 0)], 1)
            y = torch.where(there, tokens, -100)
    return Split(x[:INPUTS], y[:INPUTS], x[INPUTS:], y[INPUTS:], classes)


def trained(name: str) -> CellModels:
    """The models of a case after some steps."""
    architecture, options, task, shape, classes, execution = CASES[name]
    settings = plugin(explorer.models, architecture, "architecture").Options.model_validate(options)
    split = data(task, shape, classes)
    build, net = network(architecture, settings, shape, classes, execution, task)
    theta, buffers = initial_rows(build, net, range(MODELS))
    recipe: dict[str, Any] = {"batch_size": 11, "steps": 6, "learning_rate": 0.05, "history_points": 2}
    end = train(net, theta, buffers, split, seeds=range(MODELS), **recipe)
    return CellModels("cell", net, end.theta, end.buffers, [f"m{i}" for i in range(MODELS)], split, build)


def elsewhere(cell: CellModels) -> CellModels:
    """The same, with models at addresses that are no multiples of what a processor loads at once."""

    def moved(values: Tensor) -> Tensor:
        place = torch.empty(values.numel() + 3, dtype=values.dtype)[3:].view(values.shape)
        return place.copy_(values)

    return replace(cell, theta=moved(cell.theta), buffers=moved(cell.buffers))


def without_second(cell: CellModels) -> CellModels:
    """The cell as if a model were missing."""
    kept = [0, 2, 3]
    ids = [cell.model_ids[i] for i in kept]
    return replace(cell, theta=cell.theta[kept], buffers=cell.buffers[kept], model_ids=ids)


def compositions(cell: CellModels, subjects: list[Any]) -> Iterator[tuple[CellModels, list[Any]]]:
    """Cells and subjects that ask for some of the same numbers as all subjects at once."""
    yield elsewhere(cell), subjects[::-1]
    yield cell, subjects[:1]
    yield cell, subjects[1:]
    rest = without_second(cell)
    yield rest, [s for s in subjects if "m1" not in (s if isinstance(s, tuple) else (s,))]


def measured(module: Any, cell: CellModels, subjects: list[Any], options: Any) -> Found:
    """Rows of all tables by what they are of."""
    keys = ("model_id", "model_a", "model_b", "path", "t")
    found, result = {}, module.measure(cell, subjects, options)
    for kind, table in {"": result.rows, **result.extra}.items():
        for row in table:
            found[(kind, *(row.get(key) for key in keys))] = {k: v for k, v in row.items() if k not in keys}
    return found


def differences(cell: CellModels, name: str) -> set[str]:
    """Columns of a measure that depend on what is measured beside a subject, or on where it lies."""
    module = plugin(explorer.measures, name, "measure")
    if cell.network.task.name not in getattr(module, "TASKS", (cell.network.task.name,)):
        return set()
    options = module.Options.model_validate(MEASURES[name])
    pairs = list(itertools.combinations(cell.model_ids, 2))
    subjects = list(cell.model_ids) if module.KIND == "model" else pairs
    expected = measured(module, cell, subjects, options)
    return {
        f"{name}.{column}"
        for where, some in compositions(cell, subjects)
        for key, row in measured(module, where, some, options).items()
        for column, value in row.items()
        if repr(value) != repr(expected[key][column])
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_measures_do_not_depend_on_neighbours_or_addresses(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.environ["MKL_CBWR"] == "AUTO,STRICT", "MKL reads it at its first product"
    torch.set_num_threads(1)
    for module, name, value in SIZES:
        monkeypatch.setattr(module, name, value)
    cell = trained(case)
    assert sorted(itertools.chain(*(differences(cell, measure) for measure in MEASURES))) == []
