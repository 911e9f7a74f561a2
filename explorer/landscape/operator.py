"""Hessian-vector products for many models at once, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from explorer.models import memory
from explorer.models.rows import Rows, blocks, models_per_chunk
from explorer.models.torch_attention import differentiable_attention

# Numbers that the graph of a gradient may hold on a CPU (256 MB of float32). On a GPU, the limit is a share
# of the memory that the process may use.
GRAPH = 2**26
# For every layer, the graph of a gradient holds the output, what its derivative needs, and both again for the
# derivative of the gradient (measured on the networks of this package: 4 to 6 times the output).
COPIES = 6

Result = TypeVar("Result")


class HessianOperator:
    """Product of the Hessians of the models' mean losses with vectors (models, parameters), evaluation mode.

    Products use double backward. If all models and inputs fit into the memory budget, the graph of the
    gradient is kept and a product costs about two gradients. Otherwise every product builds the graph again,
    chunk by chunk. This costs about four gradients, and memory does not grow with the number of inputs. Both
    ways give the same products up to rounding. If rows run in turn, each has its own graph, and a vector of
    zeros costs nothing on a CPU.

    Args:
        theta: (models, parameters); ``buffers`` (models, numbers).
        x: inputs (inputs, *shape); ``y``: targets (inputs, …).
    """

    def __init__(self, network: Rows, theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor | None = None):
        self.network, self.x, self.y = network, x, y
        self.parts = graph_parts(network, x)
        together = models_at_once(network, x)
        self.some = 1 if network.execution_of_gradient(x[None]) == "loop" else together
        pieces = theta.detach().split(self.some)
        stats = [None] * len(pieces) if buffers is None else buffers.split(self.some)
        self.rows = [self._leaf(*piece) for piece in zip(pieces, stats, strict=True)]
        # Share of the scored items in each chunk; as tensors, so nothing waits for the device.
        scored = torch.stack([network.task.count_items(y[None, part])[0] for part in self.parts]).double()
        self.weights = (scored / scored.sum().clamp_min(1)).to(theta)
        keeps = len(self.parts) == 1 and len(theta) <= together
        self._kept = [self._gradient(rows, 0) for rows in range(len(self.rows))] if keeps else None

    def _leaf(self, theta: Tensor, buffers: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the parameters to differentiate by, with buffers.

        For second derivatives of attention and under vmap, PyTorch uses another layout and order of summation
        for one model than for several, which rounds differently. A single model is therefore duplicated,
        unless memory never holds two models at once.
        """
        execution = self.network.execution_of_gradient(self.x[None])
        attends = execution == "stacked" and self.network.task.by_token
        if len(theta) == 1 and self.some > 1 and (attends or execution == "vmap"):
            theta, buffers = theta.repeat(2, 1), None if buffers is None else buffers.repeat(2, 1)
        return theta.requires_grad_(), buffers

    def _gradient(self, rows: int, place: int) -> Tensor:
        (theta, buffers), part = self.rows[rows], self.parts[place]
        with differentiable_attention():
            outputs = self.network(theta, self.x[None, part], buffers)
            loss = self.network.task.loss(outputs, self.y[None, part]).sum() * self.weights[place]
            return torch.autograd.grad(loss, theta, create_graph=True)[0]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the products (models, parameters)."""
        with differentiable_attention():  # if the forward pass runs again, it must choose the same kernels
            return torch.cat(
                [self._product(rows, part) for rows, part in enumerate(vectors.split(self.some))]
            )

    def _product(self, rows: int, vectors: Tensor) -> Tensor:
        theta = self.rows[rows][0]
        # Models whose results are known already. To ask a GPU, the host would have to wait for it.
        if vectors.device.type == "cpu" and not vectors.any():
            return torch.zeros_like(vectors)
        along = vectors.expand(len(theta), -1)
        # The derivative of gradient · vector. Passing the vectors as ``grad_outputs`` gives the same bits,
        # but then torch first imports its symbolic shapes, which takes a third of a second in every worker.
        if self._kept is not None:
            total = torch.autograd.grad((self._kept[rows] * along).sum(), theta, retain_graph=True)[0]
        else:
            total = torch.zeros_like(theta)
            for place in range(len(self.parts)):
                total += torch.autograd.grad((self._gradient(rows, place) * along).sum(), theta)[0]
        return total[: len(vectors)]


def models_at_once(network: Rows, x: Tensor) -> int:
    """Return for how many models the gradient graphs on ``x`` (inputs, *shape) fit the budget together."""
    return models_per_chunk(graph_parts(network, x), graph_inputs(network, x))


def graph_parts(network: Rows, x: Tensor) -> list[slice]:
    """Return slices of the inputs ``x`` (inputs, *shape) whose gradient graph fits the budget for one model.

    The slices do not depend on the number of models, because the rounding of a mean depends on its parts.
    """
    size = graph_inputs(network, x)
    return [slice(start, min(start + size, len(x))) for start in range(0, len(x), size)]


def graph_blocks(network: Rows, rows: int, x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield slices of ``rows`` models and of the inputs (:func:`graph_parts`) that fit into the budget."""
    return blocks(rows, graph_parts(network, x), graph_inputs(network, x))


