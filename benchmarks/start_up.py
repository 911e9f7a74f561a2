"""Claim: what needs no training answers at once; what a command does not need is not imported.

    OMP_NUM_THREADS=1 python benchmarks/start_up.py      # about two minutes

Each command as a whole process, taking turns: seconds on the clock (median, with the least and the
greatest), and the least processor time, which a busy machine disturbs less. Beside them, for scale, Python
itself and ``import torch``; what comes before Ray is started in ``run``; and what a worker imports before
it can train and measure. ``imported`` are the heavy packages that the process has loaded in the end.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from landscape_common import record

from explorer.plan import provenance
from explorer.runs.store import Store
from explorer.space.reading import read

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "ray", "pandas", "altair", "sklearn", "scipy", "sympy", "pyarrow", "numpy", "yaml")
BEFORE_RAY = """
import explorer.cli
from explorer.space import reading
reading.read("spaces/digits.yaml")
import explorer.engine.run, ray"""
WORKER = "import explorer.engine.worker, explorer.landscape.connectivity"


def cli(*arguments: str) -> str:
    """Python that calls the command line."""
    return f"""
import sys; sys.argv = ["explorer", *{arguments!r}]
from explorer.cli import main
try: main()
except SystemExit: pass"""


def cases(storage: str) -> dict[str, str]:
    """Python code by what it does."""
    store, space = Store(f"{storage}/digits"), read(ROOT / "spaces/digits.yaml")
    store.write_info({**provenance.describe(space, "digits"), "execution": {}})
    return {
        "python itself": "",
        "import torch": "import torch",
        "--help": cli("--help"),
        "run, with a mistake in the space": cli("run", "spaces/digits.yaml", "--set", "seeds=0"),
        "spaces": cli("spaces"),
        "status": cli("status", "digits", "--storage", storage),
        "check": cli("check", "spaces/digits.yaml"),
        "run, before Ray is started": BEFORE_RAY,
        "a worker's imports": WORKER,
    }


def timed(code: str) -> tuple[float, float, list[str]]:
    """Seconds on the clock and of the processor, and what was imported."""
    said = f"\nimport sys; print('imported', *(m for m in {HEAVY} if m in sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + said],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout.splitlines()[-1].split()[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as storage:
        codes = cases(storage)
        for code in codes.values():
            timed(code)
        found = {name: [] for name in codes}
        for _ in range(given.runs):
            for name, code in codes.items():
                found[name].append(timed(code))
    rows: list[dict[str, Any]] = []
    for name, runs in found.items():
        seconds = [wall for wall, _, _ in runs]
        rows.append({
            "what": name, "n": given.runs, "median_s": statistics.median(seconds), "least_s": min(seconds),
            "greatest_s": max(seconds), "cpu_s": min(cpu for _, cpu, _ in runs), "imported": runs[0][2], "seconds": seconds,
        })  # fmt: skip
    record("start_up", (__doc__ or "").splitlines()[0], rows)


if __name__ == "__main__":
    main()
