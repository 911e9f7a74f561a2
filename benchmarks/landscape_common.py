"""What the benchmarks of the landscape share: data, trained cells, timing, records."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import scipy
import torch
from sklearn.datasets import load_digits

from explorer.models import base, cnn, mlp
from explorer.models.resnet import ResNetOptions, build_resnet
from explorer.models.rows import Execution, Rows, initial_rows
from explorer.train.loop import Recipe, Split, train

RESULTS = Path(__file__).parent / "results"
MODELS = 5  # of a cell


def digits(shape: tuple[int, ...]) -> Split:
    """Scikit-learn's digits: 1,000 for training, 797 for testing."""
    bunch: Any = load_digits()
    order = numpy.random.default_rng(0).permutation(len(bunch.target))
    x = torch.tensor(bunch.data[order] / 16, dtype=torch.float32).view(-1, *shape)
    y = torch.tensor(bunch.target[order])
    return Split(x[:1000], y[:1000], x[1000:], y[1000:], 10)


def network(name: str, width: int, execution: Execution | None = None) -> tuple[Any, Rows, tuple[int, ...]]:
    """A builder, its function of rows and the shape of one input."""
    if name == "mlp":
        return *base.network("mlp", mlp.Options(width=width), (64,), 10, execution), (64,)
    if name == "cnn":
        return *base.network("cnn", cnn.Options(width=width), (1, 8, 8), 10, execution), (1, 8, 8)

    def build() -> torch.nn.Module:
        options = ResNetOptions(width=width)
        return build_resnet(options, (1, 8, 8), 10, blocks=(1, 1, 1), expansion=1, name="resnet")

    return build, Rows(build(), execution=execution), (1, 8, 8)


def trained(
    name: str, width: int, *, steps: int, execution: Execution | None = None
) -> tuple[Rows, Any, Split]:
    """A cell of trained models: function of rows, result of the training, data."""
    build, rows, shape = network(name, width, execution)
    data = digits(shape)
    theta, buffers = initial_rows(build, rows, range(MODELS))
    recipe = Recipe(batch_size=32, steps=steps, learning_rate=0.03)
    return rows, train(rows, theta, buffers, data, recipe, seeds=range(MODELS)), data


def alternating(contestants: dict[str, Callable[[int], Any]], *, runs: int) -> dict[str, dict[str, Any]]:
    """Wall times of functions of the run's number, taking turns after one warm-up each; their results too."""
    for contestant in contestants.values():
        contestant(0)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    results: dict[str, list[Any]] = {name: [] for name in contestants}
    for run in range(runs):
        for name, contestant in contestants.items():
            started = time.perf_counter()
            result = contestant(run)
            seconds[name].append(time.perf_counter() - started)
            results[name].append(result)
    return {
        name: {"median_s": statistics.median(times), "seconds": times, "results": results[name]}
        for name, times in seconds.items()
    }


def processor() -> str:
    """Name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def provenance() -> dict[str, Any]:
    """What a measurement was made with: command, hardware, versions, date."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "hardware": {
            "processor": processor(), "cores": os.cpu_count(), "torch_threads": torch.get_num_threads(),
        },
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "scipy": scipy.__version__,
        },
        "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def record(name: str, question: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows, and write them with what they were measured on to ``results/<name>.json``."""
    for row in rows:
        print({k: v for k, v in row.items() if k not in ("seconds", "raw")})
    RESULTS.mkdir(exist_ok=True)
    content = {"question": question, **provenance(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


__all__ = ["MODELS", "alternating", "digits", "network", "provenance", "record", "trained"]
