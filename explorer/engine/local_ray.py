"""A Ray of our own on this machine: listens on the loopback address only, and ends with all its processes.

Uses only Ray's public interface: ``ray.init`` and documented environment variables.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from explorer.engine import ray_workarounds
from explorer.engine.cancel import Cancellation, delay_signals

# Environment variables for the servers of a Ray that we start.
SERVERS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on this machine's loopback address only
    **ray_workarounds.SERVERS,
}
SCRATCH = "explorer-ray-"  # prefix of the private folder's name; random characters follow
IN_USE = "in-use.lock"  # file in that folder, locked while its process lives, also in another container
ROOM_BYTES = 10_000_000  # Ray exits without a message if the disk of its folder is full
WATCH_S = 0.25  # interval between two checks of Ray's servers
END_S = 5.0  # time for Ray's processes to end after ray.shutdown(); agents of a dead server need a minute


class RayLostError(OSError):
    """Error: Ray did not start, is unsafe to use, or one of its servers ended during the run."""


@contextmanager
def local_ray(cpus: float | None, gpus: int | None, cancel: Cancellation, scratch: str) -> Iterator[None]:
    """Start a Ray of our own for the block and stop it afterwards.

    If one of its servers ends during the block, ``cancel`` is requested. Ray itself would wait forever.

    Raises:
        RayLostError: Ray did not start, or can be reached from other machines.
    """
    before, mine = set(psutil.Process().children()), _listening(psutil.Process())
    _create_token()
    import ray

    try:
        # An exception during the start would leave unknown processes behind.
        with environment({"RAY_TMPDIR": scratch}), delay_signals():
            handler = signal.getsignal(signal.SIGTERM)
            try:
                ray.init(
                    address="local",
                    num_cpus=max(1, math.ceil(cpus)) if cpus else None,
                    num_gpus=gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except Exception as error:  # Ray does not name the cause: memory, disk, a busy machine
                why = " ".join(str(error).split()).rstrip(".")
                raise RayLostError(f"Ray did not start: {why}{_advice(error)}") from error
            except SystemExit:  # raised by Ray's own handler of SIGTERM
                signal.signal(signal.SIGTERM, handler)
                signal.raise_signal(signal.SIGTERM)
            finally:
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, handler)  # Ray replaces it
        servers = [process for process in psutil.Process().children() if process not in before]
        _require_loopback(_with_descendants(servers), _listening(psutil.Process()) - mine)
        needed = [(name, p) for p in servers if (name := p.name()) in ("raylet", "gcs_server")]
        with watched(cancel, WATCH_S, lambda: _ended_server(needed)):
            yield
    finally:
        with delay_signals():
            servers = [process for process in psutil.Process().children() if process not in before]
            processes = _with_descendants(servers)
            ray.shutdown()
            for late in psutil.wait_procs(processes, timeout=END_S)[1]:
                with suppress(psutil.NoSuchProcess):
                    late.kill()


@contextmanager
def watched(
    cancel: Cancellation,
    interval_s: float,
    find_loss: Callable[[], str],
    patience_s: float | None = None,
    error: type[OSError] = RayLostError,
) -> Iterator[None]:
    """Request cancellation with an ``error`` if Ray, or what else is watched, is lost during the block.

    Args:
        interval_s: seconds between two checks.
        find_loss: returns how it was lost, or an empty text.
        patience_s: see :meth:`Cancellation.request`.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(interval_s):
            if loss := find_loss():
                cancel.request(error(loss), patience_s)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _ended_server(servers: list[tuple[str, psutil.Process]]) -> str:
    """Return which of the named server processes has ended, or an empty text."""
    for name, process in servers:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return f"Ray's {name} has ended; something has killed it"
    return ""


