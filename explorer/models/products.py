"""Batched matrix products whose rounding does not depend on the number of models."""

from __future__ import annotations

import torch
from torch import Tensor


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
