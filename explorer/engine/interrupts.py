"""Handling of Ctrl-C, SIGTERM and a closed terminal where an exception would leave work half-done."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
GRACE_S = 3.0  # time to shut down, during which further Ctrl-C are ignored


@contextmanager
def held_back() -> Iterator[None]:
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


def end_once() -> None:
    """Make each of these signals raise one KeyboardInterrupt, and ignore repeats during the shutdown.

    Signals that the shell ignores for the program (Ctrl-C in the background, a closed terminal after
    ``nohup``) stay ignored.
    """
    last = -GRACE_S

    def stop(*_: Any) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before >= GRACE_S:
            raise KeyboardInterrupt

    for number in STOPS:
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
