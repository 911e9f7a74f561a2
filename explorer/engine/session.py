"""What one start of the program does to a run: told to the observer, kept in the run folder."""

from __future__ import annotations

import datetime
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import explorer.measures
from explorer.engine import trace
from explorer.engine.work import Done, Span
from explorer.settings import plugin
from explorer.store import FOLD_AT, Store


class Observer(Protocol):
    """Hears how a run goes on. Stages may overlap; ``stage`` says how much of one is still to come."""

    def say(self, message: str) -> None: ...
    def stage(self, name: str, total: int) -> None: ...
    def advance(self, stage: str, done: int, failed: int) -> None: ...


class Silent:
    """An observer that does nothing."""

    def say(self, message: str) -> None: ...
    def stage(self, name: str, total: int) -> None: ...
    def advance(self, stage: str, done: int, failed: int) -> None: ...


LOG_EVERY_S = 20.0
INSIST_S = 5.0  # between interruptions of work that goes on after its time
Tell = Callable[[Done], None]


class OutOfTime(Exception):
    """The hours that the user gave are over."""


class Meanwhile:
    """Something that is done once, in a thread, if there is a moment for it."""

    def __init__(self, work: Callable[[], None] | None = None):
        self._work, self._thread = work, None

    def start(self) -> None:
        if self._work and not self._thread:
            self._thread = threading.Thread(target=self._work)
            self._thread.start()

    def join(self) -> None:
        if self._thread:
            self._thread.join()


class Session:
    """One start of the program: its stages with their seconds, and what came of it.

    The record has the wall seconds of each stage, and under ``workers`` the seconds of all workers
    together, split into training and each measure. With ``profile`` a trace of them is kept as well.
    """

    def __init__(
        self,
        store: Store,
        observer: Observer,
        profile: bool = False,
        meanwhile: Meanwhile | None = None,
    ):
        self.store, self.observer = store, observer
        self.meanwhile = meanwhile or Meanwhile()
        self.started = self._logged = time.perf_counter()
        self._lines: list[str] = []
        self._unfolded: Counter[str] = Counter()
        self._events: list[trace.Event] | None = [] if profile else None
        self.record: dict[str, Any] = {
            "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "stages": {},
            "workers": {},
            "trained": 0,
            "measured": 0,
            "failed": 0,
        }

    @contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[None]:
        """A stage of so many models or measurements; its seconds are added to the record."""
        self.observer.stage(name, total)
        self.log(f"{name}: {total} to do" if total else name)
        began, mark = time.time(), time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - mark
            _add(self.record["stages"], name, seconds)
            if self._events is not None:
                self._events.append(trace.Event(name, Span(began, seconds, "driver", os.getpid()), {}))

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

    def tell(self, done: Done) -> None:
        """To be told of finished work: it counts, logs, and folds records now and then."""
        training = done.kind == "training"
        failed = done.number if done.error else 0
        self.record["trained" if training else "measured"] += done.number - failed
        self.record["failed"] += failed
        self.observer.advance("training" if training else "measuring", done.number, failed)
        what = f"training of {done.number} models" if training else done.kind
        if done.span is None:
            self.log(f"{what} at {done.at} failed: {done.error}")
            return
        span = done.span
        self.log(f"{what} at {done.at} in {span.seconds:.2f} s by {span.host} process {span.pid}")
        _add(self.record["workers"], done.kind, span.seconds)
        if self._events is not None:
            self._events.append(trace.Event(done.kind, span, done.at))
        self._unfolded[done.kind] += 1
        if self._unfolded[done.kind] >= FOLD_AT:
            self._unfolded[done.kind] = 0
            extra = ("epochs",) if training else plugin(explorer.measures, done.kind, "measure").EXTRA
            for kind in ("models" if training else done.kind, *extra):
                self.store.fold(kind)

    def again(self) -> None:
        """Another round begins: what failed is tried again, and has failed only if it does so there too."""
        self.record["failed"] = 0

    def write(self) -> None:
        """Keep it in the run folder, if there is one by now."""
        self.record["wall_s"] = round(time.perf_counter() - self.started, 3)
        if self.store.exists():
            self.store.write_session(self.record["started"], self.record)
            self._write_log()
            if self._events is not None:
                self.store.write_trace(trace.chrome(self._events))


def add_stage(store: Store, session: dict[str, Any], name: str, seconds: float) -> None:
    """Add a stage that came after the session's end, such as the drawing of pages, to its record."""
    _add(session["stages"], name, seconds)
    session["wall_s"] = round(session["wall_s"] + seconds, 3)
    store.write_session(session["started"], session)


def _add(seconds_of: dict[str, float], name: str, seconds: float) -> None:
    seconds_of[f"{name}_s"] = round(seconds_of.get(f"{name}_s", 0.0) + seconds, 3)


class Deadline:
    """The hours that the user gave, if any.

    Only what is done while it :meth:`holds` is interrupted: an exception in the middle of an import would
    leave its lock held, and the program would hang.
    """

    def __init__(self, hours: float | None):
        self.over = False
        self._limited, self._holds, self._lock = hours is not None, False, threading.Lock()
        self._timer = threading.Timer((hours or 0) * 3600, self._end)
        self._timer.daemon = True
        if self._limited:
            self._timer.start()

    @contextmanager
    def holds(self) -> Iterator[None]:
        """What is done here ends with a KeyboardInterrupt, as with Ctrl-C, when the time is over.

        Raises:
            OutOfTime: it is over already.
        """
        with self._lock:
            if self.over:
                raise OutOfTime
            self._holds = True
        # A shell makes what a script puts into the background ignore the signal.
        ignored = self._limited and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        if ignored:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            self.cancel()
            if ignored:
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    def cancel(self) -> None:
        """Interrupt nothing any more."""
        self._timer.cancel()
        self._holds = False

    def _end(self) -> None:
        with self._lock:
            self.over = True
        # Again and again: an exception that comes up in a destructor is swallowed.
        while self._holds:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(INSIST_S)


@contextmanager
def deadline(hours: float | None) -> Iterator[Deadline]:
    """A block that ends after so many hours, as far as it lets the deadline hold.

    Raises:
        OutOfTime: the time was over before the block was.
    """
    limit = Deadline(hours)
    try:
        yield limit
    except KeyboardInterrupt:
        if limit.over:
            raise OutOfTime from None
        raise
    finally:
        limit.cancel()
