"""Number of attention heads. Torch-free, so that a space is checked without it."""

from __future__ import annotations

from explorer.settings import InputError

HEAD = 16  # least width of a head where the number of heads is left out
HEADS = 8  # and their largest number then


def attention_heads(name: str, width: int, heads: int | None) -> int:
    """Number of heads: as given, or one for each 16 of the width, 8 at most.

    Raises:
        InputError: it does not divide the width.
    """
    if heads is None:
        return next(h for h in range(min(HEADS, max(1, width // HEAD)), 0, -1) if width % h == 0)
    if width % heads:
        raise InputError(
            f"{name}: heads {heads} does not divide the width {width}; give a divisor, or leave heads out"
        )
    return heads