def graph_inputs(network: Rows, x: Tensor) -> int:
    """Return how many inputs of ``x`` (inputs, *shape) the gradient graph of one model may hold."""
    device = next(network.module.parameters()).device
    outputs = sum(network.output_sizes(x, leaves=True))  # numbers in the outputs of all layers for one input
    return max(1, memory.floats_at_once(memory.card_bytes(device), GRAPH, memory.GRAPH) // (COPIES * outputs))


def model_groups(network: Rows, rows: int, x: Tensor) -> list[slice]:
    """Return slices of ``rows`` models that are measured one after the other, each group with kept graphs.

    On a CPU, rows that run in turn are groups of one: together they would only need more memory at a time.
    """
    device = next(network.module.parameters()).device
    in_turn = device.type == "cpu" and network.execution_of_gradient(x[None]) == "loop"
    some = 1 if in_turn else models_at_once(network, x)
    return [slice(start, min(start + some, rows)) for start in range(0, rows, some)]


def measure_groups(
    measure: Callable[[HessianOperator, Vectors], Result],
    network: Rows,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    buffers: Tensor | None,
    seeds: Sequence[int],
) -> list[Result]:
    """Return what ``measure`` finds for each of the :func:`model_groups`, whose graphs are never together."""
    return [
        measure(
            HessianOperator(network, theta[group], x, y, None if buffers is None else buffers[group]),
            Vectors(seeds[group], theta),
        )
        for group in model_groups(network, len(theta), x)
    ]


def joined(pieces: Sequence[Tensor], missing: float) -> Tensor:
    """Concatenate (models, …) of groups of models; shorter rows are filled up with ``missing``."""
    if pieces[0].ndim == 1:
        return torch.cat(list(pieces))
    width = max(piece.shape[1] for piece in pieces)
    padded = [functional.pad(piece, (0, width - piece.shape[1]), value=missing) for piece in pieces]
    return torch.cat(padded)


class Vectors:
    """Random vectors (models, parameters), drawn in sequence, for each model from its own seed."""

    def __init__(self, seeds: Sequence[int], like: Tensor):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.like = like

    def normal(self) -> Tensor:
        """Draw independent standard normal numbers."""
        size = self.like.shape[1]
        draws = [torch.randn(size, generator=g, dtype=self.like.dtype) for g in self.generators]
        return torch.stack(draws).to(self.like, non_blocking=True)

    def signs(self) -> Tensor:
        """Draw independent signs, −1 or 1 with probability 1/2 each (Rademacher).

        For a GPU, the signs are the bits of random numbers, which take a 16th of the time of other draws and
        a 32nd of the copy. CPUs draw each sign, so that results stay those of earlier versions.
        """
        size, device = self.like.shape[1], self.like.device
        if device.type == "cpu":
            halves = [torch.empty(size).bernoulli_(0.5, generator=g) for g in self.generators]
            return (2 * torch.stack(halves) - 1).to(self.like)
        words = [torch.empty(-(-size // 64), dtype=torch.int64) for _ in self.generators]
        for word, generator in zip(words, self.generators, strict=True):
            word.random_(-(2**63), None, generator=generator)
        octets = torch.stack(words).view(torch.uint8).to(device, non_blocking=True)
        bits = octets[:, :, None] >> torch.arange(8, dtype=torch.uint8, device=device) & 1
        return bits.flatten(1)[:, :size].to(self.like.dtype).mul_(2).sub_(1)
