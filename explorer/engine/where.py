"""Ray cluster, resources and time limit of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from explorer.settings import InputError

NO_CLIENT = (
    "which Ray Tune does not support. Run Explorer on a machine of the cluster with --address auto, or "
    "submit it there with `ray job submit`"
)


@dataclass(frozen=True, kw_only=True)
class Where:
    """The Ray cluster, the resources and the time limit of a run.

    Args:
        address: address of a Ray cluster, or ``auto``. By default, the run uses the Ray that this process is
            connected to, or starts its own on this machine.
        workers: maximum number of concurrent trials or measuring actors; by default as many as fit.
        gpus: number of GPUs (may be logical) of a Ray that the run starts; by default those that Ray finds.
        max_hours: stop cleanly after this many hours.
        profile: record a trace of what each worker did when, in the run folder (``profile/trace.json``).
        callbacks: tools that log the trials: ``tensorboard``, ``mlflow``, ``wandb`` or ``module:Class``.

    Raises:
        InputError: a number is out of range.
    """

    address: str | None = None
    workers: int | None = None
    gpus: int | None = None
    max_hours: float | None = None
    profile: bool = False
    callbacks: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.address == "local":
            raise InputError("--address local: leave the address out; Explorer then starts its own Ray")
        if self.address and self.address.startswith("ray://"):
            raise InputError(f"--address {self.address} is Ray Client, {NO_CLIENT}")
        for name, least in (("workers", 1), ("gpus", 0), ("max_hours", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise InputError(f"{name}: {value} is not allowed; it should be a number from {least}")
