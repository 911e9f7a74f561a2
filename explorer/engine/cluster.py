"""Connection to Ray: starts it on this machine, joins a cluster, or uses the caller's; cleans up afterwards.

Uses only Ray's public interface: ``ray.init`` and documented environment variables.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import psutil

from explorer.engine import ray_workarounds
from explorer.engine.cancel import Cancellation, held_back
from explorer.engine.where import NO_CLIENT, Where
from explorer.settings import InputError
from explorer.space.model import ResourceOptions

# Environment variables for Ray and Tune in the driver. A value set by the user wins.
DRIVER = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # workers without a GPU request see no GPU
    "RAY_ENABLE_AUTO_CONNECT": "0",  # remains of a stopped run must not start another Ray
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # we report each failure, once
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # results are in our records; nothing reads Tune's files
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # nothing reads its checkpoints either
    "TUNE_WARN_THRESHOLD_S": "3600",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",  # a stopped trial may be in a long step
}
# Environment variables for the servers of a Ray that we start.
SERVERS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on this machine's loopback address only
    **ray_workarounds.SERVERS,
}
LOGGERS = ("ray", "ray.tune", "ray.train")
SCRATCH = "explorer-"  # prefix of the private folder's name; the process id and random characters follow
ROOM_BYTES = 10_000_000  # Ray exits without a message if the disk of its folder is full
TUNE_STOPS_S = (
    15.0  # time for Tune to stop; code that runs after Ray's end may restart a Ray imported before us
)
WATCH_S = 0.25  # interval between two checks of Ray's servers
ASK_S, MISSES = 3.0, 3  # between looks whether the control service of another's Ray answers
ANSWERS_S = 120.0  # time for a cluster to start an actor; it may have to start a node first
END_S = 5.0  # time for Ray's processes to end after ray.shutdown(); agents of a dead server take a minute


class RayLostError(OSError):
    """Error: Ray did not start, is unsafe to use, or one of its servers ended during the run."""


@dataclass(frozen=True)
class Cluster:
    """A running Ray.

    Args:
        resources: resources of all nodes, as Ray counts them.
        scratch: a private folder on this machine that is deleted at the end.
        own: whether the run has started this Ray.
        patience_s: seconds to wait for work that was asked to stop. Tune takes ten seconds to stop trials in
            mid-step, and a call to a dead Ray may never return. Shutting Ray down stops the rest.
        limit: maximum number of concurrent workers, if the user set one.
    """

    resources: dict[str, Any]
    scratch: str
    own: bool
    patience_s: float
    limit: int | None = None

    def fits(self, cpus: float, gpus: float) -> int:
        """Return the number of workers of this size that fit on the nodes, within the user's limit."""
        fit = sum(
            int(min(n.get("CPU", 0) / cpus + 1e-9, n.get("GPU", 0) / gpus + 1e-9 if gpus else float("inf")))
            for n in _nodes()
        )
        return fit if self.limit is None else min(fit, self.limit)

    def workers(self, cpus: float, gpus: float) -> int:
        """Return the number of workers of this size that fit.

        Raises:
            InputError: no worker fits; waiting for one would never end.
        """
        fit = self.fits(cpus, gpus)
        if not fit:
            have = " and ".join(f"{self.resources.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
            raise InputError(
                f"resources: a trial asks for {cpus:g} CPUs and {gpus:g} GPUs on one node; "
                f"Ray has {have} on {len(_nodes())} node(s). "
                "Lower resources.cpus_per_trial or resources.gpus_per_trial."
            )
        return fit

    def nodes_lost(self) -> int:
        """Return the number of nodes that have died since the cluster was started."""
        import ray

        return sum(not node["Alive"] for node in ray.nodes())

    @property
    def gpus_of_a_node(self) -> int:
        """Number of GPUs of the node with the most GPUs."""
        return int(max((node.get("GPU", 0) for node in _nodes()), default=0))


def _nodes() -> list[dict[str, Any]]:
    """Return the resources of each live node."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def ray_environment(where: Where) -> Iterator[bool]:
    """Set Ray's environment variables for the block, and yield whether to start a Ray of our own.

    Restores the caller's environment and loggers afterwards.

    Raises:
        InputError: the options do not suit a Ray that is already running.
    """
    own = not (where.address or _caller_has_ray())
    if where.gpus is not None and not own:
        raise InputError(
            "gpus: only for a Ray that the run starts; a running Ray has its own GPUs. Remove gpus"
        )
    values = DRIVER | (SERVERS if own else {})
    # If Ray is already imported, it has read its mode; recent versions enable tokens by themselves.
    if own and "ray" not in sys.modules:
        values |= {"RAY_AUTH_MODE": "token"}
    values = {name: value for name, value in values.items() if name not in os.environ}
    with _environment(values), _quiet_loggers():
        yield own


@contextmanager
def connect(where: Where, own: bool, resources: ResourceOptions, cancel: Cancellation) -> Iterator[Cluster]:
    """Provide Ray for the block: the caller's, the cluster at ``where.address``, or one of our own.

    Afterwards the caller's Ray keeps running, and our own is stopped with all its processes. If a server of
    our own Ray ends during the block, ``cancel`` is requested with a :class:`RayLostError`.

    Raises:
        InputError: no cluster answers at the address.
        RayLostError: our own Ray did not start, or can be reached from other machines.
    """
    with _scratch(keep=own) as scratch, ExitStack() as stack:
        patience_s = 60.0 if _caller_has_ray() else TUNE_STOPS_S if "ray" in sys.modules else 1.0
        stack.enter_context(
            _local_ray(where, resources, cancel, scratch) if own else _existing_ray(where.address, cancel)
        )
        import ray

        yield Cluster(dict(ray.cluster_resources()), scratch, own, patience_s, where.workers)


def _caller_has_ray() -> bool:
    if "ray" not in sys.modules:
        return False
    import ray
    from ray.util.client import ray as client

    if client.is_connected():
        raise InputError(f"this process is connected through ray://, {NO_CLIENT}")
    return ray.is_initialized()


@contextmanager
def _existing_ray(address: str | None, cancel: Cancellation) -> Iterator[None]:
    """Use the cluster at an address. Use the caller's Ray if it is that cluster, or if there is no address.

    If its control service stops answering during the block, ``cancel`` is requested.

    Raises:
        InputError: no cluster answers at the address, or this process uses another one.
    """
    import ray

    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", here):
            raise InputError(
                f"--address {address}: this process is connected to the Ray at {here}. "
                "Remove the address to use that Ray, or call ray.shutdown() first."
            )
        with _watched(cancel):
            yield
        return
    assert address is not None
    _require_listener(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error
    try:
        _require_actor_start(address)
        with _watched(cancel):
            yield
    finally:
        ray.shutdown()


@contextmanager
def _watched(cancel: Cancellation) -> Iterator[None]:
    """Request cancellation if nobody listens at the address of Ray's control service any more.

    Ray itself would end this process, without an exception, after a minute.
    """
    import ray

    address, ended = ray.get_runtime_context().gcs_address, threading.Event()

    def watch() -> None:
        misses = 0
        while not ended.wait(ASK_S):
            try:
                _connect(address, timeout_s=ASK_S)
                misses = 0
            except OSError:
                misses += 1
            if misses >= MISSES:
                cancel.request(RayLostError(f"the Ray at {address} does not answer any more"), patience_s=1.0)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _require_actor_start(address: str) -> None:
    """Raise InputError unless the cluster can start an actor for this process.

    Ray kills the actors of a process that the cluster cannot reach; each actor would seem to have died.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError

    class Answer:
        def ready(self) -> None: ...

    actor: Any = ray.remote(num_cpus=0)(Answer).remote()
    try:
        ray.get(actor.ready.remote(), timeout=ANSWERS_S)
    except (RayActorError, GetTimeoutError) as error:
        raise InputError(
            f"--address {address}: the cluster at {ray.get_runtime_context().gcs_address} answers, but "
            f"cannot start an actor for this process ({type(error).__name__}). Its machines must be able to "
            "connect to this one. If this process has used a Ray of its own before, as a run without an "
            "address does, that one had a token, and the cluster may have none or another: use a new Python "
            "process. If --address auto has found another Ray than you mean, give HOST:PORT."
        ) from error
    ray.kill(actor)


@contextmanager
def _local_ray(
    where: Where, resources: ResourceOptions, cancel: Cancellation, scratch: str
) -> Iterator[None]:
    """Start a Ray of our own for the block and stop it afterwards."""
    cpus = where.workers * resources.cpus_per_trial if where.workers else None
    before, mine = set(psutil.Process().children()), _listening(psutil.Process())
    ended = threading.Event()
    _create_token()
    import ray

    try:
        # An exception during the start would leave unknown processes behind.
        with _environment({"RAY_TMPDIR": scratch}), held_back():
            handler = signal.getsignal(signal.SIGTERM)
            try:
                ray.init(
                    address="local",
                    num_cpus=max(1, math.ceil(cpus)) if cpus else None,
                    num_gpus=where.gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except Exception as error:  # Ray does not name the cause: memory, disk, a busy machine
                raise RayLostError(f"Ray did not start: {error}{_advice(error)}") from error
            finally:
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, handler)  # Ray replaces it
        servers = [p for p in psutil.Process().children() if p not in before]
        _require_loopback([*servers, *_descendants(servers)], _listening(psutil.Process()) - mine)
        watch = threading.Thread(target=_watch, args=(servers, cancel, ended), daemon=True)
        watch.start()
        yield
    finally:
        ended.set()
        with held_back():
            servers = [p for p in psutil.Process().children() if p not in before]
            everything = [*servers, *_descendants(servers)]
            ray.shutdown()
            psutil.wait_procs(everything, timeout=END_S)


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


def _descendants(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return all live descendants of these processes."""
    descendants: list[psutil.Process] = []
    for process in processes:
        try:
            descendants += process.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    return descendants


def _watch(servers: list[psutil.Process], cancel: Cancellation, ended: threading.Event) -> None:
    """Request cancellation if Ray's raylet or control service ends before ``ended`` is set.

    Ray itself would wait forever.
    """
    needed = [(name, p) for p in servers if (name := p.name()) in ("raylet", "gcs_server")]
    while not ended.wait(WATCH_S):
        for name, process in needed:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                cancel.request(RayLostError(f"Ray's {name} has ended; something has killed it"))
                return


def _create_token() -> None:
    """Create the user's Ray token if there is none. Ray itself would make the file readable by everyone.

    Raises:
        RayLostError: the home folder is not writable.
    """
    token = Path.home() / ".ray" / "auth_token"
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH") or token.exists():
        return
    try:
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
    if "home directory" in str(error) or (isinstance(error, OSError) and ".ray" in str(error.filename)):
        return ". Ray keeps a token in the home folder: set HOME to a writable folder"
    return ""


def _require_listener(address: str) -> None:
    """Raise InputError if nothing listens at the address. Ray itself would wait for minutes."""
    port = address.rpartition(":")[2]
    if port == address or not port.isdigit():
        return  # "auto", or another name that Ray understands
    try:
        _connect(address, timeout_s=10)
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error


def _connect(address: str, timeout_s: float) -> None:
    """Raise an error if nothing listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
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
def _quiet_loggers() -> Iterator[None]:
    """Silence Ray's loggers for the block; we report failures ourselves."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _scratch(*, keep: bool) -> Iterator[str]:
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
    for old in root.glob(f"{SCRATCH}*-*"):
        pid = old.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-", dir=root)
    delete = True
    try:
        yield folder
    except RayLostError as error:
        if keep:
            delete = False
            error.args = (f"{error}. Ray's logs are in {folder}",)
        raise
    finally:
        if delete:
            shutil.rmtree(folder, ignore_errors=True)
