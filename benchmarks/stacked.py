"""Claim: stacked MLPs train at least 3 times as fast as one after the other at 5 replicates, 8 times at 50.

    OMP_NUM_THREADS=1 python benchmarks/stacked.py      # about a minute

The baseline is the plainest loop there is, a model at a time: tensors in memory, a permutation a pass,
``nn.Module``, ``torch.optim.SGD``, no data loader, nothing evaluated (``plain_loop`` of ``step_time.py``).
Explorer trains all replicates in one stack, each with its own order of the data. Digits, one hidden layer of
16 units, small to large batches of ``benchmarks/digits.yaml``. The time of a step is the difference of a long and
a short run over the steps between, so that starts and ends cancel; it is the processor time of the one
thread, which is the time on the clock of a machine that does nothing else. The ways take turns; a ratio is that of
one turn. Medians, with the least and the greatest. That both compute the same is checked on the weights
after 5 steps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from landscape_common import record
from step_time import MOMENTUM, RATE, SEED, Case, data_of, plain_loop

from explorer.models import mlp
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.train.loop import Recipe, Split, Trained, train

REPLICATES, BATCH_SIZES, BARS = (1, 5, 50), (4, 16, 64), {5: 3, 50: 8}
SHORT = 50  # steps


def per_step(run: Callable[[int], Any], steps: int) -> float:
    """Seconds of a step."""
    seconds = []
    for count in (SHORT, SHORT + steps):
        started = time.process_time()
        run(count)
        seconds.append(time.process_time() - started)
    return (seconds[1] - seconds[0]) / steps


def ways(data: Split, batch_size: int) -> tuple[Callable[[int], Any], dict[int, Callable[[int], Trained]]]:
    """The plain loop over one model, and a stack of each size, as functions of the number of steps.

    Raises:
        AssertionError: they do not compute the same.
    """
    build, rows = network("mlp", mlp.Options(width=16), tuple(data.x_train.shape[1:]), data.classes)

    def plain(steps: int) -> torch.nn.Module:
        theta, buffers = initial_rows(build, rows, [0])
        module = rows.to_module(theta[0], buffers[0])
        plain_loop(module, data, batch_size, steps)
        return module

    def stack(replicates: int) -> Callable[[int], Trained]:
        theta, buffers = initial_rows(build, rows, range(replicates))
        seeds = range(SEED, SEED + replicates)
        recipe = Recipe(batch_size, 1, RATE, momentum=MOMENTUM, schedule="constant", history_points=2)
        return lambda steps: train(rows, theta, buffers, data, replace(recipe, steps=steps), seeds=seeds)

    stacks = {replicates: stack(replicates) for replicates in REPLICATES}
    alone = rows.row(plain(5))[0]
    for run in stacks.values():
        torch.testing.assert_close(run(5).theta[0], alone, rtol=1e-4, atol=1e-6)
    return plain, stacks


def measure(data: Split, batch_size: int, *, runs: int, steps: int) -> list[dict[str, Any]]:
    """A row a number of replicates."""
    plain, stacks = ways(data, batch_size)
    seconds: dict[int, list[float]] = {replicates: [] for replicates in (0, *REPLICATES)}  # 0: the plain loop
    for _ in range(runs):
        seconds[0].append(per_step(plain, steps))
        for replicates, run in stacks.items():
            seconds[replicates].append(per_step(run, steps))
    rows = []
    for replicates in REPLICATES:
        ratios = [replicates * p / s for p, s in zip(seconds[0], seconds[replicates], strict=True)]
        rows.append({
            "batch_size": batch_size, "replicates": replicates, "bar": BARS.get(replicates), "n": runs,
            "plain_us": 1e6 * statistics.median(seconds[0]), "stack_us": 1e6 * statistics.median(seconds[replicates]),
            "times_faster": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios),
            "seconds": {"plain": seconds[0], "stack": seconds[replicates]},
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2000, help="between the short and the long run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = data_of(Case("mlp", {"width": 16}, None, 0, 0))
    rows = [row for b in BATCH_SIZES for row in measure(data, b, runs=given.runs, steps=given.steps)]
    record("stacked", (__doc__ or "").splitlines()[0], rows)


if __name__ == "__main__":
    main()
