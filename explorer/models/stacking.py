"""Modules whose parameters may have a leading dimension of models, for one model or a stack.

With its own parameters, such a module is an ordinary module. With parameters of (models, *shape), it maps
(models or 1, batch, …) to (models, batch, …), and every product is one batched product of all models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from explorer.models.arithmetic import product
from explorer.models.rows import Forward, Places, _places, tensors_replaced

Make = Callable[[Sequence[Tensor]], nn.Module]  # from parameters (models, *shape)


class Linear(nn.Linear):
    """Linear map of the last dimension."""

    def forward(self, input: Tensor) -> Tensor:
        return self.map(input, self.bias)

    def map(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Apply the map with another bias, or without bias, as tangents need."""
        if self.weight.dim() == 2:
            return functional.linear(x, self.weight, bias)
        flat = x.expand(self.weight.shape[0], *x.shape[1:]).flatten(1, -2)  # (models, inputs, features)
        mapped = product(flat, self.weight.mT, None if bias is None else bias.unsqueeze(1))
        return mapped.unflatten(1, x.shape[1:-1])


class LayerNorm(nn.LayerNorm):
    """Normalisation of the last dimension (Ba et al., 2016)."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.dim() == 1:
            return super().forward(input)
        scale, shift = (p.view(-1, *[1] * (input.dim() - 2), p.shape[-1]) for p in (self.weight, self.bias))
        normal = functional.layer_norm(input, input.shape[-1:], eps=self.eps)
        if input.device.type == "cuda":  # the gradient of addcmul takes two kernels more
            return normal * scale + shift
        return torch.addcmul(shift, normal, scale)


class Embedding(nn.Module):
    """Vectors of tokens, initialised from a normal distribution with standard deviation ``spread``."""

    def __init__(self, vocabulary: int, width: int, *, spread: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(spread * torch.randn(vocabulary, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return vectors (…, tokens, width) of tokens (…, tokens)."""
        if self.weight.dim() == 2:
            return functional.embedding(tokens, self.weight)
        rows, _, width = self.weight.shape
        index = tokens.expand(rows, *tokens.shape[1:]).flatten(1).unsqueeze(2).expand(-1, -1, width)
        return self.weight.gather(1, index).unflatten(1, tokens.shape[1:])


class Positions(nn.Module):
    """Vectors of the positions in a sequence, initialised as those of tokens (:class:`Embedding`)."""

    def __init__(self, length: int, width: int, *, spread: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(spread * torch.randn(length, width))

    def forward(self, tokens: int) -> Tensor:
        """Return the vectors (…, 1, tokens, width) of the first so many positions."""
        return self.weight[..., None, :tokens, :]


def stacked(make: Make) -> Forward:
    """Return the stacked forward of a module that is built from the classes above.

    ``make`` builds the module on the first call, from the shapes of the parameters.
    """
    module: Any = None
    places: Places = []

    def forward(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        nonlocal module, places
        if module is None:
            with torch.device("meta"):
                module = make(parameters)
            places = _places(module, dict(module.named_parameters()))
        with tensors_replaced(places, parameters):
            return module(x)

    return forward
