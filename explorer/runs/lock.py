"""Lock of a run folder: only one driver at a time works on a run."""

from __future__ import annotations

import functools
import os
import shlex
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from explorer import plainyaml
from explorer.runs.files import Files, GoneError, cause
from explorer.settings import InputError, cut, shown

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
    process ran on this machine, in this container, and has ended or has released the lock. A container may
    see neither the processes nor the locks of another one; then only the renewals count.

    Args:
        worth_keeping: returns whether a folder that this lock has created is to stay if the block fails; by
            default it always stays.

    Raises:
        InputError: another driver works on the run (the message names it), or the folder cannot be written.
        GoneError: the folder was moved or deleted during the block, and something failed.
    """

    def __init__(self, files: Files, worth_keeping: Callable[[], bool] = lambda: True):
        self.files, self.worth_keeping = files, worth_keeping
        self._created = self._failed = False
        self.holder: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "space": _process_space(),
            "token": uuid.uuid4().hex,
            "since": time.time(),
        }
        self._cleanup = ExitStack()
        self._inode: tuple[int, int] | None = None  # of the lock file of a local folder

    def __enter__(self) -> RunLock:
        with ExitStack() as cleanup:
            try:
                self._created = self.files.create()
                locked = self._lock(cleanup)
                cleanup.callback(self._drop_new_folder)
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
        loss = self.find_loss() if error else ""
        self._failed = bool(error) and not loss
        with self._cleanup:
            if loss and isinstance(error, Exception):
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

    def _drop_new_folder(self) -> None:
        if self._created and self._failed and not self.worth_keeping():
            self.files.delete_all()

    def _lock(self, cleanup: ExitStack) -> bool:
        """Lock a local folder until ``cleanup`` is closed. Return False if the storage has no locks."""
        if not self.files.local:
            return False
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
        return _hold(self.files)

    def _blocks(self, other: dict[str, Any], locked: bool) -> bool:
        if _age(other) < -STALE_S:  # by its clock: only a further renewal shows that it lives
            time.sleep(RENEW_EVERY_S + WAIT_S)
            return self._read().get("renewed") not in (None, other.get("renewed"))
        return _alive(other) and not (locked and _is_here(other))

    def _refusal(self, other: dict[str, Any]) -> InputError:
        who = "another process on this machine, which has just started"
        if other:
            who = (
                f"process {shown(other.get('pid'))} on {cut(str(other.get('host')))}, which renewed its hold "
                + (f"{age:.0f} s ago" if (age := _age(other)) >= 0 else f"{-age:.0f} s from now by its clock")
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


def holder(files: Files) -> str:
    """Return which process works on a run now, as ``Process 7 on host (since 12:05)``; empty if none does."""
    hold = _hold(files)
    if not _alive(hold):
        return ""
    try:
        since = time.strftime(" (since %Y-%m-%d %H:%M)", time.localtime(float(hold["since"])))
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        since = ""
    return f"Process {shown(hold.get('pid'))} on {cut(str(hold.get('host')))}{since}"


def _hold(files: Files) -> dict[str, Any]:
    """Return the content of the hold file; empty if it is missing or damaged."""
    try:
        hold = plainyaml.load(files.read(HOLD_FILE))
    except (OSError, ValueError):
        return {}
    return hold if isinstance(hold, dict) else {}


def _alive(hold: dict[str, Any]) -> bool:
    """Return whether a hold was renewed recently, and its process lives as far as this machine knows."""
    if not hold or abs(_age(hold)) >= STALE_S:
        return False
    pid = hold.get("pid")
    return not _is_here(hold) or (isinstance(pid, int) and 0 < pid < 2**31 and psutil.pid_exists(pid))


def _is_here(hold: dict[str, Any]) -> bool:
    """Return whether the process of a hold can be seen from this process: same boot, same container."""
    here = hold.get("space", _process_space()) == _process_space()  # earlier versions wrote no space
    return here and hold.get("host") == socket.gethostname()


@functools.cache
def _process_space() -> str:
    """Return what identifies the processes that this one can see: the boot and the namespace of their ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""


def _age(hold: dict[str, Any]) -> float:
    """Return the seconds since a hold was renewed, by the clocks of both machines."""
    return time.time() - _number_or_zero(hold.get("renewed"))


def _number_or_zero(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else 0.0
