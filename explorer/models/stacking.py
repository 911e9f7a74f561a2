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
from explorer.models.products import product
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
        found = product(flat, self.weight.mT, None if bias is None else bias.unsqueeze(1))
        return found.unflatten(1, x.shape[1:-1])


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
            losses, of_features, of_weight = _of_scores(features.detach(), weight.detach(), labels)
            pieces = torch.autograd.grad(features, leaves, of_features, allow_unused=True)
            found = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, pieces, strict=True)]
            place = next(i for i, leaf in enumerate(leaves) if leaf is weight)
            found[place] = found[place] + of_weight
        return losses, found

    return made_anew(gradient)


def _of_scores(features: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean cross-entropy (rows,) of the scores features·weightᵀ, and its gradients by features and weight.

    Features (rows, places, width), weight (rows, vocabulary, width), labels (rows, places), negative where
    nothing is scored. Row by row, since each has another number of scored places and what is summed up of
    them rounds by that number. Part by part, so that memory does not grow with the number of places.
    """
    losses = features.new_zeros(len(features))
    of_features, of_weight = torch.zeros_like(features), torch.zeros_like(weight)
    budget = memory.numbers(memory.room(weight.device), MEMORY, memory.EVALUATION)
    size = max(1, budget // weight.shape[1])
    scored = labels >= 0
    # On the meta device, where work is counted without numbers, everything is scored.
    counts = [labels.shape[1]] * len(labels) if labels.is_meta else scored.sum(1).tolist()
    for row, count in enumerate(counts):
        share = 1 / max(1, count)  # of each place in the mean
        for part in scored[row].int().argsort(descending=True, stable=True)[:count].split(size):
            own, label = features[row, part], labels[row, part].unsqueeze(1)
            log_p = (own @ weight[row].T).log_softmax(1)
            losses[row] -= share * log_p.gather(1, label).sum()
            minus_one = log_p.new_full((1,), -1.0).expand_as(label)
            error = log_p.exp_().scatter_add_(1, label, minus_one)  # softmax less label
            of_features[row, part] = (error @ weight[row]).mul_(share)
            of_weight[row].addmm_(error.T, own, alpha=share)
    return losses, of_features, of_weight
