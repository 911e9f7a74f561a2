"""How much faster are stacks of small convolutional networks by their hand-written gradient?

Claim:    for 4 to 16 channels a gradient of all replicates takes half the time that it takes under vmap or one
          by one, whichever is faster, and an evaluation less than half; to the same values.
Command:  OMP_NUM_THREADS=1 python benchmarks/cnn_step.py              # about three minutes
          OMP_NUM_THREADS=1 python benchmarks/cnn_step.py --budget 0.05  # to see that it works
Method:   cells of ``benchmarks/small_cnn.yaml`` (images of 8×8) and ``spaces/mnist1d-cnn.yaml`` (signals of 40):
          steps of 4 replicates at the batch sizes of training, of 6 pairs at that of curves (64), and an
          evaluation of 4 on 1,000 inputs. The ways take turns; of each the fastest call counts, since other
          processes disturb only upwards. One thread. Other ways: PyTorch's convolutions, by automatic
          differentiation, for all rows at once (vmap) and one by one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from landscape_common import record

from explorer.models import cnn
from explorer.models.base import network
from explorer.models.rows import Execution, Rows, initial_rows

SHAPES, WIDTHS = {"images": (1, 8, 8), "signals": (40,)}, (4, 8, 16)
STEPS = [(4, 8), (4, 32), (4, 128), (6, 64)]  # (rows, batch size): training's and the curves'
EVALUATED = 1000  # inputs
WAYS: tuple[Execution, ...] = ("stacked", "vmap", "loop")


def networks(shape: tuple[int, ...], width: int) -> tuple[dict[str, Rows], torch.Tensor]:
    """The network in each way, and six models."""
    options = cnn.Options(width=width, norm="none", activation="leaky_relu")
    made = {way: network("cnn", options, shape, 10, way) for way in WAYS}
    build, own = made["stacked"]
    theta, _ = initial_rows(build, own, range(6))
    return {way: rows for way, (_, rows) in made.items()}, theta


def in_turns(calls: Mapping[str, Callable[[], Any]], budget_s: float) -> dict[str, list[float]]:
    """Seconds of each call until the budget is spent, after two to warm up."""
    for call in [*calls.values()] * 2:
        call()
    seconds: dict[str, list[float]] = {way: [] for way in calls}
    end = time.perf_counter() + budget_s
    while not seconds["stacked"] or time.perf_counter() < end:
        for way, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[way].append(time.perf_counter() - started)
    return seconds


def row(what: dict[str, Any], seconds: dict[str, list[float]]) -> dict[str, Any]:
    us = {way: 1e6 * min(values) for way, values in seconds.items()}
    other = min(us["vmap"], us["loop"])
    return {**what, "us": us, "times_faster": other / us["stacked"], "n": len(seconds["stacked"])}


def measure(name: str, width: int, budget_s: float) -> list[dict[str, Any]]:
    """Rows of the results of a kind of input and a width."""
    shape, generator = SHAPES[name], torch.Generator().manual_seed(0)
    ways, theta = networks(shape, width)
    rows = []
    for models, batch in STEPS:
        x = torch.randn(models, batch, *shape, generator=generator)
        y, at = torch.randint(0, 10, (models, batch), generator=generator), theta[:models]
        expected = ways["loop"].loss_gradient(at, x, y)
        torch.testing.assert_close(ways["stacked"].loss_gradient(at, x, y), expected, rtol=1e-3, atol=1e-5)
        calls = {way: partial(net.loss_gradient, at, x, y) for way, net in ways.items()}
        what = {"inputs": name, "width": width, "what": "step", "models": models, "batch_size": batch}
        rows.append(row(what, in_turns(calls, budget_s)))
    x, at = torch.randn(EVALUATED, *shape, generator=generator), theta[:4]
    torch.testing.assert_close(
        ways["stacked"].outputs(at, x), ways["loop"].outputs(at, x), rtol=1e-3, atol=1e-4
    )
    calls = {way: partial(net.outputs, at, x) for way, net in ways.items()}
    what = {"inputs": name, "width": width, "what": "evaluation", "models": 4, "batch_size": EVALUATED}
    return [*rows, row(what, in_turns(calls, budget_s))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budget", type=float, default=5.0, help="seconds a comparison")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in SHAPES for width in WIDTHS for row in measure(name, width, given.budget)]
    for r in rows:
        us = ", ".join(f"{way} {value:.0f}" for way, value in r["us"].items())
        print(
            f"{r['inputs']}, width {r['width']}, {r['what']} of {r['models']}, batch {r['batch_size']}: {us} µs"
        )
    record("cnn_step", (__doc__ or "").splitlines()[0], rows)


if __name__ == "__main__":
    main()
