"""Started by Ray as a worker, by its path: has the server fork the worker, or becomes it.

Nothing but the standard library is imported, and little of that: this is the time that a worker waits.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose modules are none for a worker

import json
import socket
from importlib.util import find_spec

ADDRESS = "EXPLORER_FORKS"  # the variable that says where the server listens


def forked(address: str, arguments: list[str]) -> bool:
    """Whether the server at this address has forked a worker with these arguments, in our place."""
    asked = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(address)
            sent = socket.send_fds(server, [asked], [0, 1, 2])
            server.sendall(asked[sent:])
            server.shutdown(socket.SHUT_WR)
            return bool(server.recv(1))
    except OSError:
        return False


def default_worker() -> str:
    """The program of a worker, as Ray has it."""
    ray = find_spec("ray")
    origin = ray.origin if ray else None
    assert origin, "Ray is not installed"
    return os.path.join(os.path.dirname(origin), "_private", "workers", "default_worker.py")


if __name__ == "__main__":
    if not forked(os.environ.get(ADDRESS, ""), sys.argv[1:]):
        os.execv(sys.executable, [sys.executable, default_worker(), *sys.argv[1:]])
