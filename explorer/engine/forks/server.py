"""The process that workers are forked from, and what the driver does about it."""

from __future__ import annotations

import gc
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import NoReturn

from explorer.engine.forks import ask
from explorer.importing import importing

SERVE = (
    "import sys; sys.path.remove(''); from explorer.engine.forks.server import serve; serve(int(sys.argv[1]))"
)
LIFE = 0  # the server's standard input, which ends with the driver
WAITING = 128  # workers that may ask while the server still imports
PORTION = 2**16  # bytes
IMPORTED = (
    "explorer.engine.worker",
    # Of what Ray and Tune import, the large ones. A package that is not there is none that they miss.
    *("pandas", "jsonschema", "requests", "google.protobuf.descriptor_pb2", "fsspec", "rich.console"),
)


@contextmanager
def fork_server(folder: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes] | None]:
    """The server, which listens in ``folder`` as long as the block lasts, and no longer than this process.

    It gets ``environment`` beside our own. None where there can be no server: on another system than
    Linux, or in a folder whose path is too long for a socket.
    """
    listener = _listener(folder)
    if listener is None:
        yield None
        return
    with listener:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            cwd=folder,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C is for the driver
        )
    try:
        yield server
    finally:
        server.kill()
        server.communicate()


def address(folder: str) -> str:
    """Where the server of this folder listens."""
    return os.path.join(folder, "forks")


def _listener(folder: str) -> socket.socket | None:
    if sys.platform != "linux":
        return None
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(address(folder))
    except OSError:
        listener.close()
        return None
    listener.listen(WAITING)
    return listener


def serve(listening: int) -> None:
    """Fork a worker for each that asks, until the driver has gone. Returns in no process at all.

    All that a worker imports is imported here, but Ray: it keeps what it finds in the environment then, and
    that is another one in each worker. Nothing is started that a fork would not survive, such as threads, a
    device or a connection.
    """
    with importing():
        for name in IMPORTED:
            with suppress(ImportError):
                import_module(name)
    gc.freeze()  # what a worker never changes stays one copy in memory, and out of its collector's way
    workers: list[int] = []

    def reap(*_: object) -> None:
        workers[:] = [worker for worker in workers if not os.waitpid(worker, os.WNOHANG)[0]]

    signal.signal(signal.SIGCHLD, reap)
    with socket.socket(fileno=listening) as listener:
        while True:
            ready, _, _ = select.select([listener, LIFE], [], [])
            if LIFE in ready:
                signal.signal(
                    signal.SIGCHLD, signal.SIG_DFL
                )  # no reaping: no number becomes another process's
                for worker in workers:  # they would notice it after a second or two, and work on till then
                    os.kill(worker, signal.SIGKILL)
                os._exit(0)
            asked, _ = listener.accept()
            with asked:
                told, standard, _, _ = socket.recv_fds(asked, PORTION, 3)
                while more := asked.recv(PORTION):
                    told += more
                worker = os.fork()
                if not worker:
                    break
                workers.append(worker)
                with suppress(OSError):  # it was killed meanwhile
                    asked.send(b"1")
            for one in standard:
                os.close(one)
    _become(standard, *json.loads(told))


def _become(standard: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    """Be the worker, as if Ray had started it."""
    os.setpgid(0, 0)  # Ray ends the group of a worker with it
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for place, one in enumerate(standard):
        os.dup2(one, place)
        os.close(one)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    program = ask.default_worker()
    sys.argv = [program, *arguments]
    random.seed()
    runpy.run_path(program, run_name="__main__")
    sys.exit()
