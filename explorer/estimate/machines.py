"""Machines to estimate for, as they are written on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from explorer.estimate.devices import Device, gpu
from explorer.settings import InputError
from explorer.space import Space


@dataclass(frozen=True)
class Machines:
    """``nodes`` of ``devices`` each: GPUs, or cores of this machine's processor."""

    nodes: int
    devices: int
    device: Device | None  # None: cores

    @classmethod
    def parse(cls, text: str) -> Machines:
        """``8xH100`` is one node of eight; ``4x8xA100-80`` four of them; ``16xCPU`` a node of sixteen cores.

        Raises:
            InputError: it is written in another way, or the device is not known.
        """
        found = re.fullmatch(r"(?:(\d+)x)?(?:(\d+)x)?([a-z].*)", text.strip(), re.I)
        if not found or "0" in found.groups():
            raise InputError(
                f"--cluster {text!r}: write 8xH100 (one node of eight GPUs), 4x8xA100-80 (four such nodes) "
                "or 16xCPU (sixteen cores like those of this machine)"
            )
        first, second, name = found.groups()
        nodes, devices = (first, second) if second else (1, first or 1)
        return cls(int(nodes), int(devices), gpu(name))

    def slots(self, space: Space) -> tuple[int, int]:
        """How many trials run at the same time, and how many of them on one device.

        Raises:
            InputError: not one fits, or the space would leave the GPUs alone.
        """
        wanted = space.resources
        if self.device is None:
            if wanted.gpus:
                raise InputError(
                    f"--cluster: a trial asks for {wanted.gpus:g} GPUs and there is none; "
                    "try --set resources.gpus_per_trial=0"
                )
            share, fits = 1, int(self.devices / wanted.cpus_per_trial + 1e-9)
        elif not wanted.gpus:
            raise InputError(
                "--cluster: the space asks for no GPU and would run on processors alone; "
                "try --set resources.gpus_per_trial=0.25, or --cluster 64xCPU"
            )
        else:
            share = max(1, int(1 / wanted.gpus + 1e-9))
            fits = self.devices * share if wanted.gpus <= 1 else int(self.devices / wanted.gpus)
        if not fits:
            raise InputError(
                f"--cluster: a trial asks for {wanted.cpus_per_trial:g} cores and {wanted.gpus:g} "
                f"GPUs on one node; a node has {self.devices}. Lower resources.cpus_per_trial "
                "or resources.gpus_per_trial."
            )
        return self.nodes * fits, share
