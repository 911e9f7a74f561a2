"""Notices when a server of our own Ray is killed."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from explorer.engine.lean import below

LOOK_S = 0.25
INSIST_S = 5.0  # between interruptions of what does not end
HOPELESS_S = 20.0  # by then, some call to Ray waits for what will never come
FAILED = 3  # the exit code of a run that ended with failures


class RayLostError(OSError):
    """Our own Ray has not started, or has ended beside its run."""


class Guard:
    """Watches the servers of a Ray of our own, from its start to :meth:`end`; those of others it does not.

    Ray itself would wait a minute for its control service, or end the program with pages of its own state;
    neither says what to do, nor ends all processes.
    """

    def __init__(self) -> None:
        from ray._private import worker

        own: Any = worker._global_node
        self._servers = [(kind, one.process) for kind, all_ in own.all_processes.items() for one in all_]
        self._lost = self._run = ""
        self._holds = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @contextmanager
    def holds(self, run: str) -> Iterator[None]:
        """What is done here is interrupted, as with Ctrl-C, when a server ends.

        Args:
            run: the folder or URI that ``resume`` takes, for who has to go on where even that is in vain.

        Raises:
            RayLostError: one has ended.
        """
        self._holds, self._run = True, run
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if self._lost:
                raise RayLostError(self._lost) from error
            raise
        finally:
            self._holds = False

    def end(self) -> None:
        """Ray has ended, as it should."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            gone = [kind for kind, process in self._servers if process.poll() is not None]
            if gone and self._holds:
                self._lost = f"Ray's {gone[0]} has ended; something has killed it"
                self._interrupt()
                return

    def _interrupt(self) -> None:
        since = time.monotonic()
        while time.monotonic() - since < HOPELESS_S:
            if self._holds and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
                os.kill(os.getpid(), signal.SIGINT)
            if self._over.wait(INSIST_S):
                return
        go_on = f"What is finished is kept. Go on with: resume {shlex.quote(self._run)}"
        print(f"Error: {self._lost}\n{go_on}", file=sys.stderr, flush=True)
        for process in below(os.getpid())[1:]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        os._exit(FAILED)
