"""Modules of Transformers, for one model and for a stack of models.

The parameters of a module are those of one model, or have a leading dimension of models, (models, *shape),
with inputs of (models or 1, batch, tokens, …). Then every product is one batched product of all models.
Attention is written out, because PyTorch's fused attention has no second derivative on CPU, which a Hessian
needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from explorer.models.stacking import LayerNorm, Linear
from explorer.models.symmetries import Segments, Symmetries

Order = Literal["pre", "post"]


@dataclass
class Keys:
    """Keys and values (…, batch, heads, tokens, width / heads) that queries attend to.

    ``hidden`` is true where a query must not attend; it broadcasts to (…, batch, heads, queries, tokens).
    """

    keys: Tensor
    values: Tensor
    hidden: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> None:
        """Append keys and values of more tokens."""
        self.keys = torch.cat([self.keys, keys], -2)
        self.values = torch.cat([self.values, values], -2)

    def pick(self, index: Tensor) -> None:
        """Keep the entries ``index`` (models, entries) of the batch of each model."""
        index = index[:, :, None, None, None]
        self.keys, self.values = (torch.take_along_dim(t, index, 1) for t in (self.keys, self.values))


class Attention(nn.Module):
    """Base of self-attention and cross-attention: heads, softmax and output map."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.softmax = nn.Softmax(-1)
        self.project = Linear(width, width)

    def split(self, x: Tensor, parts: int) -> list[Tensor]:
        """Split (…, tokens, parts · width) into parts of (…, heads, tokens, width / heads) each."""
        if x.device.type == "cuda":  # one copy for all parts, instead of one for each in the products
            by_part = x.unflatten(-1, (parts, self.heads, -1)).movedim((-3, -2), (0, -3))
            return list(by_part.contiguous().unbind(0))
        return [p.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for p in x.chunk(parts, -1)]

    def attend(self, queries: Tensor, to: Keys) -> Tensor:
        """Return the attention output (…, tokens, width) of queries (…, heads, tokens, width / heads)."""
        scores = _product(queries / math.sqrt(queries.shape[-1]), to.keys.mT)  # (…, heads, queries, tokens)
        if to.hidden is not None:
            # Not −∞: if everything is hidden, the softmax is uniform instead of NaN.
            scores = scores.masked_fill(to.hidden, torch.finfo(scores.dtype).min)
        mixed = _product(self.softmax(scores).to(to.values.dtype), to.values)
        return self.project(mixed.transpose(-2, -3).flatten(-2))


class SelfAttention(Attention):
    """Multi-head attention within a sequence (Vaswani et al., 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.queries_keys_values = Linear(width, 3 * width)

    def forward(self, x: Tensor, hidden: Tensor | None = None, past: Keys | None = None) -> Tensor:
        """Attend within ``x`` (…, batch, tokens, width); its tokens are appended to those in ``past``."""
        queries, keys, values = self.split(self.queries_keys_values(x), 3)
        if past is None:
            return self.attend(queries, Keys(keys, values, hidden))
        past.extend(keys, values)
        return self.attend(queries, past)


class CrossAttention(Attention):
    """Multi-head attention from one sequence to another."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.queries = Linear(width, width)
        self.keys_values = Linear(width, 2 * width)

    def keys_of(self, other: Tensor, hidden: Tensor | None) -> Keys:
        """Return keys and values of the other sequence (…, batch, tokens, width)."""
        keys, values = self.split(self.keys_values(other), 2)
        return Keys(keys, values, hidden)

    def forward(self, x: Tensor, other: Keys) -> Tensor:
        """Attend from ``x`` (…, batch, tokens, width) to the other sequence."""
        return self.attend(self.split(self.queries(x), 1)[0], other)


class Block(nn.Module):
    """Self-attention, cross-attention (if ``across``) and a perceptron, each added to its input.

    ``order``: LayerNorm is applied to the input of each branch (``pre``) or to the sum (``post``).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        activation: nn.Module,
        order: Order,
        *,
        across: bool = False,
    ) -> None:
        super().__init__()
        self.order = order
        self.attention, self.norm = SelfAttention(width, heads), LayerNorm(width)
        if across:
            self.across, self.across_norm = CrossAttention(width, heads), LayerNorm(width)
        self.perceptron = nn.Sequential(Linear(width, hidden), activation, Linear(hidden, width))
        self.perceptron_norm = LayerNorm(width)

    def forward(
        self, x: Tensor, hidden: Tensor | None = None, other: Keys | None = None, past: Keys | None = None
    ) -> Tensor:
        """Map (…, batch, tokens, width) to the same shape; ``hidden`` is the mask of self-attention."""
        pre = self.order == "pre"
        y = self.attention(self.norm(x) if pre else x, hidden, past)
        x = x + y if pre else self.norm(x + y)
        if other is not None:
            y = self.across(self.across_norm(x) if pre else x, other)
            x = x + y if pre else self.across_norm(x + y)
        y = self.perceptron(self.perceptron_norm(x) if pre else x)
        return x + y if pre else self.perceptron_norm(x + y)

    def symmetries(self, found: Symmetries, name: str, stream: Segments | None) -> None:
        """Record the symmetries of this block ``name``, whose inputs and outputs are ``stream``."""
        first: Linear = self.perceptron[0]  # pyright: ignore[reportAssignmentType]
        shape = {"width": first.in_features, "heads": self.attention.heads}
        found.norm(f"{name}.norm", stream)
        found.self_attention(f"{name}.attention", stream, **shape)
        if hasattr(self, "across"):
            found.norm(f"{name}.across_norm", stream)
            found.cross_attention(f"{name}.across", stream, **shape)
        found.norm(f"{name}.perceptron_norm", stream)
        ends = (f"{name}.perceptron.0", f"{name}.perceptron.2")
        found.perceptron(*ends, stream, hidden=first.out_features)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the products (…, m, n) of (…, m, k) and (…, k, n)."""
    if a.device.type == "cuda" and a.shape[:-2] == b.shape[:-2]:  # ``@`` would copy what lies as it should
        return torch.bmm(a.flatten(0, -3), b.flatten(0, -3)).unflatten(0, a.shape[:-2])
    return a @ b


def causal_mask(tokens: int, device: torch.device) -> Tensor:
    """Return the causal mask (tokens, tokens): true where the key comes after the query."""
    return torch.ones(tokens, tokens, dtype=torch.bool, device=device).triu(1)


def sinusoids(tokens: int, width: int, like: Tensor, *, first: int = 0) -> Tensor:
    """Return the position encodings (tokens, width) of Vaswani et al. (2017), from position ``first`` on.

    Entries alternate between sin(t / 10000^(2i / width)) and the cosine of the same angle.
    """
    rates = 1e-4 ** (torch.arange(0, width, 2, dtype=like.dtype, device=like.device) / width)
    places = torch.arange(first, first + tokens, dtype=like.dtype, device=like.device)
    angles = places[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)[:, :width]


def glorot(module: nn.Module) -> None:
    """Initialise with uniform weights of variance 2 / (inputs + outputs) (Glorot & Bengio, 2010), biases 0.

    Queries, keys and values count as separate maps, although one matrix holds them.
    """
    for layer in module.modules():
        if isinstance(layer, Linear) and layer.bias is not None:
            for part in layer.weight.detach().split(min(layer.weight.shape[0], layer.weight.shape[1])):
                nn.init.xavier_uniform_(part)
            nn.init.zeros_(layer.bias)
