"""Cancellation of a run from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


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
