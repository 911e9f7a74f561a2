"""PyTorch's own attention with all derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Use, in this block, kernels of PyTorch's attention that have second derivatives and run under vmap.

    Fused kernels have no second derivative, which a Hessian needs, and the fast path of
    ``nn.MultiheadAttention`` has no vmap. Results agree up to rounding.
    """
    if torch.compiler.is_compiling():
        yield
        return
    sdp, mha = torch.backends.cuda, torch.backends.mha
    before = (
        sdp.flash_sdp_enabled(),
        sdp.mem_efficient_sdp_enabled(),
        sdp.cudnn_sdp_enabled(),
        mha.get_fastpath_enabled(),
    )
    setters = (
        sdp.enable_flash_sdp,
        sdp.enable_mem_efficient_sdp,
        sdp.enable_cudnn_sdp,
        mha.set_fastpath_enabled,
    )
    try:
        for enable in setters:
            enable(False)
        yield
    finally:
        for enable, value in zip(setters, before, strict=True):
            enable(value)
