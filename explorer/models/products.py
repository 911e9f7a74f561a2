"""Batched products of matrices whose rounding does not depend on the size of the batch."""

from __future__ import annotations

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """a·b of (rows, m, k) and (rows, k, n), and ``plus``, (rows, m or 1, n or 1), if it is given.

    MKL takes another routine for a single product of a matrix with a vector than for several of them, and
    the two round differently. Where a side is 1, the numbers are multiplied and summed one by one instead:
    derivatives then contain no such product either.
    """
    if 1 in (a.shape[1], a.shape[2], b.shape[2]):
        found = (a.unsqueeze(3) * b.unsqueeze(1)).sum(2)
        return found if plus is None else found + plus
    return torch.bmm(a, b) if plus is None else torch.baddbmm(plus, a, b)
