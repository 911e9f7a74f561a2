"""A run folder is worked on by one driver at a time."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from typing import Any

from explorer import plainyaml
from explorer.files import Files
from explorer.settings import InputError

NAME = "hold.yaml"
BEAT_S = 20.0  # a hold is renewed so often
SETTLE_S = 0.5  # within which drivers that start at the same moment have all written theirs
STALE_S = 120.0  # a hold of another machine that was not renewed for so long is one that a crash left


class Hold:
    """Holds a run folder for as long as the block lasts.

    The file names host, process and the time of the last renewal. A hold left by a process of this
    machine that is no more, or not renewed by another machine for two minutes, does not block.

    Raises:
        InputError: another driver works on the run; the message says who.
    """

    def __init__(self, files: Files):
        self.files = files
        self.mine: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "born": _born(os.getpid()),
            "token": uuid.uuid4().hex,
        }
        self._stop = threading.Event()

    def _content(self) -> bytes:
        return plainyaml.dump({**self.mine, "renewed": time.time()})

    def __enter__(self) -> Hold:
        try:
            with self.files.alone() as locked:
                self._take()
        except OSError as error:
            raise InputError(f"{self.files.location} cannot be written: {error}") from error
        if not locked:  # there nothing is atomic: of those who took it at once, the last one has it
            time.sleep(SETTLE_S)
            other = self._read()
            if other is not None and other.get("token") != self.mine["token"]:
                raise self._refusal(other)
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()
        return self

    def _take(self) -> None:
        while not self.files.create(NAME, self._content()):
            other = self._read()
            if other is not None and self._alive(other):
                raise self._refusal(other)
            self.files.delete(NAME)

    def _refusal(self, other: dict[str, Any]) -> InputError:
        return InputError(
            f"{self.files.location} is held by process {other.get('pid')} on {other.get('host')}, "
            f"which renewed its hold {time.time() - _number(other.get('renewed')):.0f} s ago. "
            "Wait for it, or stop it; a hold that a crash leaves does not block."
        )

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        other = self._read()
        if other is not None and other.get("token") == self.mine["token"]:
            self.files.delete(NAME)

    def _renew(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                self.files.write(NAME, self._content())
            except OSError:
                continue  # a full disk must not end the run here; the next beat may succeed

    def _read(self) -> dict[str, Any] | None:
        try:
            other = plainyaml.load(self.files.read(NAME))
        except (OSError, ValueError):
            return None
        return other if isinstance(other, dict) else None

    def _alive(self, other: dict[str, Any]) -> bool:
        if other.get("host") == self.mine["host"]:
            pid = other.get("pid")
            # The start time tells a process from a later one that got its number.
            return isinstance(pid, int) and _born(pid) is not None and _born(pid) == other.get("born")
        return time.time() - _number(other.get("renewed")) < STALE_S


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _born(pid: int) -> str | None:
    """When a process of this machine started, in the kernel's ticks; None where it is no more."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    if os.path.isdir("/proc/self"):
        return None
    try:  # no /proc (macOS): whether it lives is all that can be told
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
