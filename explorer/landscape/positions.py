"""Positions of tokens in the values of a layer, for networks on padded sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from explorer.models.rows import Rows


def positions(network: Rows, layer: str, x: Tensor) -> Tensor | None:
    """Return where (inputs, length) the layer sees tokens, not padding; None for a task without sequences.

    A network defines this by a method ``positions(layer, x)``. Without one, tokens (inputs, length) are
    assumed to have no padding.

    Raises:
        ValueError: the inputs are two sequences, and the network does not say which one the layer sees.
    """
    if not network.task.by_token:
        return None
    own = getattr(network.module, "positions", None)
    if own is not None:
        return own(layer, x)
    if x.dim() == 2:
        return torch.ones_like(x, dtype=torch.bool)
    raise ValueError(
        f"it is unknown whether layer {layer!r} sees source or target tokens, and where they are padding; "
        "give the network a method positions(layer, x) that returns where (inputs, length) it sees tokens"
    )


def tokens_of(values: Tensor, network: Rows, layer: str, x: Tensor) -> Tensor:
    """Return the values (tokens, features) of a layer at tokens; for other tasks, all values unchanged.

    Raises:
        ValueError: the values are not one vector for each token.
    """
    there = positions(network, layer, x)
    if there is None:
        return values
    if values.dim() != 3 or values.shape[:2] != there.shape:
        raise ValueError(
            f"layer {layer!r} has values of shape {tuple(values.shape)}, which are not one vector for each "
            f"of {tuple(there.shape)} tokens"
        )
    return values[there.to(values.device)]
