"""Progress display of a run: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

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
    "spaces": "Spaces",
    "start_up": "Starting Ray",
    "calibration": "Calibrating",
    "choosing": "Choosing",
    "training": "Training",
    "importing": "Importing",
    "measuring": "Measuring",
    "shut_down": "Stopping Ray",
    "tables": "Writing tables",
    "drawing": "Drawing pages",
}
UNITS = {"spaces": "spaces", "training": "models", "importing": "models", "measuring": "measurements"}


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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._complete_bars_without_total()
        self.progress.stop()

    def say(self, message: str) -> None:
        self.console.print(message, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def stage(self, name: str, total: int) -> None:
        self._complete_bars_without_total()
        if bar := self.bars.get(name):
            bar.total = bar.done + total
            self.progress.update(bar.task, total=bar.total or 1, completed=bar.done)
            return
        unit = UNITS.get(name, "")
        task = self.progress.add_task(TITLES[name], total=total or None, note=unit)
        self.bars[name] = _Bar(task, total)
        if not self.live:
            self.say(f"{TITLES[name]}: {total} {unit}." if total else f"{TITLES[name]}.")

    def advance(self, stage: str, done: int, failed: int) -> None:
        bar = self.bars[stage]
        bar.done, bar.failed = bar.done + done, bar.failed + failed
        note = UNITS[stage] + (f", {bar.failed} failed" if bar.failed else "")
        self.progress.update(bar.task, advance=done, note=note)
        now = time.monotonic()
        if not self.live and (now - bar.last_line >= QUIET_S or bar.done >= bar.total):
            bar.last_line = now
            left = (now - bar.started) / bar.done * max(0, bar.total - bar.done)
            self.say(f"{TITLES[stage]}: {bar.done} of {bar.total} {note}, about {duration(left)} left.")

    def _complete_bars_without_total(self) -> None:
        """Complete the bars of stages such as starting Ray, which end when the next stage starts."""
        for bar in self.bars.values():
            if not bar.total:
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
    last_line: float = field(default_factory=time.monotonic)
