"""Notices when a server of our own Ray is killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOOK_S = 0.25
INSIST_S = 5.0  # between interruptions of what does not end


class RayLostError(OSError):
    """Ray has ended beside its run."""


@contextmanager
def guarded() -> Iterator[None]:
    """A block that is interrupted, as with Ctrl-C, when a server of a Ray of our own ends meanwhile.

    Ray itself would wait a minute for its control service, or end the program with pages of its own state;
    neither says what to do, nor ends all processes.

    Raises:
        RayLostError: one has ended.
    """
    from ray._private import worker

    own: Any = worker._global_node
    started = [(kind, one.process) for kind, some in own.all_processes.items() for one in some] if own else []
    lost: list[str] = []
    over = threading.Event()

    def watch() -> None:
        wait_s = LOOK_S
        while not over.wait(wait_s):
            lost.extend(kind for kind, process in started if process.poll() is not None and kind not in lost)
            if lost and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
                wait_s = INSIST_S
                os.kill(os.getpid(), signal.SIGINT)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        over.set()
        if lost:
            raise RayLostError(f"Ray's {lost[0]} has ended; something has killed it") from error
        raise
    finally:
        over.set()
        watching.join()
