"""What does a trial cost the driver, and does the driver's memory stay flat over thousands of them?

Command:  python benchmarks/trials.py            (about five minutes)
Claim:    3,000 trials of a training of one step: at most 25 ms of the driver's processor time a trial, and flat
          memory: Tune keeps some 100 kB of each trial until its sweep ends, and a sweep is 1,000 trials, so the
          driver needs as much after the third thousand as after the second.
Method:   one run of 3,000 cells of one model, a trial a cell, without measures, on two workers. Processor time and
          memory of the driver are read as trials end.
Hardware, versions and all samples: benchmarks/results/trials.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import psutil
from engine_common import write

import explorer


class Meter:
    """An observer that reads the driver's processor time and memory every hundred trials."""

    def __init__(self) -> None:
        self.done = 0
        self.samples: list[tuple[int, float, float, float]] = []  # trials, processor s, clock s, MB

    def say(self, message: str) -> None: ...
    def stage(self, name: str, total: int) -> None: ...

    def advance(self, stage: str, done: int, failed: int) -> None:
        self.done += done
        if stage == "training" and self.done % 100 == 0:
            me = psutil.Process()
            times, memory = me.cpu_times(), me.memory_info().rss / 2**20
            self.samples.append((self.done, times.user + times.system, time.perf_counter(), memory))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=3000)
    trials = parser.parse_args().trials
    space = {
        "name": "trials",
        "data": {"name": "digits", "train_size": 50},
        "model": {"name": "mlp", "width": 4},
        "load": {"weight_decay": [i * 1e-7 for i in range(trials)]},
        "seeds": 1,
        "training": {"steps": 1, "history_points": 2, "batch_size": 4},
        "resources": {"cells_per_trial": 1},
        "measures": {},
    }
    meter = Meter()
    with tempfile.TemporaryDirectory(prefix="trials-") as storage:
        explorer.run(space, storage=storage, workers=2, observer=meter)
    (first, cpu, clock, _), (last, cpu_end, clock_end, _) = meter.samples[0], meter.samples[-1]
    marks = [s for s in meter.samples if s[0] in (trials // 3, 2 * trials // 3, last)]
    result = {
        "question": "what a trial costs the driver",
        "trials": trials,
        "driver_ms_a_trial": 1e3 * (cpu_end - cpu) / (last - first),
        "wall_ms_a_trial": 1e3 * (clock_end - clock) / (last - first),
        "at": [s[0] for s in marks],
        "memory_mb": [s[3] for s in marks],
        "samples": meter.samples,
    }
    write("trials", result)
    print(f"{result['driver_ms_a_trial']:.1f} ms of processor time and {result['wall_ms_a_trial']:.1f} ms on the "
          f"clock a trial; driver {[round(m) for m in result['memory_mb']]} MB at {result['at']}")  # fmt: skip


if __name__ == "__main__":
    main()
