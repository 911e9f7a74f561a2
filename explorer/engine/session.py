"""What one start of the program does to a run: told to the observer, kept in the run folder."""

from __future__ import annotations

import datetime
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from explorer.store import FOLD_AT, Store


class Observer(Protocol):
    """Hears how a run goes on."""

    def say(self, message: str) -> None: ...
    def stage(self, name: str, total: int) -> None: ...
    def advance(self, done: int, failed: int) -> None: ...


class Silent:
    """An observer that does nothing."""

    def say(self, message: str) -> None: ...
    def stage(self, name: str, total: int) -> None: ...
    def advance(self, done: int, failed: int) -> None: ...


LOG_EVERY_S = 20.0
Tell = Callable[[int, int, str], None]  # models or measurements done, failed among them, a line for the log


class OutOfTime(Exception):
    """The hours that the user gave are over."""


class Session:
    """One start of the program: its stages with their seconds, and what came of it."""

    def __init__(self, store: Store, observer: Observer):
        self.store, self.observer = store, observer
        self.started = self._logged = time.perf_counter()
        self._lines: list[str] = []
        self.record: dict[str, Any] = {
            "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "stages": {},
            "trained": 0,
            "measured": 0,
            "failed": 0,
        }

    @contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[None]:
        """A stage of so many models or measurements; its seconds are added to the record."""
        self.observer.stage(name, total)
        self.log(f"{name}: {total} to do" if total else name)
        mark = time.perf_counter()
        try:
            yield
        finally:
            spent = self.record["stages"].get(f"{name}_s", 0.0) + time.perf_counter() - mark
            self.record["stages"][f"{name}_s"] = round(spent, 3)

    def say(self, message: str) -> None:
        """Tell the observer and the log."""
        self.log(message)
        self.observer.say(message)

    def log(self, line: str) -> None:
        """A line of ``sessions/<start>.log``, with the time; written now and then, and at the end."""
        now = datetime.datetime.now(datetime.timezone.utc)
        self._lines.append(f"{now.isoformat(timespec='seconds')} {line}")
        if time.perf_counter() - self._logged > LOG_EVERY_S:
            self._write_log()

    def _write_log(self) -> None:
        self._logged = time.perf_counter()
        if self.store.exists():
            self.store.write_log(self.record["started"], "\n".join(self._lines) + "\n")

    def tell(self, count: str, kinds: tuple[str, ...]) -> Tell:
        """To be told of finished work: it counts, logs, and folds the records of these kinds now and then."""
        since = 0

        def told(done: int, failed: int, line: str) -> None:
            nonlocal since
            self.record[count] += done - failed
            self.record["failed"] += failed
            self.observer.advance(done, failed)
            self.log(line)
            since += 1
            if since >= FOLD_AT:
                since = 0
                for kind in kinds:
                    self.store.fold(kind)

        return told

    def write(self) -> None:
        """Keep it in the run folder, if there is one by now."""
        self.record["wall_s"] = round(time.perf_counter() - self.started, 3)
        if self.store.exists():
            self.store.write_session(self.record["started"], self.record)
            self._write_log()


@contextmanager
def deadline(hours: float | None) -> Iterator[None]:
    """End the block after so many hours, in the way Ctrl-C does.

    Raises:
        OutOfTime: the time was over before the block was.
    """
    if hours is None:
        yield
        return
    over = threading.Event()

    def end() -> None:
        over.set()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(hours * 3600, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if over.is_set():
            raise OutOfTime from None
        raise
    finally:
        timer.cancel()
