"""Number of attention heads. Does not import torch, so a space can be checked without it."""

from __future__ import annotations

from explorer.settings import InputError

HEAD = 16  # minimum width of a head if the number of heads is left out
HEADS = 8  # maximum number of heads in that case


def attention_heads(name: str, width: int, heads: int | None) -> int:
    """Return the number of heads: as given, or one for each 16 of the width, at most 8.

    Raises:
        InputError: the number does not divide the width.
    """
    if heads is None:
        return next(h for h in range(min(HEADS, max(1, width // HEAD)), 0, -1) if width % h == 0)
    if width % heads:
        raise InputError(
            f"{name}: heads {heads} does not divide the width {width}; give a divisor, or leave heads out"
        )
    return heads
