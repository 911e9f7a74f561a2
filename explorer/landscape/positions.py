"""Which values of a layer belong to a token, where a network works on sequences that are padded."""

from __future__ import annotations

import torch
from torch import Tensor

from explorer.models.rows import Rows


def positions(network: Rows, layer: str, x: Tensor) -> Tensor | None:
    """Where (inputs, length) the layer sees tokens and no padding; None for a task without sequences.

    A network says it by a method ``positions(layer, x)``. Without one, tokens (inputs, length) have no
    padding.

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
        f"whether layer {layer!r} sees source or target tokens is not known, nor where they are padding; "
        "give the network a method positions(layer, x) that returns where (inputs, length) it sees tokens"
    )


def tokens_of(values: Tensor, network: Rows, layer: str, x: Tensor) -> Tensor:
    """Values (tokens, features) of a layer where there are tokens; of other tasks all, as they are.

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
