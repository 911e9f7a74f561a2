"""What a space would cost: on this machine from a short calibration, on a cluster from counted operations.

Starts no Ray and writes nothing.
"""

from explorer.estimate.table import describe

__all__ = ["describe"]
