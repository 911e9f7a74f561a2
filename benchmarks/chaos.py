"""Does a sweep survive 20 random kills, and is the result the same to the last bit?

Command:  python benchmarks/chaos.py            (about 3 minutes; --help for other spaces and numbers)
Claim:    20 times `kill -9` over driver, training workers and measuring actors in one run of the digits space:
          the tables equal those of an undisturbed run in every column but times, no model that had a record
          is trained again, and all starts together take at most twice the undisturbed time.
Method:   the undisturbed run first, then the disturbed one, both from the command line with two workers. Each
          kill waits until so many records of training or measuring exist, then for a fraction of a second,
          and takes the driver (a fifth of the kills) or one of the processes that train and measure. The plan
          is drawn with a seed and counts records, so it fits a machine of any speed. A killed driver is followed
          by `resume` at once. A record of training is identified by its inode, time of writing and
          checksum when it is seen first, and compared at the end: a model trained again is written again.
Hardware, versions, n and all kills: benchmarks/results/chaos.json.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from engine_common import ROOT, explore, start, workers, write

import explorer
from explorer.engine import plan
from explorer.results import TABLES
from explorer.spacefile import read

NOT_COMPARED = ["wall_s", "peak_memory_mb"]
STARTS = 60  # of the program; a run that needs more is one that does not get on
WAIT_S = 120  # for a process of the planned kind
POLL_S = 0.02
LATEST = 0.8  # share of a stage's records: after that, a worker may end before the kill


@dataclass(frozen=True)
class Kill:
    """Kill a process of a kind once there are so many records of a stage, and some seconds later."""

    stage: str
    records: int
    victim: str
    after_s: float


def planned(space: Any, kills: int, seed: int) -> list[Kill]:
    """Half of the kills fall into the training, half into the measuring; a fifth hits the driver."""
    rng = np.random.default_rng(seed)
    stacks = len(plan.stacks(space))
    totals = {"training": stacks, "measuring": len(space.cells) * len(space.measures)}
    found = []
    for stage, number in (("training", (kills + 1) // 2), ("measuring", kills // 2)):
        at = np.sort(rng.integers(0, max(1, int(LATEST * totals[stage])), number))
        drivers = max(1, round(number / 5))
        victims = rng.permutation(["driver"] * drivers + ["worker"] * (number - drivers))
        waits = rng.uniform(0, 0.5, number)
        found += [Kill(stage, int(a), str(v), float(w)) for a, v, w in zip(at, victims, waits, strict=True)]
    return found


class Records:
    """The records of a run folder, as a watcher from outside sees them."""

    def __init__(self, folder: Path, measures: list[str]):
        self.folder, self.measures = folder / "records", measures
        self.seen: dict[str, tuple[int, int, str]] = {}

    def count(self, stage: str) -> int:
        kinds = ["models"] if stage == "training" else self.measures
        return sum(len(list((self.folder / kind).glob("*.parquet"))) for kind in kinds)

    def look(self) -> None:
        """Remember every record of trained models that is new."""
        for file in (self.folder / "models").glob("*.parquet"):
            if file.name not in self.seen:
                self.seen[file.name] = _identity(file)

    def trained_again(self) -> list[str]:
        """Records that are not the file they were when they were seen first."""
        self.look()
        return [n for n, first in self.seen.items() if _identity(self.folder / "models" / n) != first]


def _identity(file: Path) -> tuple[int, int, str]:
    stat = file.stat()
    return stat.st_ino, stat.st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()


class Disturbed:
    """One run under kills: starts the program until it ends well."""

    def __init__(self, space_file: Path, name: str, folder: Path, measures: list[str], seed: int):
        self.folder, self.name = folder, name
        self.rng = np.random.default_rng([seed, 1])
        self.records = Records(folder / "runs" / name, measures)
        self.done: list[dict[str, Any]] = []
        self.codes: list[int] = []
        self.started = time.perf_counter()
        self.process = self._start("run", space_file)

    def _start(self, command: str, what: str | Path) -> Any:
        if len(self.codes) >= STARTS:
            raise RuntimeError(f"the run did not end in {STARTS} starts; see {self.folder}/log.txt")
        return start(command, what, "--workers", "2", cwd=self.folder, log=self.folder / "log.txt")

    def _ended(self) -> bool:
        """Whether the run is over; goes on with it when the driver was killed or something had failed."""
        if self.codes and self.codes[-1] == 0:
            return True
        code = self.process.poll()
        if code is None:
            return False
        self.codes.append(code)
        if code not in (0, 3, -signal.SIGKILL):
            raise RuntimeError(f"exit code {code}; see {self.folder}/log.txt")
        if code == 0:
            return True
        self.process = self._start("resume" if self._exists() else "run", self._what())
        return False

    def _exists(self) -> bool:
        return (self.folder / "runs" / self.name / "run.yaml").exists()

    def _what(self) -> str | Path:
        return self.name if self._exists() else self.folder / "space.yaml"

    def strike(self, kill: Kill) -> bool:
        """Wait for the moment and kill; False where the run was over before."""
        while self.records.count(kill.stage) < kill.records:
            self.records.look()
            if self._ended():
                return False
            time.sleep(POLL_S)
        until = time.perf_counter() + kill.after_s
        give_up = time.perf_counter() + WAIT_S
        while time.perf_counter() < give_up:
            self.records.look()
            if self._ended():
                return False
            candidates = self._candidates(kill.victim)
            if candidates and time.perf_counter() >= until:
                pid, title = candidates[self.rng.integers(len(candidates))]
                os.kill(pid, signal.SIGKILL)
                if pid == self.process.pid:
                    self.process.wait()
                at = time.perf_counter() - self.started
                self.done.append({**asdict(kill), "title": title, "pid": pid, "at_s": round(at, 2)})
                return True
            time.sleep(POLL_S)
        return False  # that kind of process has no work any more

    def _candidates(self, victim: str) -> list[tuple[int, str]]:
        """Processes of that kind, with their titles: an actor that trains, one that measures, or the driver."""
        if victim == "driver":
            return [(self.process.pid, "driver")]
        return [(p.pid, p.title.split(".")[0]) for p in workers(self.process.pid)]

    def finish(self) -> float:
        """Wait for the end; seconds since the first start."""
        while not self._ended():
            self.records.look()
            time.sleep(POLL_S)
        return time.perf_counter() - self.started


def differences(calm: explorer.results.Run, disturbed: explorer.results.Run) -> list[str]:  # type: ignore[name-defined]
    """Tables that differ in a column that is not a time."""
    found = []
    for name in TABLES:
        a, b = (getattr(run, name).drop(columns=NOT_COMPARED, errors="ignore") for run in (calm, disturbed))
        try:
            pd.testing.assert_frame_equal(a, b, check_exact=True)
        except AssertionError as error:
            found.append(f"{name}: {error}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--space", type=Path, default=ROOT / "spaces/digits.yaml")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the plan of kills")
    parser.add_argument(
        "--out", type=Path, help="where the result goes; left out: benchmarks/results/chaos.json"
    )
    arguments = parser.parse_args()
    space = read(arguments.space)
    with tempfile.TemporaryDirectory(prefix="chaos-") as place:
        calm, chaos = Path(place) / "calm", Path(place) / "chaos"
        for folder in (calm, chaos):
            folder.mkdir()
            (folder / "space.yaml").write_text(arguments.space.read_text())
        calm_s = explore("run", "space.yaml", "--workers", "2", cwd=calm, log=calm / "log.txt")
        run = Disturbed(chaos / "space.yaml", space.name, chaos, list(space.measures), arguments.seed)
        try:
            for kill in planned(space, arguments.kills, arguments.seed):
                if not run.strike(kill):
                    print(f"no {kill.victim} left to kill after {kill.records} records of {kill.stage}")
            chaos_s = run.finish()
        finally:
            run.process.kill()
        differ = differences(
            explorer.load(calm / "runs" / space.name), explorer.load(chaos / "runs" / space.name)
        )
        again = run.records.trained_again()
    result = {
        "question": "20 random kills in one run",
        "space": space.name,
        "seed": arguments.seed,
        "kills": len(run.done),
        "victims": dict(Counter(k["title"] for k in run.done)),
        "starts": len(run.codes),
        "exit_codes": run.codes,
        "undisturbed_s": calm_s,
        "disturbed_s": chaos_s,
        "times_as_long": chaos_s / calm_s,
        "tables_that_differ": differ,
        "models_trained_again": again,
        "every_kill": run.done,
    }
    write("chaos", result, arguments.out)
    print(f"{len(run.done)} kills ({result['victims']}), {len(run.codes)} starts: {chaos_s:.0f} s against "
          f"{calm_s:.0f} s undisturbed ({chaos_s / calm_s:.2f}×); {len(differ)} tables differ, "
          f"{len(again)} of {len(run.records.seen)} records written again")  # fmt: skip
    if differ or again or len(run.done) < arguments.kills:
        raise SystemExit("\n".join([*differ, *again]) or "fewer kills than planned")


if __name__ == "__main__":
    main()
