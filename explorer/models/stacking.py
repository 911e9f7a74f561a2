"""Modules whose parameters may have rows in front, so that one module serves a model and a stack.

With its own parameters a module is an ordinary one. With parameters of (rows, *shape) it maps
(rows or 1, batch, …) to (rows, batch, …), and every product is one batched product of all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from explorer.models import memory
from explorer.models.rows import MEMORY, Forward, LossGradient, _places, made_anew

Make = Callable[[Sequence[Tensor]], nn.Module]  # from parameters with rows in front
Places = Sequence[Sequence[tuple[dict[str, Any], str]]]


class Linear(nn.Linear):
    """Linear map of the last dimension."""

    def forward(self, input: Tensor) -> Tensor:
        return self.map(input, self.bias)

    def map(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The map with another bias, or with none: that of tangents."""
        if self.weight.dim() == 2:
            return functional.linear(x, self.weight, bias)
        flat = x.expand(self.weight.shape[0], *x.shape[1:]).flatten(1, -2)  # (rows, inputs, features)
        if bias is None:
            product = torch.bmm(flat, self.weight.mT)
        else:
            product = torch.baddbmm(bias.unsqueeze(1), flat, self.weight.mT)
        return product.unflatten(1, x.shape[1:-1])


class LayerNorm(nn.LayerNorm):
    """Normalisation of the last dimension (Ba et al., 2016)."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.dim() == 1:
            return super().forward(input)
        scale, shift = (p.view(-1, *[1] * (input.dim() - 2), p.shape[-1]) for p in (self.weight, self.bias))
        return torch.addcmul(shift, functional.layer_norm(input, input.shape[-1:], eps=self.eps), scale)


class Embedding(nn.Module):
    """Vectors of tokens, at first normal with standard deviation ``spread``."""

    def __init__(self, vocabulary: int, width: int, *, spread: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(spread * torch.randn(vocabulary, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(…, tokens, width) of (…, tokens)."""
        if self.weight.dim() == 2:
            return functional.embedding(tokens, self.weight)
        rows, _, width = self.weight.shape
        index = tokens.expand(rows, *tokens.shape[1:]).flatten(1).unsqueeze(2).expand(-1, -1, width)
        return self.weight.gather(1, index).unflatten(1, tokens.shape[1:])


@contextmanager
def holding(places: Places, pieces: Sequence[Tensor]) -> Iterator[None]:
    """Other parameters in the places of a module's own, which come back afterwards."""
    pairs = list(zip(places, pieces, strict=True))
    before = [(store, key, store[key]) for own, _ in pairs for store, key in own]
    try:
        for own, piece in pairs:
            for store, key in own:
                store[key] = piece
        yield
    finally:
        for store, key, value in before:
            store[key] = value


class Skeleton:
    """A module of these pieces without numbers of its own, for parameters with rows in front.

    ``make`` builds the module from the first parameters it is given, of which it needs the shapes.
    """

    def __init__(self, make: Make):
        self.make = make
        self.module: Any = None
        self.names: list[str] = []
        self.places: Places = []

    @contextmanager
    def holding(self, parameters: Sequence[Tensor]) -> Iterator[Any]:
        """The module with these parameters."""
        if self.module is None:
            with torch.device("meta"):
                self.module = self.make(parameters)
            self.names = [name for name, _ in self.module.named_parameters()]
            self.places = _places(self.module, self.names, "_parameters")
        with holding(self.places, parameters):
            yield self.module


def stacked(make: Make) -> Forward:
    """The stacked forward of such a module."""
    skeleton = Skeleton(make)

    def forward(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        with skeleton.holding(parameters) as module:
            return module(x)

    return forward


def _kept(tensor: Tensor) -> Tensor:
    """The tensor, or a copy where it was made in inference mode: those cannot be kept for a derivative."""
    return tensor.clone() if tensor.is_inference() else tensor


def scored_gradient(make: Make) -> LossGradient:
    """Loss and gradient of sequences, with the scores' part written out by hand.

    For modules whose ``output``, a linear map without bias, is taken of ``features(x)``. The scores of
    (tokens, vocabulary) are most of the work of a narrow network: here they are computed where something
    is scored (labels of 0 or more), and automatic differentiation keeps no copies of them.
    """
    skeleton = Skeleton(make)

    def gradient(parameters: Sequence[Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        # Leaves of this function's own: the caller may be in inference mode.
        with torch.inference_mode(False), torch.enable_grad():
            x, *given = (_kept(t) for t in (x, *parameters))
            leaves = [p.detach().requires_grad_() for p in given]
            with skeleton.holding(leaves) as module:
                weight = module.output.weight  # (rows, vocabulary, width)
                features = module.features(x).flatten(1, 2)  # (rows, places, width)
            labels = y.expand(features.shape[0], *y.shape[1:]).flatten(1)
            scored = labels >= 0
            counts = scored.sum(1).clamp_min(1)
            # On the meta device, where work is counted without numbers, everything is scored.
            most = labels.shape[1] if labels.is_meta else int(counts.max())
            places = scored.int().argsort(dim=1, descending=True, stable=True)[:, :most]
            scored, labels = scored.gather(1, places), labels.gather(1, places).clamp_min(0).unsqueeze(2)
            kept = torch.take_along_dim(features, places.unsqueeze(2), 1)
            share = (scored / counts.unsqueeze(1)).unsqueeze(2).to(kept.dtype)  # of each place in the mean
            losses, of_kept, of_weight = _of_scores(kept.detach(), weight.detach(), labels, share)
            pieces = torch.autograd.grad(kept, leaves, of_kept, allow_unused=True)
            found = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, pieces, strict=True)]
            place = next(i for i, leaf in enumerate(leaves) if leaf is weight)
            found[place] = found[place] + of_weight
        return losses, found

    return made_anew(gradient)


def _of_scores(
    features: Tensor, weight: Tensor, labels: Tensor, share: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy (rows,) of the scores features·weightᵀ, and its gradients by features and weight.

    Features (rows, places, width), weight (rows, vocabulary, width), labels and share (rows, places, 1). Part
    by part, so that memory does not grow with the number of places.
    """
    losses = features.new_zeros(len(features))
    of_features, of_weight = torch.empty_like(features), torch.zeros_like(weight)
    budget = memory.numbers(memory.room(weight.device), MEMORY, memory.EVALUATION)
    size = max(1, budget // (weight.shape[0] * weight.shape[1]))
    for start in range(0, features.shape[1], size):
        part = slice(start, start + size)
        own, label, weigh = features[:, part], labels[:, part], share[:, part]
        log_p = torch.bmm(own, weight.mT).log_softmax(2)
        losses -= (log_p.gather(2, label) * weigh).sum((1, 2))
        minus_one = log_p.new_full((1,), -1.0).expand_as(label)
        error = log_p.exp_().scatter_add_(2, label, minus_one)  # softmax less label
        of_features[:, part] = torch.bmm(error, weight).mul_(weigh)
        of_weight = torch.baddbmm(of_weight, error.mT, own * weigh)
    return losses, of_features, of_weight
