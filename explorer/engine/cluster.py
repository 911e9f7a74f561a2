"""Starts Ray on this machine or joins a cluster, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from explorer.settings import InputError

# Read by Ray when it is imported or started; a user's own value wins.
ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # workers without a GPU request see no GPU
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records are the truth; Tune's files are not read
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must end the run, not look like its end
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "3600",
}


@dataclass(frozen=True)
class Cluster:
    """A running Ray. ``scratch`` is a folder of this machine that goes away with it."""

    resources: dict[str, Any]
    scratch: str

    def workers(self, cpus: float, gpus: float) -> int:
        """How many workers of this size fit.

        Raises:
            InputError: not even one, so that waiting would never end.
        """
        import ray

        nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
        fits = sum(
            int(min(n.get("CPU", 0) / cpus + 1e-9, n.get("GPU", 0) / gpus + 1e-9 if gpus else float("inf")))
            for n in nodes
        )
        if not fits:
            have = " and ".join(f"{self.resources.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
            raise InputError(
                f"resources: a trial asks for {cpus:g} CPUs and {gpus:g} GPUs on one node; "
                f"Ray has {have} on {len(nodes)} node(s). "
                "Lower resources.cpus_per_trial or resources.gpus_per_trial."
            )
        return fits


@contextmanager
def connect(
    address: str | None = None, workers: int | None = None, cpus: float = 1, gpus: int | None = None
) -> Iterator[Cluster]:
    """Ray, for as long as the block lasts.

    Args:
        address: of a cluster that runs, or ``auto``; a Ray of our own on this machine if left out.
        workers: so many workers of ``cpus`` CPUs at most (own Ray only); as many as fit if left out.
        gpus: GPUs that our own Ray is told of (logical ones too); those it finds if left out.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    scratch = tempfile.mkdtemp(prefix="explorer-")
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if address:
            try:
                ray.init(address=address, **common)
            except ConnectionError as error:
                raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                num_gpus=gpus,
                num_cpus=max(1, int(workers * cpus + 0.999)) if workers else None,
                **common,
            )
        yield Cluster(dict(ray.cluster_resources()), scratch)
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
