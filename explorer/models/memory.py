"""Memory limit of a computation: fixed on a CPU, a share of the process's memory on a GPU.

The limit determines the chunks of inputs and how many models are measured together. It must depend only on
the kind of machine and never on the currently free memory; otherwise two runs of a space would differ. The
limit may change results only by rounding, so no setting (such as a batch size) may depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Shares of the GPU memory that a process may use. Data may take half of that memory.
EVALUATION = 1 / 64  # outputs of the largest layer for a chunk; other tensors exist at the same time
GRAPH = 1 / 8  # the graph of a gradient
SIDE_BY_SIDE = 1 / 16  # vectors of subjects measured together; activations of a step exist too

_card_bytes: float | None = None


def set_card_bytes(card_bytes: float | None) -> None:
    """Set how many bytes of GPU memory this process may use; None: all memory of its GPU, if it has one."""
    global _card_bytes
    _card_bytes = card_bytes


@contextmanager
def with_card_bytes(card_bytes: float | None) -> Iterator[None]:
    """Set the limit within this block. Without a GPU, this simulates a GPU with that much memory."""
    before = _card_bytes
    set_card_bytes(card_bytes)
    try:
        yield
    finally:
        set_card_bytes(before)


def card_bytes(device: torch.device) -> float | None:
    """Return the bytes of GPU memory that this process may use; None on a CPU."""
    if _card_bytes is None and device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return _card_bytes


def floats_at_once(card_bytes: float | None, fixed: int, part: float) -> int:
    """Return how many float32 may be held: ``part`` of ``card_bytes`` on a GPU, ``fixed`` on a CPU."""
    return fixed if card_bytes is None else max(1, int(part * card_bytes / 4))
