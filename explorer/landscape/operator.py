"""Products of Hessians with vectors, for many models at once, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from explorer.models import memory
from explorer.models.rows import Rows

# Numbers that the graph of a gradient may hold on a processor (256 MB of float32); on a card it is a part of
# what the process may use.
GRAPH = 2**26
# A graph of a gradient holds, of every layer's output: the output, what its derivative needs, and both
# again for the derivative of the gradient (measured on the networks of this package: 4 to 6 times).
COPIES = 6


class HessianOperator:
    """Product of the Hessians of the rows' mean losses with vectors (rows, parameters), evaluation mode.

    Double backward. Where all inputs fit into the memory budget, the graph of the gradient is kept and
    a product costs about two gradients; otherwise it is built again, chunk by chunk, in every product,
    which costs about four and needs memory that does not grow with the number of inputs. Either way the
    products are the same up to rounding.

    Args:
        theta: (rows, parameters); ``buffers`` (rows, numbers).
        x: inputs (inputs, *shape); ``y``: targets (inputs, …).
    """

    def __init__(self, network: Rows, theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor | None = None):
        self.network, self.x, self.y, self.buffers = network, x, y, buffers
        self.theta = theta.detach().requires_grad_()
        self.parts = graph_parts(network, theta, x)
        # A chunk's share of all that is scored; as tensors, so that nothing waits for the device.
        scored = torch.stack([network.task.scored(y[None, part])[0] for part in self.parts]).double()
        self.weights = (scored / scored.sum().clamp_min(1)).to(theta)
        self._kept = self._gradient(0) if len(self.parts) == 1 else None

    def _gradient(self, place: int) -> Tensor:
        part = self.parts[place]
        outputs = self.network(self.theta, self.x[None, part], self.buffers)
        loss = self.network.task.loss(outputs, self.y[None, part]).sum() * self.weights[place]
        return torch.autograd.grad(loss, self.theta, create_graph=True)[0]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Products (rows, parameters)."""
        # The derivative of gradient · vector. The vectors as ``grad_outputs`` give the same bits, but make
        # torch import its symbolic shapes first, a third of a second in every worker.
        if self._kept is not None:
            return torch.autograd.grad((self._kept * vectors).sum(), self.theta, retain_graph=True)[0]
        total = torch.zeros_like(vectors)
        for place in range(len(self.parts)):
            total += torch.autograd.grad((self._gradient(place) * vectors).sum(), self.theta)[0]
        return total


def graph_parts(network: Rows, theta: Tensor, x: Tensor) -> list[slice]:
    """Slices of the inputs ``x`` (inputs, *shape) whose graph of a gradient fits into the memory budget."""
    size = graph_inputs(memory.room(theta.device), len(theta), outputs_per_input(network, x))
    return [slice(start, start + size) for start in range(0, len(x), size)]


def graph_inputs(room: float | None, rows: int, outputs: int) -> int:
    """Inputs whose graph is held at once, of ``rows`` models with so many ``outputs`` an input.

    ``room``: bytes of a card that the process may use, None on a processor.
    """
    return max(1, memory.numbers(room, GRAPH, memory.GRAPH) // (COPIES * rows * outputs))


def outputs_per_input(network: Rows, x: Tensor) -> int:
    """Numbers in the outputs of all layers together for one input of ``x`` (1 or more, *shape)."""
    return sum(network.output_sizes(x, leaves=True))


class Vectors:
    """Random vectors (rows, parameters), each row from its own seed, drawn one after the other."""

    def __init__(self, seeds: Sequence[int], like: Tensor):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.like = like

    def normal(self) -> Tensor:
        """Independent standard normal numbers."""
        size = self.like.shape[1]
        return torch.stack(
            [torch.randn(size, generator=g, dtype=self.like.dtype) for g in self.generators]
        ).to(self.like)

    def signs(self) -> Tensor:
        """Independent signs, −1 or 1 with probability a half each (Rademacher)."""
        halves = [torch.empty(self.like.shape[1]).bernoulli_(0.5, generator=g) for g in self.generators]
        return (2 * torch.stack(halves) - 1).to(self.like)
