"""Cores of this machine as devices for estimates: real steps in terms of counted operations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from explorer.engine.calibrate import best_time
from explorer.estimate.architecture import Architecture, training_step
from explorer.estimate.devices import Device
from explorer.optimisers import Optimiser

# Where the fit starts: a core of today. How far a network is from that is measured.
CORE = Device(
    "CPU", memory=math.inf, bandwidth=10e9, float32=50e9, arithmetic=1.0, transfer=1.0, launch_s=3e-6,
    floor_s=0.0, gpu=False,
)  # fmt: skip
MEASURED = 4  # networks; the rest lies between them by its number of parameters
FLOPS = 2e9  # of the larger step that is measured


def cores(nets: list[Architecture], threads: int) -> Callable[[Architecture], Device]:
    """The device that so many cores of this machine are for each of the networks."""
    nets = sorted(nets, key=lambda net: net.parameters)
    chosen = [nets[i] for i in sorted({round(i * (len(nets) - 1) / (MEASURED - 1)) for i in range(MEASURED)})]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        factors = np.log([_factors(net) for net in chosen])  # (networks, 2)
    finally:
        torch.set_num_threads(before)
    places = [math.log(net.parameters) for net in chosen]

    def of(net: Architecture) -> Device:
        at = math.log(net.parameters)
        launch, busy = (math.exp(np.interp(at, places, column)) for column in factors.T)
        return replace(
            CORE,
            launch_s=CORE.launch_s * launch,
            bandwidth=CORE.bandwidth / busy,
            float32=CORE.float32 / busy,
        )

    return of


def _factors(net: Architecture) -> tuple[float, float]:
    """How many times longer than on ``CORE`` launching an operation and its work take, from two batches."""
    many = int(np.clip(FLOPS / max(1.0, net.step(1, 1).total_flops), 2, 256))
    (few_s, few), (many_s, large) = (
        (_step_s(net, batch), CORE.seconds(net.step(1, batch))) for batch in (1, many)
    )
    busy = max((many_s - few_s) / (large.busy - few.busy), 0.01)
    launch = max((few_s - busy * few.busy) / few.launch, 0.1)
    return launch, busy


def _step_s(net: Architecture, batch: int) -> float:
    """Seconds of an optimiser step of one model, as :meth:`Architecture.step` counts it."""
    rows = net.real()
    theta, buffers = (row[None] for row in rows.row())
    inputs, labels = net.example(batch)
    index, rule = torch.arange(batch)[None], Optimiser("sgd", weight_decay=1e-4)
    memory = rule.start(theta)
    step = training_step(rows, theta, buffers, memory, rule, inputs, labels)
    return best_time(lambda: step(index), budget_s=0.2)
