"""Connection to Ray: starts one on this machine, joins a cluster, or uses the caller's."""

from __future__ import annotations

import bisect
import logging
import math
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

from explorer.engine.cancel import Cancellation
from explorer.engine.local_ray import SERVERS, environment, local_ray, scratch_folder, watched
from explorer.settings import InputError
from explorer.space.model import ResourceOptions
from explorer.users.functions import check_current_folder

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
LOGGERS = ("ray", "ray.tune", "ray.train")
TUNE_STOPS_S = 15.0  # time for Tune to stop; later, its code may restart a Ray that was imported before us
ASK_S, MISSES = 3.0, 3  # between looks whether the control service of another's Ray answers
ANSWERS_S = 120.0  # time for a cluster to start an actor; it may have to start a node first
NO_CLIENT = (
    "which Ray Tune does not support. Run Explorer on a machine of the cluster with --address auto, or "
    "submit it there with `ray job submit`"
)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The Ray cluster, the resources and the time limit of a run.

    Args:
        address: address of a Ray cluster, or ``auto``. By default, the run uses the Ray that this process is
            connected to, or starts its own on this machine.
        workers: maximum number of concurrent trials or measuring actors; by default as many as fit.
        gpus: number of GPUs of a Ray that the run starts; by default those that Ray finds.
        logical_gpus: GPUs are only counted, and CPUs compute.
        max_hours: stop cleanly after this many hours.
        profile: record a trace of what each worker did when, in the run folder (``profile/trace.json``).
        callbacks: tools that log the trials: ``tensorboard``, ``mlflow``, ``wandb``, ``module:Class``, or
            objects with methods of ``ray.tune.Callback``.

    Raises:
        InputError: a number is out of range.
    """

    address: str | None = None
    workers: int | None = None
    gpus: int | None = None
    logical_gpus: bool = False
    max_hours: float | None = None
    profile: bool = False
    callbacks: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.callbacks, list | tuple):
            object.__setattr__(self, "callbacks", (self.callbacks,))
        if self.address == "local":
            raise InputError("--address local: leave the address out; Explorer then starts its own Ray")
        if self.address and self.address.startswith("ray://"):
            raise InputError(f"--address {self.address} is Ray Client, {NO_CLIENT}")
        for name, least in (("workers", 1), ("gpus", 0), ("max_hours", 0)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value >= least):
                raise InputError(f"{name}: {value!r} is not allowed; it should be a number from {least}")


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
        logical: GPUs are only counted, and CPUs compute.
    """

    resources: dict[str, Any]
    scratch: str
    own: bool
    patience_s: float
    limit: int | None = None
    logical: bool = False

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

    def spread(self, cpus: float, shares: Sequence[float]) -> list[float]:
        """Return GPU shares of work, raised so that no GPU is idle if there is little work.

        Ray fills a GPU with fractions before it uses the next one. So if five pieces share four GPUs, three
        get a whole GPU and two get a half.

        Args:
            cpus: CPUs of each piece of work.
            shares: GPUs of each piece of work.
        """
        gpus, at_once = int(self.resources.get("GPU", 0)), min(len(shares), self.fits(cpus, 0))
        if gpus < 2 or not at_once or not all(shares):
            return list(shares)
        largest = sorted(range(len(shares)), key=lambda piece: -shares[piece])

        def raised(count: int, further: int = 0) -> list[float]:
            """Return shares of 1/count or more, and of 1/(count - 1) for the ``further`` largest pieces."""
            found = [max(share, fraction(1 / count)) for share in shares]
            for piece in largest[:further]:
                found[piece] = max(shares[piece], fraction(1 / (count - 1)))
            return found

        def fit(found: list[float]) -> bool:
            return fit_together(sorted(found, reverse=True)[:at_once], gpus)

        fewest = math.ceil(at_once / gpus)
        if at_once < len(shares) or not fit(list(shares)):  # what follows a piece takes its place
            most = max(1, math.ceil(at_once / (gpus - 1)) - 1)  # so many on each leave no GPU idle
            return raised(next((count for count in range(fewest, most) if fit(raised(count))), most))
        count = next((count for count in range(fewest, at_once) if fit(raised(count))), at_once)
        if not fit(raised(count)):
            return list(shares)
        if count > 1:  # the largest number of pieces that can have more
            further = bisect.bisect(range(len(shares)), False, key=lambda some: not fit(raised(count, some)))
            return raised(count, further - 1)
        return raised(count)

    def nodes_lost(self) -> int:
        """Return the number of nodes that have died since the cluster was started."""
        import ray

        return sum(not node["Alive"] for node in ray.nodes())

    @property
    def gpus_of_a_node(self) -> int:
        """Number of GPUs of the node with the most GPUs."""
        return int(max((node.get("GPU", 0) for node in _nodes()), default=0))


