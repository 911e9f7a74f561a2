"""Precision of products on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def ieee_float32(device: torch.device) -> Iterator[None]:
    """Compute convolutions and matrix products in IEEE float32 within this block, also on a GPU.

    By default, cuDNN rounds the operands of a convolution to TF32, which has 10 bits. That is enough for
    training, but the Hessian of a network would be off by more than the tolerance of its eigenvalues.
    """
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn  # its attributes are properties, which have no types
    products: Any = torch.backends.cuda.matmul
    try:
        flags = [(cudnn, "allow_tf32", cudnn.allow_tf32), (products, "allow_tf32", products.allow_tf32)]
        exact: Any = False
    except RuntimeError:  # a user's network has set ``fp32_precision``, and PyTorch allows no mixture
        parts = cudnn.conv, cudnn.rnn, products
        flags, exact = [(part, "fp32_precision", part.fp32_precision) for part in parts], "ieee"
    for part, name, _ in flags:
        setattr(part, name, exact)
    try:
        yield
    finally:
        for part, name, before in flags:
            setattr(part, name, before)
