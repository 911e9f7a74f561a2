"""Numbers as tensors.

PyTorch converts a Python number to a tensor in every operation, which costs as much as a small operation.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.lru_cache(maxsize=1024)
def constant(value: float, dtype: torch.dtype) -> Tensor:
    """Return the number as a tensor () in host memory, which works on every device; do not change it."""
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=dtype, device="cpu")
