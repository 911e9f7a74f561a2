"""Arithmetic for many models: fast constants, and products whose rounding does not depend on their number."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.lru_cache(maxsize=1024)
def constant(value: float, dtype: torch.dtype) -> Tensor:
    """Return the number as a tensor () in host memory, which works on every device; do not change it.

    PyTorch converts a Python number to a tensor in every operation, which costs as much as a small operation.
    """
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=dtype, device="cpu")


def product(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """Return a·b of (models, m, k) and (models, k, n), plus ``plus`` (models, m or 1, n or 1) if it is given.

    For a single matrix-vector product, MKL uses another routine than for several, and the two round
    differently. So if a side is 1, numbers are multiplied elementwise and summed. Then derivatives contain no
    such product either.
    """
    if 1 in (a.shape[1], a.shape[2], b.shape[2]):
        found = (a.unsqueeze(3) * b.unsqueeze(1)).sum(2)
        return found if plus is None else found + plus
    return torch.bmm(a, b) if plus is None else torch.baddbmm(plus, a, b)
