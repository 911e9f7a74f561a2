"""Estimates of the cost of a space, here or on a cluster. Starts no Ray and writes nothing."""

from explorer.estimate.table import describe

__all__ = ["describe"]
