"""Does measuring beside training shorten a run?

Command:  python benchmarks/overlap.py                  (about six minutes; --small: one minute, to try it)
Claim:    on two workers the digits run, from command to page, is shorter with overlap than without.
Method:   the command as a user gives it, with `resources.overlap` true and false in turns, in the other
          order every second time, each into an empty folder; wall seconds of the whole process and of each
          stage. The tables of both are compared: every column but times and memory is equal.
Hardware, versions, n and all samples: benchmarks/results/overlap.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import explorer

TIMES = ["wall_s", "peak_memory_mb"]
SMALL = ["load.width=[4,16]", "training.steps=200", "measures.connectivity.steps=100"]


def run(folder: Path, overlap: bool, settings: list[str]) -> tuple[dict[str, Any], Any]:
    """One run of the digits space; its times and its tables."""
    command = [sys.executable, "run_explore.py", "run", "spaces/digits.yaml", "--workers", "2"]
    for setting in [*settings, f"resources.overlap={str(overlap).lower()}"]:
        command += ["--set", setting]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--storage", str(folder), "--reports", str(folder / "pages")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - started
    done = explorer.load("digits", str(folder))
    session = done.info["sessions"][0]
    return {
        "overlap": overlap,
        "wall_s": wall,
        "stages": session["stages"],
        "workers": session["workers"],
    }, done


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    settings, samples = (SMALL if arguments.small else []), []
    rounds = 1 if arguments.small else arguments.rounds
    for turn in range(rounds):
        tables = {}
        for overlap in (True, False) if turn % 2 == 0 else (False, True):
            with tempfile.TemporaryDirectory() as folder:
                sample, tables[overlap] = run(Path(folder), overlap, settings)
            samples.append(sample)
        for name in ("models", "epochs", "pairs", "curves"):
            left, right = (
                getattr(tables[o], name).drop(columns=TIMES, errors="ignore") for o in (True, False)
            )
            pd.testing.assert_frame_equal(left, right, check_exact=True, obj=name)
    medians = {
        overlap: statistics.median(s["wall_s"] for s in samples if s["overlap"] == overlap)
        for overlap in (True, False)
    }
    result = {
        "question": "does measuring beside training shorten a run?",
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "ray", "explorer-landscapes")},
        },
        "settings": settings,
        "n": rounds,
        "with_s": medians[True],
        "without_s": medians[False],
        "samples": samples,
    }
    if not arguments.small:
        Path("benchmarks/results/overlap.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"{medians[True]:.1f} s with overlap, {medians[False]:.1f} s without, median of {rounds}")


if __name__ == "__main__":
    main()
