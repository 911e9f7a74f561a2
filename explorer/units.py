"""Times, sizes and counts in words."""

from __future__ import annotations

import datetime


def duration(seconds: float) -> str:
    """Return a duration in readable units, such as ``12 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def size(number: float) -> str:
    """Return a number of bytes in readable units, such as ``3.4 MB``."""
    from rich.filesize import decimal  # on use: the numeric core does without rich

    return decimal(int(number))


def timestamp() -> str:
    """Return the time now, in UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def plural(n: int, noun: str) -> str:
    """Format a count with its noun: ``1 cell``, ``2 cells``, ``1,000 cells``."""
    return f"{n} {noun}" if n == 1 else f"{n:,} {noun}s"


def axis_value(value: float | str | None) -> str:
    """Return the value of an axis of words as text: 32 for 32.0, and none for null or a missing number."""
    if value is None or value != value:
        return "none"
    return f"{value:.15g}" if isinstance(value, float) else str(value)
