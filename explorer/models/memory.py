"""How much a computation may hold at once: fixed on a processor, a part of its share of memory on a card.

Chunks of inputs, and how many models are measured side by side, follow from that. They must hang on the kind
of the machine alone, or two runs of a space would differ: never on the memory that happens to be free. And
results must not hang on them beyond rounding, so nothing that is a setting (a batch) may follow from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Parts of the memory that a process may use of its card. Data may take half of it.
EVALUATION = 1 / 64  # the largest layer's outputs of a chunk; some more are alive beside them
GRAPH = 1 / 8  # the graph of a gradient
SIDE_BY_SIDE = 1 / 16  # vectors of what is measured together, which has a step's activations beside them

_told: float | None = None


def use(room: float | None) -> None:
    """Tell this process how many bytes of its card it may use; None: all of it, where it has one."""
    global _told
    _told = room


@contextmanager
def used(room: float | None) -> Iterator[None]:
    """As :func:`use`, inside; also without a card, to count what one with so much memory would do."""
    before = _told
    use(room)
    try:
        yield
    finally:
        use(before)


def room(device: torch.device) -> float | None:
    """Bytes of a card that this process may use; None where it computes on a processor."""
    if _told is None and device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return _told


def numbers(room: float | None, fixed: int, part: float) -> int:
    """Numbers (float32) that may be held: ``part`` of ``room`` bytes of a card, ``fixed`` on a processor."""
    return fixed if room is None else max(1, int(part * room / 4))
