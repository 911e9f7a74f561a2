"""Progress display of a run: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
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

from explorer.units import duration

QUIET_S = 15.0  # least time between two plain lines of a stage
TITLES = {
    "start_up": "Starting Ray",
    "calibration": "Calibrating",
    "training": "Training",
    "measuring": "Measuring",
    "shut_down": "Stopping Ray",
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
            TextColumn("so far,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not self.live,
        )
        self.bars: dict[str, _Bar] = {}

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bar in self.bars.values():
            if not bar.total and kind is None:
                self._close(bar)
        self.progress.stop()

    def say(self, message: str) -> None:
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def stage(self, name: str, total: int) -> None:
        for other in self.bars.values():
            if not other.total:
                self._close(other)
        known = self.bars.get(name)
        if known is not None:
            known.total = known.done + total
            if self.live:
                self.progress.update(known.task, total=known.total or 1, completed=known.done)
            return
        note = UNITS.get(name, "")
        task = (
            self.progress.add_task(TITLES[name], total=total or None, note=note) if self.live else TaskID(0)
        )
        self.bars[name] = _Bar(task, total)
        if not self.live:
            self.say(f"{TITLES[name]}: {total} {UNITS[name]}." if total else f"{TITLES[name]}.")

    def advance(self, stage: str, done: int, failed: int) -> None:
        bar = self.bars[stage]
        bar.done, bar.failed = bar.done + done, bar.failed + failed
        note = UNITS[stage] + (f", {bar.failed} failed" if bar.failed else "")
        if self.live:
            self.progress.update(bar.task, advance=done, note=note)
            return
        now = time.monotonic()
        if now - bar.spoken >= QUIET_S or bar.done >= bar.total:
            bar.spoken = now
            left = (now - bar.started) / bar.done * max(0, bar.total - bar.done)
            self.say(f"{TITLES[stage]}: {bar.done} of {bar.total} {note}, about {duration(left)} left.")

    def _close(self, bar: _Bar) -> None:
        """Complete the bar of a stage without a total."""
        if self.live:
            self.progress.update(bar.task, total=1, completed=1)
            self.progress.stop_task(bar.task)


@dataclass
class _Bar:
    """Progress of a stage, in models or measurements. Several stages may run at the same time."""

    task: TaskID
    total: int
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)
    spoken: float = field(default_factory=time.monotonic)
