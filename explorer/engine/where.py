"""Where, and for how long, a run works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from explorer.settings import InputError


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where, and for how long, a run works.

    Args:
        address: of a Ray cluster, or ``auto``. If left out, the run uses the Ray that this process is
            connected to, or starts its own on this machine.
        workers: number of trials or measuring actors at a time; as many as fit if left out.
        gpus: number of GPUs (logical ones too) of a Ray that the run starts; if left out, those that Ray
            finds.
        max_hours: stop cleanly after so many hours.
        profile: keep a trace of what each worker did when, in the run folder (``profile/trace.json``).
        callbacks: tools that follow the trials: ``tensorboard``, ``mlflow``, ``wandb`` or ``module:Class``.

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
        for name, least in (("workers", 1), ("gpus", 0), ("max_hours", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise InputError(f"{name}: {value} is not allowed; it should be a number from {least}")
