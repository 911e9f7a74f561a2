"""Devices that a cluster may have, and how long they take for counted operations.

Peak rates are the maker's own, dense (without sparsity), at boost clock: NVIDIA's data sheets of the H100
(SXM), H200 (SXM), A100 (SXM), L4, T4 and V100 (SXM2), and its whitepaper of the Ada architecture for the RTX
4090. In float32, PyTorch lets convolutions use TF32 where the device has it, and matrix products not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explorer.estimate.counting import CONVOLUTION, MATRIX, Ops
from explorer.settings import InputError, suggest

GB, TERA = 1e9, 1e12


@dataclass(frozen=True)
class Device:
    """What a device can do. Rates are numbers a second, ``bandwidth`` bytes a second, ``memory`` bytes.

    What is reached of that is an assumption for GPUs: ``arithmetic`` and ``transfer`` are shares of the peak
    rates. ``launch_s`` is what starting one operation costs the processor that drives the device, and
    ``floor_s`` the least that an operation takes on the device.
    """

    name: str
    memory: float
    bandwidth: float
    float32: float
    tf32: float | None = None  # None: float32 convolutions run at the float32 rate
    bf16: float | None = None  # None: bf16 is no faster than float32
    arithmetic: float = 0.3
    transfer: float = 0.6
    launch_s: float = 8e-6
    floor_s: float = 3e-6
    gpu: bool = True

    def seconds(self, ops: Ops, precision: str = "float32") -> Seconds:
        """Time for all operations, each limited by arithmetic or by memory traffic (the roofline)."""
        rate = np.full(len(ops.kind), self.float32 * self.arithmetic)
        for kind, fast in ((CONVOLUTION, self.tf32), (MATRIX, None)):
            peak = self.bf16 if precision == "bf16" else fast
            rate[ops.kind == kind] = (peak or self.float32) * self.arithmetic
        work = np.maximum(ops.flops / rate, ops.moved / (self.bandwidth * self.transfer))
        busy = np.maximum(work, self.floor_s).sum() if self.gpu else work.sum()
        return Seconds(ops.repeats * len(ops.kind) * self.launch_s, ops.repeats * float(busy))

    def wall(self, seconds: Seconds, sharing: int = 1) -> float:
        """Seconds on the clock, when as many trials as ``sharing`` take turns on the device.

        A GPU works while the processor launches what comes next; processes that share it take turns (without
        NVIDIA's MPS their work is not done side by side). A processor does one after the other.
        """
        if self.gpu:
            return max(seconds.launch, sharing * seconds.busy)
        return seconds.launch + seconds.busy


@dataclass(frozen=True)
class Seconds:
    """Time of the processor that launches operations, and of the device that does them."""

    launch: float = 0.0
    busy: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.launch + other.launch, self.busy + other.busy)

    def __mul__(self, times: float) -> Seconds:
        return Seconds(times * self.launch, times * self.busy)


def _gpu(
    name: str,
    memory_gb: float,
    gb_s: float,
    float32: float,
    tf32: float | None = None,
    bf16: float | None = None,
) -> Device:
    fast, half = (rate and rate * TERA for rate in (tf32, bf16))
    return Device(name, memory_gb * GB, gb_s * GB, float32 * TERA, fast, half)


GPUS = {
    device.name.lower(): device
    for device in (
        _gpu("H200", 141, 4800, 66.9, tf32=494.7, bf16=989.4),
        _gpu("H100", 80, 3350, 66.9, tf32=494.7, bf16=989.4),
        _gpu("A100-80", 80, 2039, 19.5, tf32=156, bf16=312),
        _gpu("A100-40", 40, 1555, 19.5, tf32=156, bf16=312),
        _gpu("V100-32", 32, 900, 15.7),
        _gpu("V100-16", 16, 900, 15.7),
        _gpu("RTX4090", 24, 1008, 82.6, tf32=82.6, bf16=165.2),
        _gpu("L4", 24, 300, 30.3, tf32=60, bf16=121),
        _gpu("T4", 16, 320, 8.1),
    )
}
CPU = "CPU"  # a core of this machine


def gpu(name: str) -> Device | None:
    """The GPU of a name, in any case; None for ``CPU``.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    key = name.lower()
    if key == CPU.lower():
        return None
    if key not in GPUS:
        known = suggest(name, [*(device.name for device in GPUS.values()), CPU])
        raise InputError(f"--cluster: there is no device {name!r}; known: {known}")
    return GPUS[key]
