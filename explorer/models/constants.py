"""Numbers as tensors.

PyTorch converts a number of Python's anew in every operation, which costs as much as a small operation.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.lru_cache(maxsize=1024)
def constant(value: float, dtype: torch.dtype) -> Tensor:
    """The number as a tensor () in host memory, which operations on every device take; not to be changed."""
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=dtype, device="cpu")
