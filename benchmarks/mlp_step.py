"""How much faster is the MLP's hand-written gradient than automatic differentiation?

Command:  OMP_NUM_THREADS=1 python benchmarks/mlp_step.py
Claim:    a gradient of stacked MLPs is 1.7 to 3 times faster, to the same values.
Method:   both in turn, 400 times each, on the same stack; the tenth percentile of each (the machine's
          noise only adds). One thread. By hand as a training does it: bound to its parameters, in inference mode,
          without losses that nobody asks for.
Hardware, versions, n and figures: benchmarks/results/mlp_step.json.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from explorer.models import mlp
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows

N = 400
CASES = [(16, 32, 1), (16, 32, 5), (16, 4, 5), (64, 64, 5), (16, 64, 10), (64, 64, 10), (16, 32, 50)]


def timed(gradient: Callable[[], object]) -> float:
    started = time.perf_counter()
    gradient()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    results = []
    for width, batch, replicates in CASES:
        build, own = network("mlp", mlp.Options(width=width), (1, 8, 8), 10)
        plain = Rows(own.module, own.forward)
        theta, _ = initial_rows(build, own, range(replicates))
        x, y = torch.randn(replicates, batch, 1, 8, 8), torch.randint(0, 10, (replicates, batch))
        torch.testing.assert_close(own.loss_gradient(theta, x, y)[1], plain.loss_gradient(theta, x, y)[1])
        bound = own.bound(theta)
        assert bound is not None
        ways = {
            "autograd": partial(plain.loss_gradient, theta, x, y),
            "own": torch.inference_mode()(partial(bound.step, x, y, False)),
        }
        times: dict[str, list[float]] = {"own": [], "autograd": []}
        for _ in range(N):
            for name, way in ways.items():
                times[name].append(timed(way))
        us = {name: 1e6 * sorted(values)[N // 10] for name, values in times.items()}
        ratio = us["autograd"] / us["own"]
        results.append({"width": width, "batch_size": batch, "replicates": replicates, **us, "ratio": ratio})
        change = f"{us['autograd']:.0f} → {us['own']:.0f} µs, {ratio:.2f}×"
        print(f"width {width}, batch {batch}, {replicates} replicates: {change}")
    report = {
        "question": "hand-written gradient of the MLP against autograd",
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "torch": torch.__version__,
        "n": N,
        "unit": "microseconds a gradient of all replicates",
        "cases": results,
    }
    Path("benchmarks/results/mlp_step.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
