"""Do the conclusions hold the rates that they promise, in simulated worlds whose truth is known?

Command:  python benchmarks/truth.py [--only WORD] [--worlds N]
Claim:    every rate lies in its promised range.
Method:   each ``truth_*.py`` beside this file has a list ``PROMISES``. A promise simulates worlds, applies Explorer's own
          functions to them, and counts. Small versions are tests.
Hardware, versions, n and all rates: benchmarks/results/truth.json.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

import torch
from engine_common import write
from truth_common import Promise


def promises(only: str = "") -> list[Promise]:
    """Return the promises of all files ``truth_*.py``; with ``only``, those that have this word."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("truth_*.py"))
    found = [p for name in names for p in getattr(importlib.import_module(name), "PROMISES", [])]
    return [promise for promise in found if only in promise.says]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="a word of the promises to check")
    parser.add_argument("--worlds", type=int, help="number of worlds, instead of each promise's own")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, broken = [], 0
    for promise in promises(arguments.only):
        began, worlds = time.perf_counter(), arguments.worlds or promise.worlds
        rate = promise.rate(worlds)
        kept = promise.low <= rate <= promise.high
        broken += not kept
        print(
            f"{'kept  ' if kept else 'BROKEN'} {promise.says}: {rate:.3f}, promised {promise.low:g} to {promise.high:g} "
            f"({worlds} worlds, {time.perf_counter() - began:.0f} s)",
            flush=True,
        )
        rows.append(
            {"says": promise.says, "rate": rate, "low": promise.low, "high": promise.high, "worlds": worlds}
        )
    if not arguments.only and not arguments.worlds:
        write("truth", {"question": "rates in worlds whose truth is known", "rows": rows})
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
