"""Claim: on a GPU, steps of stacked MLPs take at most half the time when they are replayed as a graph, to the same bits.

    OMP_NUM_THREADS=1 python benchmarks/cuda_graphs.py      # a GPU, about a minute

Digits, one hidden layer of 16 units, 5 and 50 replicates, SGD and AdamW. The time of a step is the difference
of a long and a short training over the steps between, so that starts, ends and the capture of the graph cancel;
seconds on the clock, up to the numbers of the last evaluation, which wait for the card. The capture is what a
short training takes longer with a graph, and ``from_step`` the length from which a training gains a fifth, the
capture included. Both ways take turns; medians, with the least and the greatest ratio. That both give the same
bits is checked on the weights of the long training.
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any

import torch
from landscape_common import record
from step_time import MOMENTUM, RATE, SEED

from explorer import graphs
from explorer.data import digits
from explorer.data.base import prepare
from explorer.engine.calibrate import CLEARLY
from explorer.models import mlp
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.training import Split, Trained, train

REPLICATES, BATCH_SIZES, OPTIMIZERS = (5, 50), (16, 64), ("sgd", "adamw")
SHORT = graphs.WARM_UP + 1  # steps


def measure(
    data: Split, replicates: int, batch_size: int, optimizer: str, *, runs: int, steps: int
) -> dict[str, Any]:
    """Microseconds of a step both ways.

    Raises:
        AssertionError: they do not give the same bits, or there was no graph.
    """
    build, rows = network("mlp", mlp.Options(width=16), tuple(data.x_train.shape[1:]), data.classes)
    theta, buffers = initial_rows(build, rows.to(data.device), range(replicates))

    def run(count: int, graph: bool) -> Trained:
        return train(
            rows, theta, buffers, data,
            seeds=range(SEED, SEED + replicates), batch_size=batch_size, steps=count, learning_rate=RATE / 10,
            momentum=MOMENTUM, schedule="constant", history_points=2, optimizer=optimizer, graph=graph,
        )  # fmt: skip

    lengths, ways = (SHORT, SHORT + steps), {"eager": False, "graph": True}
    ends = {name: run(lengths[1], graph) for name, graph in ways.items()}  # warms up, too
    assert ends["graph"].replayed == steps + 1, ends["graph"].hindered
    assert torch.equal(ends["eager"].theta, ends["graph"].theta)
    seconds: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, graph in ways.items():
            seconds[name].append([run(count, graph).wall_s for count in lengths])
    step = {name: [(long - short) / steps for short, long in pairs] for name, pairs in seconds.items()}
    ratios = [e / g for e, g in zip(step["eager"], step["graph"], strict=True)]
    eager, graph = (statistics.median(step[name]) for name in ways)
    shorts = {name: statistics.median(short for short, _ in pairs) for name, pairs in seconds.items()}
    capture, gain = max(0.0, shorts["graph"] - shorts["eager"]), CLEARLY * eager - graph
    return {
        "replicates": replicates, "batch_size": batch_size, "optimizer": optimizer, "n": runs, "same_bits": True,
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
        measure(data, replicates, batch_size, optimizer, runs=given.runs, steps=given.steps)
        for optimizer in OPTIMIZERS
        for replicates in REPLICATES
        for batch_size in BATCH_SIZES
    ]
    record("cuda_graphs", (__doc__ or "").splitlines()[0], [{"card": card, **row} for row in found])


if __name__ == "__main__":
    main()
