"""How long do `resume` and `status` take to find out where a run of 10,000 finished models is?

Command:  python benchmarks/many_models.py
Claim:    at most 5 s for what is missing, 2 s for `status`, 1 GB of memory of the driver.
Method:   a run folder with the records of 2,000 cells × 5 seeds as the engine writes them (a record a
          stack, folded as work goes on), 20,000 pairs, 440,000 points of curves. Each command is timed as
          a whole process, three times; the peak memory is that of the process.
Hardware, versions, n and all samples: benchmarks/results/many_models.json.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from explorer.plan import plan, provenance
from explorer.plan.subjects import pairs_of
from explorer.runs.store import Store
from explorer.space.reading import parse

SPACE = {
    "name": "many",
    "data": {"name": "digits"},
    "model": {"name": "mlp"},
    "load": {"width": list(range(1, 41))},
    "temperature": {"batch_size": list(range(2, 102, 2))},
    "seeds": 5,
    "training": {"steps": 100, "history_points": 20},
    "measures": {"hessian": {}, "connectivity": {"points": 11}, "similarity": {}},
}


def fill(store: Store) -> float:
    """Write all records, folding as the engine does; returns the seconds."""
    started = time.perf_counter()
    space = parse(SPACE)
    store.write_info({**provenance.describe(space, "many"), "execution": {}})
    final = {"status": "ok", "error": "", "steps": 100, "train_loss": 0.1, "train_error_percent": 1.0,
             "test_loss": 0.2, "test_accuracy_percent": 95.0, "parameters": 1000, "wall_s": 0.1,
             "peak_memory_mb": 300.0, "weights_sha256": "0" * 64}  # fmt: skip
    for number, stack in enumerate(plan.stacks(space), 1):
        pairs = [{"model_a": a, "model_b": b} for a, b in pairs_of(stack.model_ids, "all")]
        points = [
            {**pair, "path": path, "t": t / 10, "train_loss": 0.1, "train_error_percent": 1.0,
             "test_loss": 0.2, "test_error_percent": 5.0}
            for pair in pairs for path in ("bezier", "linear") for t in range(11)
        ]  # fmt: skip
        history = [{"model_id": m, "step": s, "train_loss": 0.1} for m in stack.model_ids for s in range(20)]
        store.write_record("epochs", stack.id, history)
        store.write_record(
            "models", stack.id, [{**row, **final, "stack": stack.id} for row in stack.records()]
        )
        store.write_record(
            "hessian", stack.id, [{"model_id": m, "hessian_trace": 1.0} for m in stack.model_ids]
        )
        store.write_record("connectivity", stack.id, [{**p, "mode_connectivity": -1.0} for p in pairs])
        store.write_record("similarity", stack.id, [{**p, "cka": 0.9} for p in pairs])
        store.write_record("curves", stack.id, points)
        if number % 500 == 0:
            for kind in ("models", "epochs", "hessian", "connectivity", "similarity", "curves"):
                store.compact(kind)
    return time.perf_counter() - started


RESUME = """
import resource, sys, time
started = time.perf_counter()
from explorer.plan import plan
from explorer.space.reading import parse
from explorer.runs.store import Store
store = Store(sys.argv[1])
space = parse(store.read_info()["space"])
missing = plan.missing_stacks(space, store), plan.missing_tasks(space, store)
print(len(missing[0]), len(missing[1]), time.perf_counter() - started,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def timed(command: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"{folder}/many")
        filled = fill(store)
        resumes, statuses = [], []
        for _ in range(3):
            seconds, out = timed([sys.executable, "-c", RESUME, store.location])
            stacks, tasks, _, memory = out.split()
            assert (stacks, tasks) == ("0", "0"), out
            resumes.append({"wall_s": seconds, "memory_mb": float(memory)})
            seconds, out = timed([sys.executable, "run_explore.py", "status", "many", "--storage", folder])
            assert "10000 of 10000" in out, out
            statuses.append({"wall_s": seconds})
        size = store.files.size_bytes()
    result = {
        "question": "where is a run of 10,000 finished models?",
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "python": platform.python_version(),
        "models": 10_000,
        "resume": resumes,
        "status": statuses,
        "filling_s": filled,
        "records_mb": size / 1e6,
        "children_peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    Path("benchmarks/results/many_models.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"resume knows what is missing in {statistics.median(r['wall_s'] for r in resumes):.2f} s, "
          f"status answers in {statistics.median(s['wall_s'] for s in statuses):.2f} s, "
          f"peak memory {result['children_peak_mb']:.0f} MB, records {size / 1e6:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
