"""Is the whole digits job, from command to page, as fast as at an earlier commit?

Command:  python benchmarks/before.py COMMIT      (about eight minutes)
Claim:    at most 1.35 times as long as before the engine was put on Ray's public interface (3c76e95).
Method:   a worktree of the commit and this one take turns, each as a whole process with the same interpreter and
          packages; the first turn of each is not counted. Medians.
Hardware, versions, n and all samples: benchmarks/results/before.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine_common import ROOT, write


def timed(root: Path) -> float:
    """Return the seconds of the digits job with the sources below ``root``."""
    with tempfile.TemporaryDirectory(prefix="before-") as folder:
        command = [sys.executable, str(root / "run_explore.py"), "run", str(ROOT / "benchmarks/digits.yaml")]
        environment = os.environ | {"PYTHONPATH": str(root)}
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("commit")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", arguments.commit], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory(prefix="before-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "worktree", "add", "-q", "--detach", str(tree), arguments.commit], check=True)
        try:
            samples = [(timed(tree), timed(ROOT)) for _ in range(arguments.turns + 1)][1:]
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)
    before, now = (statistics.median(times) for times in zip(*samples, strict=True))
    result = {
        "question": "the digits job, now and before",
        "commit": commit.stdout.strip(),
        "n": len(samples),
        "before_s": before,
        "now_s": now,
        "times_as_long": now / before,
        "samples": [{"before_s": b, "now_s": n} for b, n in samples],
    }
    write("before", result)
    print(f"{now:.1f} s, {before:.1f} s before: {now / before:.2f}× as long (n = {len(samples)})")


if __name__ == "__main__":
    main()