def _with_descendants(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return these processes and all their live descendants."""
    every = list(processes)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            every += process.children(recursive=True)
    return every


def _require_loopback(processes: list[psutil.Process], mine: set[str]) -> None:
    """Raise RayLostError if these processes listen on any address except this machine's loopback address.

    Anyone who can reach a Ray server can run code with it. ``mine`` has the addresses of this process.
    """
    reachable = mine.union(*map(_listening, processes))
    if not reachable:
        return
    raise RayLostError(
        f"Ray listens on {', '.join(sorted(reachable))}, where other machines can reach it, so Explorer does "
        "not use it. Ray was probably imported before Explorer could restrict it. Set the environment "
        "variable RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before importing Ray, or call ray.init() yourself; "
        "Explorer then uses that Ray"
    )


def _listening(process: psutil.Process) -> set[str]:
    """Return the non-loopback addresses on which a process listens."""
    try:
        connections = process.net_connections(kind="inet")
    except psutil.NoSuchProcess:
        return set()
    hosts = {str(c.laddr[0]) for c in connections if c.status == psutil.CONN_LISTEN and c.laddr}
    return {host for host in hosts if not _is_loopback(host)}


def _is_loopback(host: str) -> bool:
    address = ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _create_token() -> None:
    """Create the user's Ray token if there is none, and see to it that only the user can read it.

    Ray itself makes the file readable by everyone. It stays in the home folder, because a process keeps its
    first token: with another one, a Ray that the caller starts afterwards would not answer.

    Raises:
        RayLostError: the home folder is not writable.
    """
    token = Path.home() / ".ray" / "auth_token"
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        if token.exists():
            if token.stat().st_mode & 0o077:
                token.chmod(0o600)
            return
        token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:  # another process was faster
        pass
    except OSError as error:
        raise RayLostError(f"Ray did not start: {error}{_advice(error)}") from error


def _advice(error: Exception) -> str:
    if "AF_UNIX path length" in str(error) or isinstance(error, UnicodeError):
        return ". Set RAY_TMPDIR to a folder with a short path of plain letters"
    if "timed out" in str(error):  # Ray waits for half a minute
        return ". Start again when this machine is less busy"
    if "home directory" in str(error) or (isinstance(error, OSError) and ".ray" in str(error.filename)):
        return ". Ray keeps a token in the home folder: set HOME to a writable folder"
    return ""


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these variables for the block. Restore them afterwards, and remove those that Ray has set."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            if name in values or name.startswith(("RAY_", "TUNE_", "PYTHONBREAKPOINT")):
                del os.environ[name]
        os.environ.update({name: before[name] for name in values if name in before})


@contextmanager
def scratch_folder(*, keep: bool) -> Iterator[str]:
    """Provide a private folder with a short path. Delete it afterwards, and those of killed processes first.

    Ray puts its sockets there, and socket paths must be short.

    Args:
        keep: the folder stays if Ray was lost, because Ray's logs may show the cause.
    """
    root = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    root = root if root.is_dir() else Path(tempfile.gettempdir())
    free = shutil.disk_usage(root).free
    if free < ROOM_BYTES:
        raise RayLostError(
            f"Ray did not start: {root}, where it keeps its files, has {free / 1e6:.1f} MB left; "
            f"{ROOM_BYTES / 1e6:.0f} MB are needed. Free some space, or set RAY_TMPDIR to another folder"
        )
    for old in root.glob(f"{SCRATCH}*/{IN_USE}"):
        with suppress(OSError, Timeout), FileLock(old, timeout=0):  # free: its process has ended
            shutil.rmtree(old.parent, ignore_errors=True)
    new = tempfile.mkdtemp(prefix="explorer-new-", dir=root)
    in_use, delete = FileLock(Path(new) / IN_USE), True
    in_use.acquire()
    folder = new.replace("explorer-new-", SCRATCH)  # only now do others look for the lock
    os.rename(new, folder)
    try:
        yield folder
    except RayLostError as error:
        if keep:
            delete = False
            error.args = (f"{error}. Ray's logs are in {folder}",)
        raise
    finally:
        in_use.release()
        if delete:
            shutil.rmtree(folder, ignore_errors=True)
