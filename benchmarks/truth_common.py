"""What the simulations of known truths share: the promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Promise(NamedTuple):
    """A rate that Explorer promises in worlds whose truth is known.

    Args:
        says: what is promised, in words.
        rate: returns the rate over a number of worlds.
        low: lowest rate that keeps the promise; ``high``: the highest.
        worlds: number of worlds of the full simulation.
    """

    says: str
    rate: Callable[[int], float]
    low: float = 0.0
    high: float = 1.0
    worlds: int = 200
