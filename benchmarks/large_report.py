"""What do the pages of a run of 5,000 cells cost, and how large are they?

Command:  python benchmarks/large_report.py      (about two minutes; --cells 500 for a look)
Claim:    at most 10 s and 400 MB from `report RUN` to the written page.
Method:   a run folder of made-up records with the names, columns and numbers of rows of real ones, written by the
          store: MLPs of 50 batch sizes and 100 learning rates, 3 models and 3 pairs a cell, histories of 20 points,
          curves of 11. Then the command line in a process of its own: its seconds, and the kernel's peak of its
          memory. A small process starts it, because a new process counts the memory of the one that starts it.
Hardware, versions and all sizes: benchmarks/results/large_report.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from engine_common import ROOT, write

import explorer.measures
from explorer.plan import plan, provenance
from explorer.plan.stacks import sizes
from explorer.runs.store import Store
from explorer.settings import plugin
from explorer.space.model import CheckedSpace
from explorer.space.reading import parse
from explorer.train.loop import milestones

SEEDS, RATES = 3, 100
# Runs Python with the arguments; its last line has the exit code, processor seconds and peak memory in KiB.
START = """
import json, os, sys
_, status, used = os.wait4(os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *sys.argv[1:]]), 0)
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def space(cells: int) -> CheckedSpace:
    """A grid of so many cells."""
    return parse(
        {
            "name": "large",
            "data": {"name": "digits", "train_size": 500},
            "model": {"name": "mlp", "width": 8},
            "load": {"batch_size": list(range(10, 10 + cells // RATES))},
            "temperature": {"learning_rate": {"geom": [0.001, 1.0], "n": RATES}},
            "seeds": SEEDS,
            "training": {"steps": 1000},
            "measures": {"hessian": {}, "connectivity": {"points": 11}, "similarity": {}},
        }
    )


def fill(store: Store, space: CheckedSpace) -> None:
    """Write the records of a finished run of the space."""
    random = np.random.default_rng(0)
    store.files.sync = False
    store.write_info({**provenance.describe(space, space.name), "kept_sources": []})
    for stack in plan.stacks(space, sizes=sizes(space, lambda _: ((1, 8, 8), 10))):
        records, epochs = [], []
        for model, settings in zip(stack.models, stack.records(), strict=True):
            hot = model.cell.training.learning_rate / model.cell.training.batch_size
            loss = float(1e-3 * (1 + 1e4 * hot) * random.lognormal(0, 0.2))
            ends = {"train_loss": loss, "train_error_percent": min(90.0, 25 * loss), "test_loss": 0.1 + loss,
                    "test_accuracy_percent": 97 - min(60.0, 9 * loss)}  # fmt: skip
            records.append(
                {**settings, "status": "ok", "error": "", "steps": 1000, **ends, "parameters": 640, "wall_s": 0.1,
                 "peak_memory_mb": 310.0, "stack": stack.id, "weights_sha256": "0" * 64, **model.cell.at}
            )  # fmt: skip
            for step in milestones(1000, 20):
                share = 1 - step / 1000
                point = {name: value + share * float(random.normal(1, 0.1)) for name, value in ends.items()}
                epochs.append(
                    {"model_id": model.id, "step": step, "epoch": step / 10, "learning_rate": 0.1, **point}
                )
        store.write_record("epochs", stack.id, epochs)
        store.write_record("models", stack.id, records)
    for place, task in enumerate(plan.missing_tasks(space, store)):
        module = plugin(explorer.measures, task.measure, "measure")
        keys = ("model_id",) if module.KIND == "model" else ("model_a", "model_b")
        found: list[dict[str, Any]] = []
        for subject in task.subjects:
            ids = dict(zip(keys, subject if isinstance(subject, tuple) else (subject,), strict=True))
            numbers = {name: made_up(column.kind, random) for name, column in module.COLUMNS.items()}
            found.append({**ids, **numbers})
            if "curves" in module.EXTRA:
                curve = [
                    {**ids, "path": path, "t": k / 10, "train_error_percent": float(random.random()),
                     "train_loss": float(random.random())}
                    for path in ("bezier", "linear")
                    for k in range(11)
                ]  # fmt: skip
                store.write_record("curves", task.id, curve)
        store.write_record(task.measure, task.id, found)
        if place % 1000 == 999:
            for kind in ("hessian", "connectivity", "similarity", "curves"):
                store.compact(kind)
    for kind in ("models", "epochs", "hessian", "connectivity", "similarity", "curves"):
        store.compact(kind, at=2)


def made_up(kind: str, random: np.random.Generator) -> Any:
    """Return a value of a column of this kind."""
    number = float(random.normal(0.5, 0.2))
    return {"number": number, "integer": 1, "flag": True, "text": ""}.get(kind, [number])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cells", type=int, default=5000)
    parser.add_argument(
        "--runs", type=Path, help="keep the made-up run below this folder, or use the one there"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="large-") as folder:
        runs = arguments.runs or Path(folder)
        store = Store(runs / "large")
        if not store.exists():
            fill(store, space(arguments.cells))
        report = [ROOT / "run_explore.py", "report", runs / "large", "--reports", Path(folder, "pages")]
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", START, *report], cwd=folder, capture_output=True, text=True, check=True
        )
        seconds = time.perf_counter() - began
        exit_code, processor_s, peak_kb = json.loads(done.stdout.splitlines()[-1])
        page = Path(folder, "pages/large/index.html").stat().st_size
        everything = sum(file.stat().st_size for file in Path(folder, "pages").rglob("*") if file.is_file())
    result = {
        "question": "what the pages of a large run cost",
        "cells": arguments.cells,
        "models": SEEDS * arguments.cells,
        "exit_code": exit_code,
        "seconds": seconds,
        "processor_s": processor_s,
        "peak_mb": peak_kb * 1024 / 1e6,
        "page_mb": page / 1e6,
        "folder_mb": everything / 1e6,
    }
    print({name: round(value, 2) if isinstance(value, float) else value for name, value in result.items()})
    if arguments.cells == 5000:
        write("large_report", result)


if __name__ == "__main__":
    main()
