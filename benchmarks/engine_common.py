"""What the benchmarks of the engine share: runs from the command line, their processes, records. Linux only."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
NOT_WORKERS = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
PROGRAM = [sys.executable, str(ROOT / "run_explore.py")]


@dataclass(frozen=True)
class Process:
    """A living process: its title as Ray sets it, and its memory in MB, now and at its peak."""

    pid: int
    title: str
    now_mb: float
    peak_mb: float


class Clock:
    """An observer that keeps the time of everything that has ended, by stage."""

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[float, int]]] = {}

    def say(self, message: str) -> None: ...

    def stage(self, name: str, total: int) -> None: ...

    def advance(self, stage: str, done: int, failed: int) -> None:
        self.times.setdefault(stage, []).append((time.perf_counter(), done))

    def seconds_each(self, stage: str) -> float:
        """Seconds of one of the stage's models or measurements, from the first that was done to the last."""
        (first, _), *rest = self.times[stage]
        return (rest[-1][0] - first) / sum(done for _, done in rest)


def start(*arguments: str | Path, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """The command line in a process of its own, whose output goes to the end of ``log``."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            [*PROGRAM, *map(str, arguments)], cwd=cwd, stdout=output, stderr=subprocess.STDOUT
        )


def explore(*arguments: str | Path, cwd: Path, log: Path) -> float:
    """Call the command line; seconds of the whole command.

    Raises:
        RuntimeError: it did not end well; the message ends with what it printed.
    """
    began = time.perf_counter()
    code = start(*arguments, cwd=cwd, log=log).wait()
    if code:
        raise RuntimeError(f"{' '.join(map(str, arguments))} ended with {code}:\n{log.read_text()[-3000:]}")
    return time.perf_counter() - began


def descendants(pid: int) -> list[Process]:
    """What a process has started, directly or not, and what lives."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry)] = int(fields[1])
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            break
        found |= more
    read = (process(one) for one in found - {pid})
    return [one for one in read if one is not None]


def workers(pid: int) -> list[Process]:
    """Processes below a driver that train or measure: actors of Ray."""
    every = descendants(pid)
    return [p for p in every if p.title.startswith("ray::") and not p.title.startswith(NOT_WORKERS)]


def process(pid: int) -> Process | None:
    """A process by its number; None where it has gone."""
    try:
        title = (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Vm")}
    return Process(pid, title, sizes.get("VmRSS", 0.0), sizes.get("VmHWM", 0.0))


def machine() -> dict[str, Any]:
    """Hardware, versions and how busy the machine is."""
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("ray", "torch")},
    }


def write(name: str, result: dict[str, Any], out: Path | None = None) -> None:
    """Raw results as JSON, in ``results/`` or where the caller says."""
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")
    print(f"written to {path}")
