"""Claim: the peak memory of a Hessian over the whole training set does not grow with the set's size.

Each size runs in a process of its own; asked is how far the process's peak resident memory rises above
what it was with data and model in place. The sizes all exceed what one graph may hold.

    OMP_NUM_THREADS=1 python benchmarks/landscape_memory.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import torch
from landscape_common import network, record

from explorer.landscape.hessian import hessian
from explorer.models.rows import initial_rows

SIZES = (8_000, 24_000, 64_000)


def measure(inputs: int) -> dict[str, float]:
    """Peak memory in megabytes before and after the Hessian of one CNN on so many random inputs."""
    torch.set_num_threads(1)
    build, rows, shape = network("cnn", 8)
    theta, buffers = initial_rows(build, rows, [0])
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(inputs, *shape, generator=generator),
        torch.randint(0, 10, (inputs,), generator=generator),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    hessian(rows, theta, x, y, buffers=buffers, seeds=[0], lanczos_steps=2, probes_max=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"inputs": inputs, "before_mb": before, "peak_mb": peak, "rise_mb": peak - before}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        found = [
            json.loads(
                subprocess.run(
                    [sys.executable, __file__, str(n)], capture_output=True, check=True, text=True
                ).stdout
            )
            for n in SIZES
        ]
        record("landscape_memory", (__doc__ or "").splitlines()[0], found)
