"""Cancellation of a run from any thread, and handling of Ctrl-C, SIGTERM and a closed terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
STOPS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
STOPPED_BY = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    getattr(signal, "SIGHUP", None): "the end of its terminal",
}
GRACE_S = 3.0  # time to shut down, during which further Ctrl-C are ignored


class Stopped(KeyboardInterrupt):
    """A signal that ends the program. The exit code is 128 plus its number, as in shells."""

    def __init__(self, number: int):
        super().__init__(number)
        self.code, self.by = 128 + number, STOPPED_BY[signal.Signals(number)]


class OutOfTime(Exception):
    """The user's time limit was reached."""


class Cancellation:
    """A request to stop, from any thread, with the exception to raise."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        self._patience_s: float | None = None
        self._requested, self._lock = threading.Event(), threading.Lock()

    def request(self, reason: BaseException, patience_s: float | None = None) -> None:
        """Request a stop. Only the first reason counts.

        Args:
            patience_s: seconds to wait for the work to end, if not as long as :meth:`run` says.
        """
        with self._lock:
            if self.reason is None:
                self.reason, self._patience_s = reason, patience_s
        self._requested.set()

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def check(self) -> None:
        """Raise the reason if a stop was requested."""
        if self.reason is not None:
            raise self.reason

    def sleep(self, seconds: float) -> None:
        """Sleep; if a stop is requested, wake up and raise its reason."""
        self._requested.wait(seconds)
        self.check()

    @contextmanager
    def after(self, hours: float | None) -> Iterator[None]:
        """Request a stop with :class:`OutOfTime` if the block takes longer than ``hours``."""
        if hours is None:
            yield
            return
        timer = threading.Timer(min(hours * 3600, threading.TIMEOUT_MAX), self.request, [OutOfTime()])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def run(self, work: Callable[[], T], patience_s: float) -> T:
        """Do the work in a new thread and return its result.

        Ctrl-C interrupts the caller's thread and requests a stop. The work ends when it next checks for a
        stop.

        Args:
            patience_s: seconds to wait for the work to end after a request; it is abandoned after that.

        Raises:
            BaseException: the reason of the stop, or the exception of the work.
        """
        results: list[T] = []
        errors: list[BaseException] = []
        ended = threading.Event()

        def call() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)
            finally:
                ended.set()

        threading.Thread(target=call, name="explorer", daemon=True).start()
        try:
            while not ended.wait(0.2) and not self.requested:
                pass
        except KeyboardInterrupt as interrupt:
            self.request(interrupt)
        if self.requested:
            ended.wait(patience_s if self._patience_s is None else self._patience_s)
            assert self.reason is not None
            raise self.reason from (errors[0] if errors and errors[0] is not self.reason else None)
        if errors:
            raise errors[0]
        return results[0]


@contextmanager
def delay_signals() -> Iterator[None]:
    """Delay signals that end the program until the block has ended. Works in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def end_on_first_signal() -> None:
    """Make each of these signals raise one :class:`Stopped`, and ignore repeats during the shutdown.

    Signals that the shell ignores for the program (Ctrl-C in the background, a closed terminal after
    ``nohup``) stay ignored.
    """
    last = -GRACE_S

    def stop(number: int, _: Any) -> None:
        nonlocal last
        if number not in (signal.SIGINT, signal.SIGTERM):
            leave_terminal()
        before, last = last, time.monotonic()
        if last - before >= GRACE_S:
            raise Stopped(number)

    for number in STOPS:
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def leave_terminal() -> None:
    """Read and write nothing from now on where a terminal was, which has been closed."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for file in range(3):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(file).st_mode):
                os.dup2(nothing, file)
    os.close(nothing)
