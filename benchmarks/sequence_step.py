"""Networks on sequences: are stacked replicates faster than one after the other?

Command:  OMP_NUM_THREADS=1 python benchmarks/sequence_step.py   (3 minutes on an idle core, 12 on a slow one)
Claim:    a training step of 5 small Transformers at batch size 32 is 1.2 times faster than one after the other, or
          more, to the same values, but slower at 128; of 5 small physics-informed networks 3 times or more;
          GPTs gain when they are tiny only.
Method:   gradients of the mean loss of a batch of their own for each replicate, in turn: stacked (as a run
          does it), by vmap, one after the other. The tenth percentile of each (the machine's noise only
          adds). One thread. Sentences are 2 to 12 tokens long, of 2,000 words, as in
          spaces/translation-mo-de.yaml.
Hardware, versions, n and figures: benchmarks/results/sequence_step.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows
from explorer.settings import plugin

LENGTH, WORDS = 12, 2000
CASES: list[tuple[str, dict[str, Any], int]] = [
    *(("transformer", {"layers": 2, "width": width}, batch) for width, batch in ((16, 32), (32, 32), (64, 32), (32, 128))),
    ("gpt", {"layers": 2, "width": 16}, 16),
    ("gpt", {"layers": 2, "width": 32}, 64),
    ("pinn", {"width": 32, "depth": 3}, 64),
]  # fmt: skip


def batch_of(name: str, rows: int, size: int) -> tuple[tuple[int, ...], int, Tensor, Tensor]:
    """Shape, size of the output, inputs and targets as the network's task has them."""
    generator = torch.Generator().manual_seed(0)
    if name == "transformer":
        x = torch.randint(3, WORDS, (rows, size, 2, LENGTH), generator=generator)
        ends = torch.randint(2, LENGTH + 1, (rows, size, 2, 1), generator=generator)
        after = torch.arange(LENGTH) >= ends
        return (2, LENGTH), WORDS, x.masked_fill(after, 0), x[:, :, 1].masked_fill(after[:, :, 1], -100)
    if name == "gpt":
        text = torch.randint(0, 96, (rows, size, 65), generator=generator)
        return (64,), 96, text[..., :-1], text[..., 1:]
    return (3,), 2, torch.rand(rows, size, 3, generator=generator), torch.zeros(rows, size, 2)


def measured(name: str, options: dict[str, Any], size: int, replicates: int, n: int) -> dict[str, float]:
    """Milliseconds a step of all replicates in each way."""
    import explorer.models

    module = plugin(explorer.models, name, "architecture")
    shape, outputs, x, y = batch_of(name, replicates, size)
    build, stacked = network(name, module.Options(**options), shape, outputs, task=module.TASKS[0])
    theta, _ = initial_rows(build, stacked, range(replicates))
    ways = {
        "stacked": stacked,
        "vmap": Rows(stacked.module, execution="vmap", task=stacked.task),
        "one by one": Rows(stacked.module, execution="loop", task=stacked.task),
    }
    calls: dict[str, Callable[[], Any]] = {
        way: lambda rows=rows: rows.loss_gradient(theta, x, y) for way, rows in ways.items()
    }
    expected = calls["one by one"]()[1]
    for call in calls.values():
        torch.testing.assert_close(call()[1], expected, rtol=1e-3, atol=1e-5)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(n):
        for way, call in calls.items():
            started = time.perf_counter()
            call()
            times[way].append(1e3 * (time.perf_counter() - started))
    return {way: sorted(values)[n // 10] for way, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=60, help="steps of each way")
    parser.add_argument("--to", type=Path, default=Path("benchmarks/results/sequence_step.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, options, size in CASES:
        for replicates in (1, 3, 5):
            ms = measured(name, options, size, replicates, given.n)
            ratio = ms["one by one"] / ms["stacked"]
            case = {"network": name, "options": options, "batch_size": size, "replicates": replicates}
            rows.append({**case, "ms": ms, "times_faster": ratio})
            print(f"{name} {options}, batch {size}, {replicates} replicates: "
                  f"{', '.join(f'{way} {value:.2f} ms' for way, value in ms.items())}; {ratio:.1f}×", flush=True)  # fmt: skip
    report = {
        "question": "a training step of networks on sequences, replicates stacked against one after the other",
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "torch": torch.__version__,
        "n": given.n,
        "unit": "milliseconds a gradient of all replicates",
        "rows": rows,
    }
    given.to.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
