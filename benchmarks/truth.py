"""Do the conclusions hold the rates that they promise, in simulated worlds whose truth is known?

Command:  python benchmarks/truth.py [--only WORD …] [--worlds N]
Claim:    every rate lies in its promised range.
Method:   ``truth_measures.py`` and ``truth_conclusions.py`` beside this file have lists ``PROMISES``. A promise simulates
          worlds (``worlds.py``), applies Explorer's own functions to them, and counts. Small versions are tests.
Hardware, versions, n and all rates: benchmarks/results/truth.json. Each command replaces the rates that it prints there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import torch
import truth_conclusions
import truth_measures
from engine_common import RESULTS, write

PROMISES = [*truth_measures.PROMISES, *truth_conclusions.PROMISES]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="words; promises with any of them are checked"
    )
    parser.add_argument("--worlds", type=int, help="number of worlds, instead of each promise's own")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "truth.json"
    rows = {row["says"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    broken = 0
    for promise in (p for p in PROMISES if any(word in p.says for word in arguments.only)):
        began, worlds = time.perf_counter(), arguments.worlds or promise.worlds
        rate = promise.rate(worlds)
        kept = promise.low <= rate <= promise.high
        broken += not kept
        print(
            f"{'kept  ' if kept else 'BROKEN'} {promise.says}: {rate:.3f}, promised {promise.low:g} to {promise.high:g} "
            f"({worlds} worlds, {time.perf_counter() - began:.0f} s)",
            flush=True,
        )
        row = {"rate": rate, "low": promise.low, "high": promise.high, "worlds": worlds}
        rows[promise.says] = {"says": promise.says, **row}
        in_order = [rows[p.says] for p in PROMISES if p.says in rows]
        write("truth", {"question": "rates in worlds whose truth is known", "rows": in_order})
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
