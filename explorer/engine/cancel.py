"""Stopping a run from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class OutOfTime(Exception):
    """The hours that the user gave are over."""


class Cancellation:
    """A request to stop, made from any thread, with the reason to raise."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        self._requested, self._lock = threading.Event(), threading.Lock()

    def request(self, reason: BaseException) -> None:
        """Ask for the stop. The first reason counts."""
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
        """Wait so long, or until a stop is requested, and raise the reason then."""
        self._requested.wait(seconds)
        self.check()

    @contextmanager
    def after(self, hours: float | None) -> Iterator[None]:
        """Request a stop, with :class:`OutOfTime`, once the block has lasted so many hours."""
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
        """Do the work in a thread and return its result.

        The caller's thread stays free to be interrupted: Ctrl-C there requests the stop. The work ends by
        itself when it next checks for one.

        Args:
            patience_s: work that has not ended so long after the request is left behind.

        Raises:
            BaseException: the reason of the stop, or what the work raised.
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
