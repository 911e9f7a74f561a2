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

_card_bytes: float | None = None


def set_card_bytes(card_bytes: float | None) -> None:
    """Tell this process how many bytes of its card it may use; None: all of it, where it has one."""
    global _card_bytes
    _card_bytes = card_bytes


@contextmanager
def with_card_bytes(card_bytes: float | None) -> Iterator[None]:
    """Tell it for the block; also without a card, to count what one with so much memory would do."""
    before = _card_bytes
    set_card_bytes(card_bytes)
    try:
        yield
    finally:
        set_card_bytes(before)


def card_bytes(device: torch.device) -> float | None:
    """Return the bytes of a card that this process may use; None where it computes on a processor."""
    if _card_bytes is None and device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return _card_bytes


def floats_at_once(card_bytes: float | None, fixed: int, part: float) -> int:
    """Return how many float32 may be held: ``part`` of a card's bytes, ``fixed`` on a processor."""
    return fixed if card_bytes is None else max(1, int(part * card_bytes / 4))
