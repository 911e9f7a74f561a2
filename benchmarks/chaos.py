"""Does a run survive kills among all of its processes, with the same tables to the last bit?

Command:  python benchmarks/chaos.py            (about half an hour; --help for other spaces and numbers)
Claim:    20 runs with 5 times `kill -9` each, among driver, raylet, control service, Ray's other processes and
          workers, each resumed until it is done: the tables equal those of an undisturbed run in every column
          but times, no model that had a record is trained again, and no process is left.
Method:   the undisturbed run first, then the disturbed ones, all from the command line with two workers. Each
          kill waits until the run folder has so many records, then for a fraction of a second, and takes a
          process of a kind that is drawn with a seed. A run that ends is resumed at once, after a look whether all
          processes that it ever started have gone. A record of training is identified by its inode, time of
          writing and checksum when it is seen first, and compared at the end.
Hardware, versions, n and all kills: benchmarks/results/chaos.json.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from engine_common import ROOT, start, write

import explorer
from explorer.plan import plan
from explorer.results import TABLES, RunTables
from explorer.space.reading import read

NOT_COMPARED = ["wall_s", "peak_memory_mb"]
KINDS = ("driver", "raylet", "gcs_server", "worker", "other")  # of processes that are killed
# Exit codes of the driver. 1 is Ray's: it ends the program at once if one of its agents is killed, since its
# raylet then ends and takes the object store along.
ENDS = (0, 1, 3, -9)
STARTS = 60  # of the program; a run that needs more is one that does not get on
POLL_S = 0.05
GONE_S = 90.0  # by then no process of a run that has ended is left; Ray's agents miss its control service for a minute
LATEST = 0.9  # share of the records: after that, a run may end before the kill


def kind_of(process: psutil.Process, driver: int) -> str:
    """Return which of :data:`KINDS` a process is."""
    if process.pid == driver:
        return "driver"
    name = process.name()
    if name in ("raylet", "gcs_server"):
        return name
    title = " ".join(process.cmdline()[:1])
    return "worker" if title.startswith("ray::") and "Agent" not in title else "other"


class Disturbed:
    """One run under kills: starts the program until it ends well."""

    def __init__(self, space_file: Path, name: str, folder: Path, rng: np.random.Generator):
        self.folder, self.name, self.rng = folder, name, rng
        self.records = folder / "runs" / name / "records"
        self.trained: dict[str, tuple[int, int, str]] = {}
        self.everything: set[psutil.Process] = set()  # that this start of the program has started
        self.kills: list[dict[str, Any]] = []
        self.codes: list[int] = []
        self.left: list[str] = []
        self.began = time.perf_counter()
        self.process = self._start("run", space_file)

    def _start(self, command: str, what: str | Path) -> Any:
        if len(self.codes) >= STARTS:
            raise RuntimeError(f"the run did not end in {STARTS} starts:\n{self._log()}")
        self.everything = set()
        return start(command, what, "--workers", "2", cwd=self.folder, log=self.folder / "log.txt")

    def look(self) -> bool:
        """Note what is there; return whether the run is over. Go on with a run that was cut off."""
        for file in (self.records / "models").glob("*.parquet"):
            if file.name not in self.trained:
                self.trained[file.name] = _identity(file)
        if self.codes and self.codes[-1] == 0:
            return True
        with contextlib.suppress(psutil.NoSuchProcess):
            self.everything.update(psutil.Process(self.process.pid).children(recursive=True))
        code = self.process.poll()
        if code is None:
            return False
        self.codes.append(code)
        if code not in ENDS:
            raise RuntimeError(f"exit code {code}:\n{self._log()}")
        _, alive = psutil.wait_procs(self.everything, timeout=GONE_S)
        self.left += [f"{p.pid} {' '.join(p.cmdline())[:100]}" for p in alive if p.is_running()]
        if code == 0:
            return True
        resumes = (self.folder / "runs" / self.name / "run.yaml").exists()
        what = self.name if resumes else self.folder / "space.yaml"
        self.process = self._start("resume" if resumes else "run", what)
        return False

    def _log(self) -> str:
        return (self.folder / "log.txt").read_text()[-5000:]

    def count(self) -> int:
        return len(list(self.records.glob("*/*.parquet")))

    def strike(self, records: int, kind: str, after_s: float) -> bool:
        """Kill a process of a kind some time after so many records are there; False where the run was over."""
        while self.count() < records:
            if self.look():
                return False
            time.sleep(POLL_S)
        until = time.perf_counter() + after_s
        while True:
            if self.look():
                return False
            if time.perf_counter() >= until and (victims := self._victims(kind)):
                victim = victims[self.rng.integers(len(victims))]
                title = victim.name()
                victim.kill()
                at = round(time.perf_counter() - self.began, 2)
                self.kills.append({"kind": kind, "records": records, "title": title, "at_s": at})
                return True
            time.sleep(POLL_S)

    def _victims(self, kind: str) -> list[psutil.Process]:
        found = []
        for process in {psutil.Process(self.process.pid), *self.everything}:
            try:
                if process.status() != psutil.STATUS_ZOMBIE and kind_of(process, self.process.pid) == kind:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return sorted(found, key=lambda process: process.pid)

    def finish(self) -> float:
        """Wait for the end; return the seconds since the first start."""
        while not self.look():
            time.sleep(POLL_S)
        return time.perf_counter() - self.began

    def trained_again(self) -> list[str]:
        """Return the records that are not the file they were when they were seen first."""
        return [n for n, first in self.trained.items() if _identity(self.records / "models" / n) != first]


def _identity(file: Path) -> tuple[int, int, str]:
    stat = file.stat()
    return stat.st_ino, stat.st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()


def differences(calm: RunTables, disturbed: RunTables) -> list[str]:
    """Return the tables that differ in a column that is not a time."""
    found = []
    for name in TABLES:
        a, b = (getattr(run, name).drop(columns=NOT_COMPARED, errors="ignore") for run in (calm, disturbed))
        try:
            pd.testing.assert_frame_equal(a, b, check_exact=True)
        except AssertionError as error:
            found.append(f"{name}: {error}"[:300])
    return found


def disturb(space_file: Path, calm: RunTables, folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Return what became of one run under so many kills."""
    folder.mkdir()
    space, rng = read(space_file), np.random.default_rng(seed)
    total = len(plan.stacks(space)) * 2 + len(space.cells) * len(space.measures)
    at = np.sort(rng.integers(0, int(LATEST * total), kills))
    kinds = rng.permutation([KINDS[i % len(KINDS)] for i in range(kills)])
    (folder / "space.yaml").write_text(space_file.read_text())
    run = Disturbed(folder / "space.yaml", space.name, folder, rng)
    try:
        for records, kind, after_s in zip(at, kinds, rng.uniform(0, 0.5, kills), strict=True):
            run.strike(int(records), str(kind), float(after_s))
        seconds = run.finish()
    finally:
        run.process.kill()
    return {
        "seed": seed,
        "seconds": seconds,
        "exit_codes": run.codes,
        "kills": run.kills,
        "differ": differences(calm, explorer.load(folder / "runs" / space.name)),
        "trained_again": run.trained_again(),
        "left": run.left,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--space", type=Path, default=ROOT / "benchmarks/chaos.yaml")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=5, help="in each run")
    parser.add_argument("--seed", type=int, default=0, help="of the first run's plan")
    parser.add_argument("--out", type=Path, help="of the result; left out: benchmarks/results/chaos.json")
    arguments = parser.parse_args()
    name = read(arguments.space).name
    with tempfile.TemporaryDirectory(prefix="chaos-") as place:
        undisturbed = disturb_nothing(arguments.space, Path(place) / "calm")
        calm = explorer.load(Path(place) / "calm/runs" / name)
        runs = []
        for number in range(arguments.runs):
            folder = Path(place) / f"run{number}"
            runs.append(disturb(arguments.space, calm, folder, arguments.kills, arguments.seed + number))
            last = runs[-1]
            print(f"run {number}: {[k['kind'] for k in last['kills']]}, exit codes {last['exit_codes']}, "
                  f"{last['seconds']:.0f} s; differ {last['differ']}, trained again {last['trained_again']}, "
                  f"left {last['left']}", flush=True)  # fmt: skip
            write("chaos", result_of(name, undisturbed, runs), arguments.out)  # an hour may end early
    bad = [run for run in runs if run["differ"] or run["trained_again"] or run["left"]]
    print(f"{sum(len(run['kills']) for run in runs)} kills in {len(runs)} runs; {len(bad)} runs with a fault")
    if bad:
        raise SystemExit(f"faults in the runs with the seeds {[run['seed'] for run in bad]}")


def result_of(name: str, undisturbed: float, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the raw results of the runs so far."""
    kills = [kill for run in runs for kill in run["kills"]]
    return {
        "question": "runs under random kills among all processes",
        "space": name,
        "undisturbed_s": undisturbed,
        "times_as_long": statistics.median(run["seconds"] for run in runs) / undisturbed,
        "kills": len(kills),
        "victims": dict(Counter(kill["kind"] for kill in kills)),
        "runs": runs,
    }


def disturb_nothing(space_file: Path, folder: Path) -> float:
    """Run without kills; return the seconds."""
    folder.mkdir()
    began = time.perf_counter()
    process = start("run", space_file.absolute(), "--workers", "2", cwd=folder, log=folder / "log.txt")
    if code := process.wait():
        raise RuntimeError(
            f"the undisturbed run ended with {code}:\n{(folder / 'log.txt').read_text()[-3000:]}"
        )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
