"""Claim: on a GPU, steps of stacked MLPs and of the curves between them take at most half the time when they are
replayed as a graph, to the same bits.

    OMP_NUM_THREADS=1 python benchmarks/cuda_graphs.py      # a GPU, about two minutes

Digits, one hidden layer of 16 units, 5 and 50 replicates, SGD and AdamW. The time of a step is the difference
of a long and a short training over the steps between, so that starts, ends and the capture of the graph cancel;
seconds on the clock, up to the numbers of the last evaluation, which wait for the card. The capture is what a
short training takes longer with a graph, and ``from_step`` the length from which a training gains a fifth, the
capture included. Both ways take turns; medians, with the least and the greatest ratio. That both give the same
bits is checked on the weights of the long training. Curves: ten between five models, as many steps.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from landscape_common import record
from step_time import MOMENTUM, RATE, SEED
from torch import Tensor

from explorer import graphs
from explorer.data import digits
from explorer.data.base import prepare
from explorer.engine.calibrate import CLEARLY
from explorer.landscape.connectivity import fit_paths
from explorer.models import mlp
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.training import Split, train

REPLICATES, BATCH_SIZES, OPTIMIZERS = (5, 50), (16, 64), ("sgd", "adamw")
SHORT = graphs.WARM_UP + 1  # steps


class Way(NamedTuple):
    """A training or a fit of so many steps, as it was done."""

    weights: Tensor
    seconds: float
    replayed: int
    hindered: str


Run = Callable[[int, bool], Way]  # of the number of steps, and whether they are replayed


def trainings(data: Split, replicates: int, batch_size: int, optimizer: str) -> Run:
    build, rows = network("mlp", mlp.Options(width=16), tuple(data.x_train.shape[1:]), data.classes)
    theta, buffers = initial_rows(build, rows.to(data.device), range(replicates))

    def run(count: int, graph: bool) -> Way:
        done = train(
            rows, theta, buffers, data,
            seeds=range(SEED, SEED + replicates), batch_size=batch_size, steps=count, learning_rate=RATE / 10,
            momentum=MOMENTUM, schedule="constant", history_points=2, optimizer=optimizer, graph=graph,
        )  # fmt: skip
        return Way(done.theta, done.wall_s, done.replayed, done.hindered)

    return run


def curves(data: Split, batch_size: int) -> Run:
    build, rows = network("mlp", mlp.Options(width=16), tuple(data.x_train.shape[1:]), data.classes)
    theta, buffers = (t.to(data.device) for t in initial_rows(build, rows.to(data.device), range(5)))
    first, second = zip(*itertools.combinations(range(5), 2), strict=True)
    a, b, numbers = theta[list(first)], theta[list(second)], buffers[list(first)]

    def run(count: int, graph: bool) -> Way:
        started = time.perf_counter()
        fit = fit_paths(
            rows, a, b, numbers, data.x_train, data.y_train,
            seeds=range(SEED, SEED + len(a)), steps=count, batch_size=batch_size, graph=graph,
        )  # fmt: skip
        return Way(fit.path.points, time.perf_counter() - started, fit.replayed, fit.hindered)

    return run


def cases(data: Split, batch_size: int) -> dict[str, Run]:
    of_training = {
        f"training of {models} models, {optimizer}": trainings(data, models, batch_size, optimizer)
        for optimizer in OPTIMIZERS
        for models in REPLICATES
    }
    return {**of_training, "ten curves": curves(data, batch_size)}


def measure(run: Run, *, runs: int, steps: int) -> dict[str, Any]:
    """Microseconds of a step both ways.

    Raises:
        AssertionError: they do not give the same bits, or there was no graph.
    """
    lengths, ways = (SHORT, SHORT + steps), {"eager": False, "graph": True}
    ends = {name: run(lengths[1], graph) for name, graph in ways.items()}  # warms up, too
    assert ends["graph"].replayed == steps + 1, ends["graph"].hindered
    assert torch.equal(ends["eager"].weights, ends["graph"].weights)
    seconds: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, graph in ways.items():
            seconds[name].append([run(count, graph).seconds for count in lengths])
    step = {name: [(long - short) / steps for short, long in pairs] for name, pairs in seconds.items()}
    ratios = [e / g for e, g in zip(step["eager"], step["graph"], strict=True)]
    eager, graph = (statistics.median(step[name]) for name in ways)
    shorts = {name: statistics.median(short for short, _ in pairs) for name, pairs in seconds.items()}
    capture, gain = max(0.0, shorts["graph"] - shorts["eager"]), CLEARLY * eager - graph
    return {
        "n": runs, "same_bits": True,
        "eager_us": 1e6 * eager, "graph_us": 1e6 * graph, "capture_ms": 1e3 * capture,
        "from_step": math.ceil(capture / gain) if gain > 0 else None,
        "times_faster": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios), "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2000, help="between the short and the long run")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here, and no graph on a processor: nothing to measure.")
        return
    data = Split.of(prepare(digits.load(digits.Options()), digits.Options(), "digits"), "cuda")
    card = torch.cuda.get_device_name(data.device)
    found = [
        {"what": what, "batch_size": batch_size, **measure(run, runs=given.runs, steps=given.steps)}
        for batch_size in BATCH_SIZES
        for what, run in cases(data, batch_size).items()
    ]
    record("cuda_graphs", (__doc__ or "").splitlines()[0], [{"card": card, **row} for row in found])


if __name__ == "__main__":
    main()
