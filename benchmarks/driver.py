"""Does the driver's work grow in proportion to the number of models?

Command:  python benchmarks/driver.py            (about four minutes)
Claim:    the driver's processor time a model is the same within a third from 3,000 models to 20,000.
Method:   runs of 3,000, 10,000 and 20,000 models in a process each: MLPs of width 4, trained for one step, 40 to a
          trial, CKA of each pair of a cell, two workers. Processor time and peak memory of the process that calls
          explorer.run, start and tables included.
Hardware, versions and all samples: benchmarks/results/driver.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

from engine_common import write

SEEDS = 2


def run(models: int) -> dict[str, Any]:
    """Return what a run of so many models costs this process."""
    import explorer

    space = {
        "name": "driver",
        "data": {"name": "digits", "train_size": 50},
        "model": {"name": "mlp", "width": 4},
        "load": {"weight_decay": [i * 1e-7 for i in range(models // SEEDS)]},
        "seeds": SEEDS,
        "training": {"steps": 1, "history_points": 2, "batch_size": 4},
        "measures": {"similarity": {"inputs": 8}},
    }
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="driver-") as storage:
        stages = explorer.run(space, storage=storage, workers=2).info["sessions"][-1]["stages"]
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "models": models,
        "driver_ms_a_model": 1e3 * (used.ru_utime + used.ru_stime) / models,
        "wall_s": time.perf_counter() - began,
        "peak_mb": used.ru_maxrss / 1024,
        "stages": stages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", type=int, nargs="+", default=[3000, 10_000, 20_000])
    parser.add_argument("--one", type=int, help="run this many models here, and print the numbers as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run(arguments.one)))
        return
    rows = []
    for models in arguments.models:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(models)], check=True, stdout=subprocess.PIPE, text=True
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print({k: round(v, 2) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
        write("driver", {"question": "whether the driver's work is proportional to models", "rows": rows})


if __name__ == "__main__":
    main()
