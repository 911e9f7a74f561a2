"""Machines to estimate for: this machine, or a cluster given on the command line."""

from __future__ import annotations

import os
import re
from collections import namedtuple
from typing import NamedTuple

from explorer.settings import InputError, suggest
from explorer.space.model import CheckedSpace

# Memory in GB, bandwidth in GB/s, dense TFLOP/s in float32, in float32 convolutions (TF32) and in bf16,
# from NVIDIA's data sheets (SXM version if it exists) and its Ada whitepaper.
Gpu = namedtuple("Gpu", "name memory bandwidth float32 tf32 bf16")
GPUS = [
    Gpu("H200", 141, 4800, 66.9, 494.7, 989.4),
    Gpu("H100", 80, 3350, 66.9, 494.7, 989.4),
    Gpu("A100-80", 80, 2039, 19.5, 156, 312),
    Gpu("A100-40", 40, 1555, 19.5, 156, 312),
    Gpu("V100-32", 32, 900, 15.7, 15.7, 15.7),
    Gpu("V100-16", 16, 900, 15.7, 15.7, 15.7),
    Gpu("RTX4090", 24, 1008, 82.6, 82.6, 165.2),
    Gpu("L4", 24, 300, 30.3, 60, 121),
    Gpu("T4", 16, 320, 8.1, 8.1, 8.1),
]


class Machines(NamedTuple):
    """``nodes`` nodes with ``devices`` GPUs each. If ``gpu`` is None, a device is a core like those here."""

    nodes: int
    devices: int
    gpu: Gpu | None = None
    here: bool = False  # this machine

    @classmethod
    def parse(cls, text: str | None) -> Machines:
        """Parse ``8xH100``, ``4x8xA100-80`` or ``16xCPU``; None means this machine. May raise InputError."""
        if text is None:
            return cls(1, os.cpu_count() or 1, here=True)
        match = re.fullmatch(r"(?:(\d+)x)?(?:(\d+)x)?([a-z].*)", text.strip(), re.I)
        if not match or "0" in match.groups():
            raise InputError(
                f"--cluster {text!r}: write 8xH100 (one node of eight GPUs), 4x8xA100-80 (four such nodes) "
                "or 16xCPU (sixteen cores like those of this machine)"
            )
        first, second, name = match.groups()
        known = {"CPU": None, **{gpu.name: gpu for gpu in GPUS}}
        if name.upper() not in known:
            raise InputError(f"--cluster: there is no device {name!r}; known: {suggest(name, [*known])}")
        nodes, devices = (first, second) if second else (1, first or 1)
        return cls(int(nodes), int(devices), known[name.upper()])

    def slots(self, space: CheckedSpace) -> int:
        """Return the number of concurrent trials. Raise InputError if none fits or if GPUs would be idle."""
        cpus, gpus = space.resources.cpus_per_trial, space.resources.gpus_per_trial
        if self.here:
            return max(1, int(self.devices / cpus))
        if gpus == "auto" or bool(gpus) != bool(self.gpu):
            raise InputError(
                f"--cluster: a trial asks for {gpus} GPUs; to estimate for these machines, "
                f"use --set resources.gpus_per_trial={0.25 if self.gpu else 0}"
            )
        fits = self.devices * int(1 / gpus + 1e-9) if gpus else int(self.devices / cpus + 1e-9)
        if not fits:
            raise InputError(
                f"--cluster: a trial asks for {cpus:g} cores on one node; a node has {self.devices}. "
                "Lower resources.cpus_per_trial."
            )
        return self.nodes * fits
