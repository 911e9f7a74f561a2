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
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NoReturn

from explorer.engine.forks import ask
from explorer.interrupts import held_back

SERVE = (
    "import sys; sys.path.remove(''); from explorer.engine.forks.server import serve; serve(int(sys.argv[1]))"
)
LIFE = 0  # the server's standard input, which ends with the driver
WAITING = 128  # workers that may ask while the server still imports
PORTION = 2**16  # bytes
LENGTH = struct.Struct("Q")  # of a message, before it
OF_RAY = "RAY_"  # variables that Ray keeps as it finds them when it is imported
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
        with held_back():
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
    """Have a worker forked for each that asks, until the driver has gone. Returns in no process at all.

    All that a worker imports is imported here, but Ray: it keeps what it finds in the environment then, such
    as the job. So it is imported in forks of this process, one for each such environment (two in a usual
    run), which fork the workers. Nothing is started that a fork would not survive, such as threads, a
    device or a connection.
    """
    _import(IMPORTED)
    seeds: dict[tuple[tuple[str, str], ...], socket.socket] = {}
    with socket.socket(fileno=listening) as listener:
        while True:
            ready, _, _ = select.select([listener, LIFE], [], [])
            if LIFE in ready:
                os._exit(0)  # and so all forks end
            asked, _ = listener.accept()
            with asked:
                told, standard, _, _ = socket.recv_fds(asked, PORTION, 3)
                while more := asked.recv(PORTION):
                    told += more
                environment = json.loads(told)[2]
                kind = tuple(sorted(one for one in environment.items() if one[0].startswith(OF_RAY)))
                if kind not in seeds:
                    seeds[kind], its = socket.socketpair()
                    if not os.fork():
                        break
                    its.close()
                with suppress(OSError):  # it was killed; who asked becomes a worker by himself
                    socket.send_fds(seeds[kind], [LENGTH.pack(len(told))], [*standard, asked.fileno()])
                    seeds[kind].sendall(told)
            for one in standard:
                os.close(one)
    for other in seeds.values():
        other.close()
    _fork_workers(its, environment)


def _import(modules: Iterable[str]) -> None:
    for name in modules:
        with suppress(ImportError):
            import_module(name)
    gc.freeze()  # what a worker never changes stays one copy in memory, and out of its collector's way


def _fork_workers(asking: socket.socket, environment: dict[str, str]) -> NoReturn:
    """Import Ray in this environment; then fork a worker for each that asks, until the server has gone."""
    os.environ.clear()
    os.environ.update(environment)
    _import_ray()
    workers: list[int] = []

    def reap(*_: object) -> None:
        workers[:] = [worker for worker in workers if not os.waitpid(worker, os.WNOHANG)[0]]

    signal.signal(signal.SIGCHLD, reap)
    while True:
        head, passed, _, _ = socket.recv_fds(asking, LENGTH.size, 4)
        if not head:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # so that no number becomes another process's
            for worker in workers:  # they would notice it after a second or two, and work on till then
                os.kill(worker, signal.SIGKILL)
            os._exit(0)
        (left,), told = LENGTH.unpack(head), b""
        while left > len(told):
            told += asking.recv(left - len(told))
        *standard, answer = passed
        worker = os.fork()
        if not worker:
            asking.close()
            os.close(answer)
            _become(standard, *json.loads(told))
        workers.append(worker)
        with suppress(OSError):  # who asked was killed meanwhile
            os.write(answer, b"1")
        for one in passed:
            os.close(one)


def _import_ray() -> None:
    """Import Ray and what a worker needs of it, and draw none of Ray's random identifiers.

    The generator of these is seeded at its first use: forks that came after it would all draw the same ones,
    and take each other's objects for their own. Ends this process, so that workers start as Ray starts them,
    if another Ray draws one all the same.
    """
    import ray.actor
    from ray._raylet import ActorClassID, UniqueID  # pyright: ignore[reportAttributeAccessIssue]

    from explorer.engine.lean import instead

    def of_system() -> Any:
        return ActorClassID(os.urandom(ActorClassID.size()))

    def drawn_by_a_fork() -> bytes:
        ours, its = os.pipe()
        child = os.fork()
        if not child:
            os.write(its, UniqueID.from_random().binary())
            os._exit(0)
        os.close(its)
        with open(ours, "rb") as told:
            drawn = told.read()
        os.waitpid(child, 0)
        return drawn

    with instead(ray.actor, "ActorClassID", SimpleNamespace(from_random=of_system)):  # of Ray's own actors
        _import(["explorer.engine.ahead"])
    if drawn_by_a_fork() == drawn_by_a_fork():
        os._exit(1)


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