def fit_together(shares: Sequence[float], gpus: int) -> bool:
    """Return whether shares, the largest first, fit on the GPUs as Ray fills them: the fullest first."""
    free = [1.0] * gpus
    for share in shares:
        place = min(
            (place for place in range(gpus) if share <= free[place] + 1e-9),
            key=free.__getitem__,
            default=None,
        )
        if place is None:
            return False
        free[place] -= share
    return True


def fraction(share: float) -> float:
    """Return a share of a GPU in Ray's unit, 1/10,000, rounded down so that all shares of a GPU fit."""
    return int(10_000 * share) / 10_000


def _nodes() -> list[dict[str, Any]]:
    """Return the resources of each live node."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def ray_environment(where: RunOptions) -> Iterator[bool]:
    """Set Ray's environment variables for the block, and yield whether to start a Ray of our own.

    Restores the caller's environment and loggers afterwards.

    Raises:
        InputError: the options do not suit a Ray that is already running, or a file hides a library.
    """
    check_current_folder()
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
    with environment(values), _quiet_loggers():
        yield own


@contextmanager
def connect(
    where: RunOptions, own: bool, resources: ResourceOptions, cancel: Cancellation
) -> Iterator[Cluster]:
    """Provide Ray for the block: the caller's, the cluster at ``where.address``, or one of our own.

    Afterwards the caller's Ray keeps running, and our own is stopped with all its processes. If a server of
    our own Ray ends during the block, ``cancel`` is requested with a :class:`RayLostError`.

    Raises:
        InputError: no cluster answers at the address.
        RayLostError: our own Ray did not start, or can be reached from other machines.
    """
    with scratch_folder(keep=own) as scratch, ExitStack() as stack:
        patience_s = 60.0 if _caller_has_ray() else TUNE_STOPS_S if "ray" in sys.modules else 1.0
        cpus = where.workers * resources.cpus_per_trial if where.workers else None
        stack.enter_context(
            local_ray(cpus, where.gpus, cancel, scratch) if own else _existing_ray(where.address, cancel)
        )
        import ray

        yield Cluster(
            dict(ray.cluster_resources()), scratch, own, patience_s, where.workers, where.logical_gpus
        )


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
        with _watched_address(cancel):
            yield
        return
    assert address is not None
    _require_listener(address)
    with tempfile.TemporaryFile() as log:
        try:
            with _stderr_to(log):  # which alone says that a token is wrong
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            log.seek(0)
            why = _why_not(f"{error} {log.read().decode(errors='replace')}")
            raise InputError(f"--address {address}: {why}") from error
    try:
        _require_actor_start(address)
        with _watched_address(cancel):
            yield
    finally:
        ray.shutdown()


@contextmanager
def _stderr_to(file: IO[bytes]) -> Iterator[None]:
    """Write what this process and its libraries write to stderr in the block to a file instead."""
    before = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def _why_not(said: str) -> str:
    """Return why this process cannot use the cluster at an address, from Ray's error and log."""
    said = " ".join(said.split())
    if "Version mismatch" in said:
        return (
            "that cluster runs another version of Ray or Python; install the same versions on both sides "
            f"({said[:400]})"
        )
    if re.search(r"authenticat|AuthToken|\btoken\b", said, re.IGNORECASE):
        return (
            "the token of that cluster is missing here, or is another one; set RAY_AUTH_MODE=token, and "
            f"RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH as there ({said[:200]})"
        )
    return f"no Ray cluster answers there ({said[:400]})"


def _watched_address(cancel: Cancellation) -> AbstractContextManager[None]:
    """Request cancellation if nobody listens at the address of Ray's control service any more.

    Ray itself would end this process, without an exception, after a minute.
    """
    import ray

    address, misses = ray.get_runtime_context().gcs_address, 0

    def find_loss() -> str:
        nonlocal misses
        try:
            _connect(address, timeout_s=ASK_S)
            misses = 0
        except OSError:
            misses += 1
        return f"the Ray at {address} does not answer any more" if misses >= MISSES else ""

    return watched(cancel, ASK_S, find_loss, patience_s=1.0)


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
