"""Lock of a run folder: only one driver at a time works on a run."""

from __future__ import annotations

import os
import shlex
import socket
import threading
import time
import uuid
from contextlib import ExitStack
from typing import Any

import psutil
from filelock import FileLock, Timeout

from explorer.runs import plainyaml
from explorer.runs.files import Files, GoneError, cause
from explorer.settings import InputError

HOLD_FILE = "hold.yaml"
LOCK_FILE = "hold.lock"  # empty; stays in a local folder
WAIT_S = 0.2  # wait for the lock; its new holder writes the hold file meanwhile
RENEW_EVERY_S = 20.0  # interval between two renewals of a hold
SETTLE_S = 0.5  # time for drivers that start simultaneously to write their holds
STALE_S = 120.0  # a hold without renewal for this long is left over from a crash


class RunLock:
    """Exclusive hold of a run folder for the duration of a block.

    A local folder is locked by the operating system, which releases the lock when the process ends. A file
    contains the host, the process id and the time of the last renewal. On an object store, and on a disk
    without locks, only this file marks the hold: if several drivers start at the same moment, the last one to
    write the file gets the run. The file does not block if it was not renewed for two minutes, or if its
    process ran on this machine and has ended or has released the lock.

    Raises:
        InputError: another driver works on the run (the message names it), or the folder cannot be written.
        GoneError: the folder was moved or deleted during the block, and something failed.
    """

    def __init__(self, files: Files):
        self.files = files
        self.holder: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "token": uuid.uuid4().hex,
        }
        self._cleanup = ExitStack()
        self._inode: tuple[int, int] | None = None  # of the lock file of a local folder

    def __enter__(self) -> RunLock:
        with ExitStack() as cleanup:
            try:
                locked = self._lock(cleanup)
                other = self._read()
                if self._blocks(other, locked):
                    raise self._refusal(other)
                self.files.write(HOLD_FILE, self._content())
            except OSError as error:
                raise InputError(f"{self.files.location} cannot be written: {cause(error)}") from error
            cleanup.callback(self._delete_hold)
            if not locked:
                time.sleep(SETTLE_S)
                other = self._read()
                if other and other.get("token") != self.holder["token"]:
                    raise self._refusal(other)
            stop = threading.Event()
            renewing = threading.Thread(target=self._renew, args=(stop,), daemon=True)
            renewing.start()
            cleanup.callback(renewing.join)
            cleanup.callback(stop.set)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        with self._cleanup:
            if isinstance(error, Exception) and (loss := self.find_loss()):
                raise GoneError(loss) from error

    def find_loss(self) -> str:
        """Return that the folder was moved (and where to) or deleted; empty if it is where it was."""
        files = self.files
        try:
            if self._inode is None:
                if files.exists(HOLD_FILE) or files.exists("run.yaml"):
                    return ""
            elif _inode(files.path(LOCK_FILE)) == self._inode:
                return ""
        except OSError:  # storage that does not answer is not lost
            return ""
        for opened in psutil.Process().open_files() if self._inode else []:
            if _inode(opened.path) == self._inode:
                place = os.path.dirname(opened.path)
                how = f"`resume {shlex.quote(place)}` continues it"
                return f"{files.absolute} was moved to {place} during the work; {how}"
        return f"{files.absolute} was deleted or moved to another disk during the work"

    def _lock(self, cleanup: ExitStack) -> bool:
        """Lock a local folder until ``cleanup`` is closed. Return False if the storage has no locks."""
        if not self.files.local:
            return False
        os.makedirs(self.files.root, exist_ok=True)
        lock = FileLock(self.files.path(LOCK_FILE), fallback_to_soft=False)
        try:
            lock.acquire(timeout=WAIT_S)
        except Timeout:
            raise self._refusal(self._read()) from None
        except (OSError, NotImplementedError):  # some network file systems have no locks
            return False
        cleanup.callback(lock.release)
        self._inode = _inode(lock.lock_file)
        return True

    def _content(self) -> bytes:
        return plainyaml.dump({**self.holder, "renewed": time.time()})

    def _read(self) -> dict[str, Any]:
        """Return the content of the hold file; empty if it is missing or damaged."""
        try:
            other = plainyaml.load(self.files.read(HOLD_FILE))
        except (OSError, ValueError):
            return {}
        return other if isinstance(other, dict) else {}

    def _blocks(self, other: dict[str, Any], locked: bool) -> bool:
        if not other or time.time() - _number_or_zero(other.get("renewed")) >= STALE_S:
            return False
        if other.get("host") != self.holder["host"]:
            return True
        pid = other.get("pid")
        return not locked and isinstance(pid, int) and psutil.pid_exists(pid)

    def _refusal(self, other: dict[str, Any]) -> InputError:
        who = "another process on this machine, which has just started"
        if other:
            who = (
                f"process {other.get('pid')} on {other.get('host')}, "
                f"which renewed its hold {time.time() - _number_or_zero(other.get('renewed')):.0f} s ago"
            )
        return InputError(
            f"{self.files.location} is held by {who}. "
            "Wait for that process or stop it. The hold of a crashed process expires by itself."
        )

    def _delete_hold(self) -> None:
        if self._read().get("token") == self.holder["token"]:
            self.files.delete(HOLD_FILE)

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(RENEW_EVERY_S):
            try:
                if not self.find_loss():
                    self.files.write(HOLD_FILE, self._content())
            except OSError:
                continue  # a full disk must not end the run here; the next beat may succeed


def _inode(path: str) -> tuple[int, int] | None:
    """Return what identifies a local file, wherever it is moved; None if it does not exist."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _number_or_zero(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
