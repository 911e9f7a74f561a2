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
        self._requested, self._lock = threading.Event(), threading.Lock()

    def request(self, reason: BaseException) -> None:
        """Request a stop. The first reason counts."""
        with self._lock:
            self.reason = self.reason or reason
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
        timer = threading.Timer(hours * 3600, self.request, [OutOfTime()])
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
            ended.wait(patience_s)
            assert self.reason is not None
            raise self.reason from (errors[0] if errors and errors[0] is not self.reason else None)
        if errors:
            raise errors[0]
        return results[0]
