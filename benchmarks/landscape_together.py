"""Claim: Hessians of the five models of a cell take no longer together than one after the other.

Each row says how many times faster they are together, in the median of runs that take turns; and the largest
relative difference of the traces of both. Rows run as in a run of Explorer: stacked for mlp, in turn for networks
with BatchNorm. At width 8, the graphs of three of the five cnn fit into the memory budget.

    OMP_NUM_THREADS=1 python benchmarks/landscape_together.py
"""

from __future__ import annotations

from typing import Any

import torch
from landscape_common import MODELS, alternating, record, trained
from torch import Tensor

from explorer.landscape.hessian import hessian

RUNS = 5


def compare(name: str, width: int, *, inputs: int, steps: int) -> dict[str, Any]:
    network, cell, data = trained(name, width, steps=steps)
    x, y = data.x_train[:inputs], data.y_train[:inputs]

    def traces(some: slice) -> Tensor:
        theta, buffers, seeds = cell.theta[some], cell.buffers[some], range(MODELS)[some]
        return hessian(network, theta, x, y, buffers=buffers, seeds=seeds).trace

    together, each = traces(slice(MODELS)), torch.cat([traces(slice(row, row + 1)) for row in range(MODELS)])
    timed = alternating(
        {
            "together": lambda _: traces(slice(MODELS)),
            "each": lambda _: [traces(slice(row, row + 1)) for row in range(MODELS)],
        },
        runs=RUNS,
    )
    return {
        "network": name,
        "width": width,
        "inputs": inputs,
        "n": RUNS,
        "times_faster": timed["each"]["median_s"] / timed["together"]["median_s"],
        "trace_difference": (together / each - 1).abs().max().item(),
        "seconds": {key: value["seconds"] for key, value in timed.items()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    record("landscape_together", (__doc__ or "").splitlines()[0], [
        compare("mlp", 16, inputs=1000, steps=1000),
        compare("cnn", 2, inputs=200, steps=300),
        compare("cnn", 8, inputs=1000, steps=300),
        compare("resnet", 2, inputs=100, steps=200),
    ])  # fmt: skip
