"""Starts Ray on this machine or joins a cluster, and leaves nothing behind."""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.engine.forks import ask
from explorer.engine.forks.server import address, fork_server
from explorer.engine.guard import HOPELESS_S, Guard, RayLostError
from explorer.engine.lean import below, brief, end, lean, of_workers
from explorer.interrupts import held_back
from explorer.settings import InputError

if TYPE_CHECKING:
    from explorer.engine.run import Where
    from explorer.space import ResourceOptions

# Read by Ray when it is imported or started; a user's own value wins.
ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # workers without a GPU request see no GPU
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # what fails is told by us, once
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records are the truth; Tune's files are not read
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must end the run, not look like its end
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "3600",
}
SCRATCH = "explorer-scratch-"  # then the process and something random
# Of our own Ray: a control service that is gone does not come back, while that of a cluster may.
OWN = {"RAY_gcs_rpc_server_reconnect_timeout_s": f"{HOPELESS_S + 5:.0f}"}
ROOM_BYTES = 10_000_000  # on the disk of our own Ray, which on a full one ends without a word of it
COMMON: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}


Guarded = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Cluster:
    """A running Ray. ``scratch`` is a folder of this machine that goes away with it.

    ``own``: it has been started here, and keeps to this machine. What is done while it is ``guarded`` then
    ends with an error when one of its servers does.
    """

    resources: dict[str, Any]
    scratch: str
    own: bool
    guarded: Guarded

    def fits(self, cpus: float, gpus: float) -> int:
        """How many workers of this size fit."""
        return sum(
            int(min(n.get("CPU", 0) / cpus + 1e-9, n.get("GPU", 0) / gpus + 1e-9 if gpus else float("inf")))
            for n in _nodes()
        )

    def nodes_lost(self) -> int:
        """How many nodes have died since the cluster was started."""
        import ray

        return sum(not node["Alive"] for node in ray.nodes())

    def workers(self, cpus: float, gpus: float) -> int:
        """How many workers of this size fit.

        Raises:
            InputError: not even one, so that waiting would never end.
        """
        fits = self.fits(cpus, gpus)
        if not fits:
            have = " and ".join(f"{self.resources.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
            raise InputError(
                f"resources: a trial asks for {cpus:g} CPUs and {gpus:g} GPUs on one node; "
                f"Ray has {have} on {len(_nodes())} node(s). "
                "Lower resources.cpus_per_trial or resources.gpus_per_trial."
            )
        return fits

    @property
    def gpus_of_a_node(self) -> int:
        """GPUs of the node that has most of them."""
        return int(max((node.get("GPU", 0) for node in _nodes()), default=0))


def _nodes() -> list[dict[str, Any]]:
    """Resources of the nodes that are there."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@dataclass(frozen=True)
class Begun:
    """What a Ray that is started here needs first: a folder, and the server that its workers are forked from.

    ``environment`` is that of its workers, beside our own. A cluster that is there has no such server.
    """

    scratch: str
    environment: dict[str, str]
    forks: subprocess.Popen[bytes] | None


@contextmanager
def begun(address: str | None, cpus_per_trial: float = 1.0) -> Iterator[Begun]:
    """Begins, beside what the driver does before it can :func:`connect`; ends with the block."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    scratch, environment = _scratch(), _environment(cpus_per_trial)
    try:
        with nullcontext() if address else fork_server(scratch, environment) as forks:
            yield Begun(scratch, environment, forks)
    finally:
        with held_back():
            shutil.rmtree(scratch, ignore_errors=True)


def begun_for(where: Where, resources: ResourceOptions) -> AbstractContextManager[Begun]:
    """What the caller has begun already, if that is for workers of this size, or begun now."""
    first = where.begun
    if first and (where.address or first.environment == _environment(resources.cpus_per_trial)):
        return nullcontext(first)
    if first and first.forks:
        first.forks.kill()
    return begun(where.address, resources.cpus_per_trial)


def _environment(cpus_per_trial: float) -> dict[str, str]:
    return of_workers(max(1, int(cpus_per_trial)))


@contextmanager
def connect(where: Where, resources: ResourceOptions, begun: Begun) -> Iterator[Cluster]:
    """Ray, for as long as the block lasts. Our own keeps to localhost, and is gone afterwards.

    Raises:
        InputError: no cluster answers at the address.
    """
    with _joined(where.address) if where.address else _started(where, resources, begun) as guarded:
        import ray

        with brief():
            yield Cluster(dict(ray.cluster_resources()), begun.scratch, not where.address, guarded)


@contextmanager
def _joined(address: str) -> Iterator[Guarded]:
    """A cluster that is there."""
    _answers(address)
    import ray

    try:
        ray.init(address=address, **COMMON)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error
    try:
        yield nullcontext
    finally:
        ray.shutdown()


@contextmanager
def _started(where: Where, resources: ResourceOptions, begun: Begun) -> Iterator[Guarded]:
    """A Ray of our own.

    Raises:
        RayLostError: it did not start.
    """
    _check_room()
    for name, value in OWN.items():
        os.environ.setdefault(name, value)
    import ray

    environment, worker = begun.environment, None
    if begun.forks:
        environment, worker = {**environment, ask.ADDRESS: address(begun.scratch)}, ask.__file__
    cpus = where.workers * resources.cpus_per_trial if where.workers else None
    keep_logs, guard = True, None
    try:
        # An exception in the middle of it would leave processes of which nobody knows.
        with held_back(), lean(environment, worker):
            try:
                ray.init(
                    address="local",
                    include_dashboard=False,
                    num_gpus=where.gpus,
                    num_cpus=max(1, math.ceil(cpus)) if cpus else None,
                    **COMMON,
                )
            except Exception as error:  # it says no more of what is wrong: memory, disk, a busy machine
                raise RayLostError(f"Ray did not start: {error}{_advice(error)}") from error
        guard = Guard()
        yield guard.holds
        keep_logs = False
    except (KeyboardInterrupt, InputError):
        keep_logs = False
        raise
    finally:
        with held_back():
            end(below(begun.forks.pid) if begun.forks else [], keep_logs=keep_logs)
            if guard:
                guard.end()


def _check_room() -> None:
    """Raises RayLostError where the disk of Ray's folder, which is chosen as Ray does it, is full."""
    root = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    free = shutil.disk_usage(root).free if os.path.isdir(root) else ROOM_BYTES
    if free < ROOM_BYTES:
        raise RayLostError(
            f"Ray did not start: {root}, where it keeps its files, has {free / 1e6:.1f} MB left; "
            f"{ROOM_BYTES / 1e6:.0f} MB are needed. Make room there, or set RAY_TMPDIR to another folder"
        )


def _advice(error: Exception) -> str:
    if "AF_UNIX path length" in str(error) or isinstance(error, UnicodeError):
        return ". Set RAY_TMPDIR to a folder with a short path of plain letters"
    if "home directory" in str(error) or (isinstance(error, OSError) and ".ray" in str(error.filename)):
        return ". Ray keeps a token in the home folder: set HOME to a folder that can be written"
    return ""


def _answers(address: str) -> None:
    """Raises InputError when nobody listens there: Ray itself would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", or a name of Ray's own
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error


def _scratch() -> str:
    """A temporary folder of this process; those that killed processes have left are removed."""
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{SCRATCH}*"):
        pid = old.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdigit() and not _running(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-")


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
