"""A network for the convection equation, for one model and for a stack of models."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn

from explorer.models.stacking import Linear
from explorer.models.symmetries import Segments, Spec, Symmetries


class Convection(nn.Module):
    """u(x, t) and its derivative along (β, 1) in the plane (x, t), which is u_t + β·u_x.

    The derivative is computed in forward mode, layer by layer with the value. This needs one tangent for any
    number of parameters, and gives an ordinary graph that can be differentiated as often as needed.
    """

    def __init__(self, *, width: int, depth: int, periodic: bool) -> None:
        super().__init__()
        self.periodic = periodic
        sizes = [3 if periodic else 2, *[width] * depth]
        layers = [Linear(a, b) for a, b in itertools.pairwise(sizes)]
        self.hidden = nn.ModuleList(layers)
        self.last = Linear(width, 1)
        for layer in (*layers, self.last):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (x, t, β), (…, batch, 3), to u and its derivative, (…, batch, 2)."""
        place, time, speed = x.unbind(-1)
        if self.periodic:
            sine, cosine = place.sin(), place.cos()
            value = torch.stack([sine, cosine, time], -1)
            tangent = torch.stack([speed * cosine, -speed * sine, torch.ones_like(time)], -1)
        else:
            value, tangent = x[..., :2], torch.stack([speed, torch.ones_like(time)], -1)
        for layer in cast("list[Linear]", self.hidden):
            value = torch.tanh(layer(value))
            tangent = layer.map(tangent, None) * (1 - value * value)
        return torch.cat([self.last(value), self.last.map(tangent, None)], -1)

    def symmetries(self) -> Spec:
        """Return symmetries: the units of each hidden layer."""
        found, units = Symmetries(), cast("Segments | None", None)
        for place, layer in enumerate(cast("list[Linear]", self.hidden)):
            before, units = units, found.group(layer.out_features)
            found.linear(f"hidden.{place}", before, units)
        found.linear("last", units, None)
        return found.spec()
