"""A request to stop, from any thread."""

from __future__ import annotations

import threading
import time

import pytest

from explorer.engine.cancel import Cancellation, OutOfTime


def test_work_ends_with_its_result_or_its_error() -> None:
    assert Cancellation().run(lambda: 3, 60) == 3
    with pytest.raises(ZeroDivisionError):
        Cancellation().run(lambda: 1 // 0, 60)
    assert Cancellation().run(lambda: threading.current_thread() is threading.main_thread(), 60) is False


def test_a_stop_from_another_thread_ends_work_that_looks_for_it() -> None:
    cancel, ended = Cancellation(), []

    def work() -> None:
        try:
            cancel.sleep(60)
        finally:
            ended.append(True)

    threading.Timer(0.1, cancel.request, [KeyError("why")]).start()
    with pytest.raises(KeyError, match="why"):
        cancel.run(work, 60)
    cancel.request(ValueError("later"))  # the first reason counts
    with pytest.raises(KeyError):
        cancel.check()
    assert ended == [True]


def test_work_that_never_looks_is_left_behind() -> None:
    cancel, end = Cancellation(), threading.Event()
    mark = time.monotonic()
    with pytest.raises(OutOfTime), cancel.after(0.1 / 3600):
        cancel.run(end.wait, 0.1)
    assert time.monotonic() - mark < 5
    end.set()


def test_the_time_of_a_block_that_has_ended_stops_nothing() -> None:
    cancel = Cancellation()
    with cancel.after(0.05 / 3600):
        pass
    time.sleep(0.1)
    assert not cancel.requested
