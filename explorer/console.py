"""What a run shows while it works: one live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

QUIET_S = 15.0  # plain lines come at most so often within a stage
TITLES = {
    "start_up": "Starting Ray",
    "training": "Training",
    "measuring": "Measuring",
    "tables": "Writing tables",
    "drawing": "Drawing pages",
}
UNITS = {"training": "models", "measuring": "measurements"}


class Display:
    """An observer (:class:`explorer.engine.session.Observer`) that writes to a console."""

    def __init__(self, console: Console):
        self.console = console
        self.live = console.is_terminal
        self.progress = Progress(
            TextColumn("{task.description:<13}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not self.live,
        )
        self.name, self.total, self.done, self.failed = "", 0, 0, 0
        self.task: TaskID | None = None
        self.started = self.spoken = time.monotonic()

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def say(self, message: str) -> None:
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def stage(self, name: str, total: int) -> None:
        self.name, self.total, self.done, self.failed = name, total, 0, 0
        self.started = self.spoken = time.monotonic()
        if self.live:
            if self.task is not None:  # the stage before has ended
                ended = self.progress.tasks[self.task]
                if not ended.total:
                    self.progress.update(self.task, total=1, completed=1)
                self.progress.stop_task(self.task)
            self.task = self.progress.add_task(TITLES[name], total=total or None, note=UNITS.get(name, ""))
        else:
            self.say(f"{TITLES[name]}: {total} {UNITS[name]}." if total else f"{TITLES[name]}.")

    def advance(self, done: int, failed: int) -> None:
        self.done, self.failed = self.done + done, self.failed + failed
        note = UNITS[self.name] + (f", {self.failed} failed" if self.failed else "")
        if self.live and self.task is not None:
            self.progress.update(self.task, advance=done, note=note)
            return
        now = time.monotonic()
        if now - self.spoken >= QUIET_S or self.done >= self.total:
            self.spoken = now
            left = (now - self.started) / self.done * (self.total - self.done)
            self.say(f"{TITLES[self.name]}: {self.done} of {self.total} {note}, about {duration(left)} left.")


def duration(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def size(number: float) -> str:
    """A number of bytes as a person says it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
