"""Claim: training is fastest with many small models side by side, and with large ones one after the other.

    OMP_NUM_THREADS=1 python benchmarks/side_by_side.py      # about nine minutes

What ``resources.cells_per_trial`` and ``replicates_per_trial`` choose by themselves (``auto``) against a stack
for each cell with all of its seeds, through the worker that a trial has, in one process: data, training, history,
records. The ways take turns; a ratio is that of one turn, of processor time. Medians, with the least and the greatest.

``sizes`` is what the choice rests on (``ROWS`` and ``NUMBERS`` of ``explorer/plan/stacks.py``): the time of a
step and model, in microseconds, by the number of models in a stack, for networks of one hidden layer.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch
from landscape_common import record

from explorer.data import digits
from explorer.data.dataset import Arrays
from explorer.engine.worker import Worker
from explorer.models import mlp
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.plan import plan
from explorer.plan.stacks import sizes
from explorer.space.model import CheckedSpace
from explorer.space.reading import parse
from explorer.train.loop import Recipe, Split, train

NETWORKS = (((64,), 16), ((64,), 64), ((64,), 256), ((196,), 128), ((784,), 128), ((784,), 512))
STACKS = (1, 2, 5, 10, 20, 40, 80)
BATCH_SIZE = 16
# What is swept, the width, and the steps.
SPACES: dict[str, tuple[dict[str, Any], int, int]] = {
    "seven label noises": ({"label_noise": [0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4]}, 32, 2000),
    "six learning rates": ({"learning_rate": [0.003, 0.01, 0.02, 0.03, 0.05, 0.1]}, 16, 2000),
    "three decays, very wide": ({"weight_decay": [0, 0.0001, 0.001]}, 6000, 60),
}


def space_of(axis: dict[str, Any], width: int, steps: int, **resources: Any) -> CheckedSpace:
    return parse({
        "name": "side-by-side", "data": {"name": "digits"}, "model": {"name": "mlp", "width": width},
        "load": axis, "seeds": 5, "measures": {}, "resources": resources,
        "training": {"steps": steps, "batch_size": BATCH_SIZE, "learning_rate": 0.02},
    })  # fmt: skip


def seconds(space: CheckedSpace, clean: Arrays) -> tuple[float, int]:
    """Processor seconds of the training of a space, and the number of stacks."""
    stacks = plan.stacks(space, sizes=sizes(space, lambda _: (clean.shape, clean.classes)))
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(folder, lambda _: clean, {}, threads=1, gpus=0)
        started = time.process_time()
        for stack in stacks:
            worker.train(stack)
        return time.process_time() - started, len(stacks)


def compared(runs: int, clean: Arrays) -> list[dict[str, Any]]:
    """A row a space."""
    rows = []
    for name, (axis, width, steps) in SPACES.items():
        auto, apart = (
            space_of(axis, width, steps, **resources)
            for resources in ({}, {"cells_per_trial": 1, "replicates_per_trial": "all"})
        )
        turns = [(seconds(apart, clean), seconds(auto, clean)) for _ in range(runs)]
        ratios = [a / b for (a, _), (b, _) in turns]
        rows.append({
            "space": name, "width": width, "n": runs, "stacks": turns[0][1][1], "stacks_apart": turns[0][0][1],
            "apart_s": statistics.median(a for (a, _), _ in turns), "auto_s": statistics.median(b for _, (b, _) in turns),
            "times_faster": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios),
        })  # fmt: skip
    return rows


def by_size(shape: tuple[int, ...], width: int, runs: int, budget_s: float) -> dict[str, Any]:
    """Microseconds of a step and model, for each size of the stack: the least of some runs."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1000, *shape, generator=generator), torch.randint(0, 10, (1000,), generator=generator)
    data = Split(x, y, x[:100], y[:100], 10)
    build, rows = network("mlp", mlp.Options(width=width), shape, 10)

    def run(models: int, steps: int) -> float:
        theta, buffers = initial_rows(build, rows, range(models))
        started = time.process_time()
        recipe = Recipe(BATCH_SIZE, steps, learning_rate=0.01, history_points=2)
        train(rows, theta, buffers, data, recipe, seeds=range(models))
        return time.process_time() - started

    found = {}
    for models in STACKS:
        one = max(1e-5, (run(models, 30) - run(models, 10)) / 20)
        steps = max(20, int(budget_s / one))
        found[models] = (
            1e6 * min(run(models, 10 + steps) - run(models, 10) for _ in range(runs)) / steps / models
        )
    return {"inputs": shape[0], "width": width, "parameters": rows.parameters, "us": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--budget", type=float, default=0.3, help="seconds of one run of the table by size")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = compared(given.runs, digits.load(digits.Options()))
    sized = [by_size(shape, width, given.runs, given.budget) for shape, width in NETWORKS]
    record("side_by_side", (__doc__ or "").splitlines()[0], [{"spaces": rows, "sizes": sized}])


if __name__ == "__main__":
    main()
