"""Claim: eigenvalue and trace cost less than by power iteration and Hutchinson, at no larger error.

The plain baseline does what PyHessian does: a kept graph of the gradient, power iteration, then
Hutchinson's probes, each with at most 100 products and a relative tolerance of 1e-3 between successive
estimates. Asked of both: wall time for one model, and for the five models of a cell; the root mean square
relative error of the trace and the largest of the eigenvalue against the dense Hessian; and whether the
stated error covers the measured one. The baseline's trace stops by luck at about 10 % of error: ``ours`` is
the default (2 %), ``coarse`` is asked for three quarters of the baseline's measured error, so that its own
comes out no larger. Stacks of CNNs go through ``vmap``, which is faster for so few channels.

    OMP_NUM_THREADS=1 python benchmarks/landscape_hessian.py
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from landscape_common import MODELS, alternating, record, trained
from torch import Tensor
from usual_measure import curvature

from explorer.landscape.hessian import hessian
from explorer.landscape.operator import HessianOperator
from explorer.models.rows import Rows

RUNS = 5


def dense(network: Any, theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor) -> tuple[float, float]:
    """Largest eigenvalue and trace of the dense Hessian of one model."""
    operator, size = HessianOperator(network, theta[None], x, y, buffers[None]), len(theta)
    rows = [operator(row[None])[0] for row in torch.eye(size, dtype=theta.dtype)]
    matrix = torch.stack(rows).double()
    return torch.linalg.eigvalsh((matrix + matrix.T) / 2)[-1].item(), matrix.trace().item()


def trace_error(found: list[tuple[Any, tuple[float, float]]]) -> float:
    """Root mean square relative error of traces against the dense Hessian's."""
    return statistics.fmean((value[1] / truth[1] - 1) ** 2 for value, truth in found) ** 0.5


def compare(name: str, width: int, *, inputs: int, steps: int) -> dict[str, Any]:
    network, cell, data = trained(name, width, steps=steps)
    theta, buffers = cell.theta, cell.buffers
    x, y = data.x_train[:inputs], data.y_train[:inputs]
    modules = [network.to_module(theta[row], buffers[row]) for row in range(MODELS)]
    truth = [dense(network, theta[row], x, y, buffers[row]) for row in range(MODELS)]

    runs = [[curvature(m, x, y, 1000 * run + i) for i, m in enumerate(modules)] for run in range(RUNS)]
    coarse = 0.75 * trace_error([(v, t) for run in runs for v, t in zip(run, truth, strict=True)])
    stack = network if name == "mlp" else Rows(network.module, execution="vmap")

    def ours(rows: int, run: int, tolerance: float = 0.02) -> list[tuple[float, float, float, int]]:
        seeds = [1000 * run + row for row in range(rows)]
        function = stack if rows > 1 else network
        found = hessian(
            function, theta[:rows], x, y, buffers=buffers[:rows], seeds=seeds, trace_tolerance=tolerance
        )
        columns = (found.top_eigenvalue, found.trace, found.trace_stderr, found.products)
        return list(zip(*(c.tolist() for c in columns), strict=True))

    timed = alternating(
        {
            "plain_1": lambda run: [curvature(modules[0], x, y, 1000 * run)],
            "ours_1": lambda run: ours(1, run),
            "plain_5": lambda run: [curvature(m, x, y, 1000 * run + i) for i, m in enumerate(modules)],
            "ours_5": lambda run: ours(MODELS, run),
            "coarse_1": lambda run: ours(1, run, coarse),
            "coarse_5": lambda run: ours(MODELS, run, coarse),
        },
        runs=RUNS,
    )
    row: dict[str, Any] = {
        "network": name,
        "width": width,
        "parameters": theta.shape[1],
        "inputs": inputs,
        "n": RUNS,
    }
    for who in ("plain", "ours", "coarse"):
        found = [
            (value, exact)
            for run in timed[f"{who}_5"]["results"]
            for value, exact in zip(run, truth, strict=True)
        ]
        row[f"{who}_top_max_error"] = max(abs(v[0] / t[0] - 1) for v, t in found)
        row[f"{who}_trace_rms_error"] = trace_error(found)
        row[f"{who}_products"] = statistics.fmean(v[-1] for v, _ in found)
        if who != "plain":
            row[f"{who}_within_3_stderr"] = statistics.fmean(abs(v[1] - t[1]) <= 3 * v[2] for v, t in found)
    for models in (1, MODELS):
        before = timed[f"plain_{models}"]["median_s"]
        row[f"plain_{models}_s"] = before
        for who in ("ours", "coarse"):
            after = timed[f"{who}_{models}"]["median_s"]
            row |= {f"{who}_{models}_s": after, f"{who}_{models}_times_faster": before / after}
    row["seconds"] = {key: value["seconds"] for key, value in timed.items()}
    return row


if __name__ == "__main__":
    torch.set_num_threads(1)
    record("landscape_hessian", (__doc__ or "").splitlines()[0], [
        compare("mlp", 16, inputs=1000, steps=1000),
        compare("cnn", 2, inputs=200, steps=300),
        compare("resnet", 2, inputs=100, steps=200),
    ])  # fmt: skip
