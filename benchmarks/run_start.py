"""What does a run cost beside its work: how long until its first model, and how much processor time?

Command:  python benchmarks/run_start.py        (about two minutes; --than DIR times another checkout in turns)
Claim:    the first model of a run on two workers is trained at most 5 s after the command, and all that a run
          needs beside its work takes at most 10 s of processor time.
Method:   a space of four cells that is trained and measured within a moment, from the command line with two workers,
          each run in an empty folder. Processor seconds are those that the kernel counts for the command and for
          every process that it starts, read every 50 ms, so that the last moments of each are missing; by what
          the process is. The least of all runs beside the median: other programs only add to it.
Hardware, versions, n and all samples: benchmarks/results/run_start.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from engine_common import ROOT, descendants, write

SPACE = {
    "name": "start",
    "data": {"name": "digits"},
    "model": {"name": "mlp"},
    "load": {"width": [2, 3]},
    "temperature": {"batch_size": [32, 64]},
    "seeds": 2,
    "training": {"steps": 50, "history_points": 2},
    "measures": {
        "hessian": {"inputs": 100, "lanczos_steps": 5},
        "connectivity": {"steps": 20, "points": 3},
        "similarity": {"inputs": 100},
    },
}
WHAT = {  # by a part of the command or title
    "gcs_server": "Ray's servers",
    "raylet/raylet": "Ray's servers",
    "monitor.py": "Ray's monitors",
    "dashboard.py": "Ray's monitors",
    "agent": "Ray's agents",
    "Agent": "Ray's agents",
    "forks": "workers",
    "default_worker": "workers",
    "ray::": "workers",
}
TICKS = os.sysconf("SC_CLK_TCK")


def processor_s(pid: int) -> float:
    """Processor seconds of a living process; 0 where it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def timed(root: Path) -> dict[str, Any]:
    """One run from the command line of this checkout, watched until it ends."""
    with tempfile.TemporaryDirectory(prefix="run-start-") as place:
        folder = Path(place)
        (folder / "start.yaml").write_text(yaml.safe_dump(SPACE))
        command = [sys.executable, str(root / "run_explore.py"), "run", "start.yaml", "--workers", "2"]
        began, first_s = time.perf_counter(), 0.0
        spent: dict[int, tuple[str, float]] = {}
        running = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(root)}
        )
        while running.poll() is None:
            spent[running.pid] = (
                "the command",
                max(processor_s(running.pid), spent.get(running.pid, ("", 0))[1]),
            )
            for one in descendants(running.pid):
                what = next((name for part, name in WHAT.items() if part in one.title), "other")
                known = spent.get(one.pid, (what, 0.0))
                spent[one.pid] = (known[0] if what == "other" else what, max(processor_s(one.pid), known[1]))
            if not first_s and any((folder / "runs/start/records/models").glob("*.parquet")):
                first_s = time.perf_counter() - began
            time.sleep(0.05)
        wall_s = time.perf_counter() - began
        if running.returncode:
            raise SystemExit(f"the run of {root} ended with {running.returncode}")
        session = yaml.safe_load(next((folder / "runs/start/sessions").glob("*.yaml")).read_text())
    by: dict[str, float] = defaultdict(float)
    for what, seconds in spent.values():
        by[what] += seconds
    return {"wall_s": wall_s, "first_model_s": first_s, "processor_s": sum(by.values()), "by": dict(by),
            "stages": session["stages"]}  # fmt: skip


def told(root: Path, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and least values of the runs of a checkout."""
    result: dict[str, Any] = {"n": len(runs), "runs": runs}
    for name in ("wall_s", "first_model_s", "processor_s"):
        result[name] = {
            "median": statistics.median(r[name] for r in runs),
            "least": min(r[name] for r in runs),
        }
    kinds = sorted({kind for r in runs for kind in r["by"]})
    result["by"] = {kind: min(r["by"].get(kind, 0.0) for r in runs) for kind in kinds}
    parts = ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in result["by"].items())
    print(f"{root}: first model after {result['first_model_s']['median']:.1f} s, all after "
          f"{result['wall_s']['median']:.1f} s, {result['processor_s']['least']:.1f} s of processor time ({parts})")  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--than", type=Path, help="another checkout, timed in turns with this one")
    parser.add_argument("--out", type=Path, help="left out: benchmarks/results/run_start.json")
    given = parser.parse_args()
    roots = [ROOT, *([given.than.absolute()] if given.than else [])]
    runs: dict[Path, list[dict[str, Any]]] = {root: [] for root in roots}
    for _ in range(given.repeats):
        for root in roots:
            runs[root].append(timed(root))
    found = [told(root, runs[root]) for root in roots]
    other = {"than": found[1]} if given.than else {}
    write("run_start", {"question": "what a run costs beside its work", **found[0], **other}, given.out)


if __name__ == "__main__":
    main()
