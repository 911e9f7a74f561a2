"""Session: the progress of one start of the program, for the observer and the run folder."""

from __future__ import annotations

import datetime
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import explorer.measures
from explorer.plan.units import Outcome, Span
from explorer.runs.store import COMPACT_AT, Store
from explorer.settings import plugin


class Observer(Protocol):
    """Receiver of a run's progress. ``stage`` gives the remaining work of a stage."""

    def say(self, message: str) -> None: ...
    def stage(self, name: str, total: int) -> None: ...
    def advance(self, stage: str, done: int, failed: int) -> None: ...


class SilentObserver:
    """An observer that does nothing."""

    def say(self, message: str) -> None: ...
    def stage(self, name: str, total: int) -> None: ...
    def advance(self, stage: str, done: int, failed: int) -> None: ...


LOG_EVERY_S = 20.0
Event = tuple[str, Span, dict[str, Any]]  # a piece of work: name, time and process, place in the grid


class Session:
    """One start of the program: the duration of its stages, and its results.

    The record has the wall seconds of each stage and, under ``workers``, the total seconds of all workers for
    training and for each measure. With ``profile``, it also keeps a trace.
    """

    def __init__(self, store: Store, observer: Observer, profile: bool = False):
        self.store, self.observer = store, observer
        self.started = self._logged = time.perf_counter()
        self._lines: list[str] = []
        self._uncompacted: Counter[str] = Counter()
        self._events: list[Event] | None = [] if profile else None
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
        """Run the block as a stage of ``total`` models or measurements, and add its seconds to the record."""
        self.observer.stage(name, total)
        self.log(f"{name}: {total} to do" if total else name)
        began, mark = time.time(), time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - mark
            _add(self.record["stages"], name, seconds)
            if self._events is not None:
                self._events.append((name, Span(began, seconds, "driver", os.getpid()), {}))

    def say(self, message: str) -> None:
        """Send a message to the observer and the log."""
        self.log(message)
        self.observer.say(message)

    def log(self, line: str) -> None:
        """Add a line with the time to ``sessions/<start>.log``, written periodically and at the end."""
        now = datetime.datetime.now(datetime.timezone.utc)
        self._lines.append(f"{now.isoformat(timespec='seconds')} {line}")
        if time.perf_counter() - self._logged > LOG_EVERY_S:
            self._write_log()

    def _write_log(self) -> None:
        self._logged = time.perf_counter()
        if self.store.exists():
            self.store.write_log(self.record["started"], "\n".join(self._lines) + "\n")

    def report(self, outcome: Outcome) -> None:
        """Count and log finished work, report it to the observer, and periodically merge records."""
        training = outcome.kind in ("training", "importing")
        failed = outcome.number if outcome.error else 0
        self.record["trained" if training else "measured"] += outcome.number - failed
        self.record["failed"] += failed
        self.observer.advance(outcome.kind if training else "measuring", outcome.number, failed)
        what = f"{outcome.kind} of {outcome.number} models" if training else outcome.kind
        if outcome.span is None:
            self.log(f"{what} at {outcome.at} failed: {outcome.error}")
            return
        span = outcome.span
        self.log(f"{what} at {outcome.at} in {span.seconds:.2f} s by {span.host} process {span.pid}")
        _add(self.record["workers"], outcome.kind, span.seconds)
        if self._events is not None:
            self._events.append((outcome.kind, span, outcome.at))
        self._uncompacted[outcome.kind] += 1
        if self._uncompacted[outcome.kind] >= COMPACT_AT:
            self._uncompacted[outcome.kind] = 0
            extra = ("epochs",) if training else plugin(explorer.measures, outcome.kind, "measure").EXTRA
            for kind in ("models" if training else outcome.kind, *extra):
                self.store.compact(kind)

    def write(self) -> None:
        """Write the session to the run folder if the folder exists."""
        self.record["wall_s"] = round(time.perf_counter() - self.started, 3)
        if self.store.exists():
            self.store.write_session(self.record["started"], self.record)
            self._write_log()
            if self._events is not None:
                self.store.write_trace(chrome_trace(self._events))


def add_stage(store: Store, session: dict[str, Any], name: str, seconds: float) -> None:
    """Add a stage after the session's end, such as drawing the pages, to the session's record."""
    _add(session["stages"], name, seconds)
    session["wall_s"] = round(session["wall_s"] + seconds, 3)
    store.write_session(session["started"], session)


def _add(seconds_of: dict[str, float], name: str, seconds: float) -> None:
    seconds_of[f"{name}_s"] = round(seconds_of.get(f"{name}_s", 0.0) + seconds, 3)


def chrome_trace(events: list[Event]) -> bytes:
    """Return the events as JSON in Chrome's ``traceEvents`` format, with one track per process.

    chrome://tracing and https://ui.perfetto.dev open it. Times are in microseconds since the first event.
    """
    hosts = list(dict.fromkeys(span.host for _, span, _ in events))
    events = sorted(events, key=lambda event: event[1].began)
    listed: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": place, "tid": 0, "args": {"name": host}}
        for place, host in enumerate(hosts)
    ]
    for name, span, at in events:
        listed.append(
            {
                "ph": "X",
                "name": name,
                "pid": hosts.index(span.host),
                "tid": span.pid,
                "ts": round(1e6 * (span.began - events[0][1].began)),
                "dur": round(1e6 * span.seconds),
                "args": at,
            }
        )
    return json.dumps({"traceEvents": listed, "displayTimeUnit": "ms"}).encode()
