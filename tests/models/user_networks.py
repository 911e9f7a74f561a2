"""Networks as people write them. Each is called with shape=, classes= and options."""

from __future__ import annotations

import itertools
import math
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

WIDTH = 6


class Plain(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(shape[-1], WIDTH), nn.Linear(WIDTH, classes)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x))


class RandomFeatures(nn.Module):
    """Features that are drawn once for each model and never trained."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(shape[-1], WIDTH))
        self.last = nn.Linear(2 * WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        phase = x @ self.frequencies
        return self.last(torch.cat([phase.sin(), phase.cos()], 1))


class RandomMask(Plain):
    """A random sparse layer, its mask a buffer of truth values."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("mask", torch.rand(WIDTH, shape[-1]) < 0.5)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(functional.linear(x, self.first.weight * self.mask, self.first.bias))


class RandomOrder(Plain):
    """Inputs in a random order, a buffer of whole numbers."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("order", torch.randperm(shape[-1]))

    def hidden(self, x: Tensor) -> Tensor:
        return super().hidden(x[:, self.order] * torch.linspace(1, 2, x.shape[1]))


class ComplexConstants(Plain):
    """Rotations as complex numbers, the same in all models."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("turn", torch.polar(torch.ones(WIDTH // 2), torch.arange(WIDTH // 2) / 3))

    def hidden(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(super().hidden(x).unflatten(1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * self.turn).flatten(1)


class HandwrittenNorm(Plain):
    """Running statistics in buffers, changed in place."""

    momentum = 0.1

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("variance", torch.ones(WIDTH))

    def update(self, mean: Tensor, variance: Tensor) -> None:
        self.mean.lerp_(mean, self.momentum)
        self.variance.lerp_(variance, self.momentum)

    def hidden(self, x: Tensor) -> Tensor:
        h = self.first(x)
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = h.mean(0), h.var(0, unbiased=False)
            self.update(mean.detach(), variance.detach())
        return torch.relu((h - mean) / (variance + 1e-5).sqrt())


class AssignedNorm(HandwrittenNorm):
    """Running statistics in buffers that are assigned anew."""

    def update(self, mean: Tensor, variance: Tensor) -> None:
        self.mean = self.mean.lerp(mean, self.momentum)
        self.variance = self.variance.lerp(variance, self.momentum)


class AttributeNorm(HandwrittenNorm):
    """Running statistics in plain attributes, which a saved model does not have."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        del self.mean, self.variance
        self.mean, self.variance = torch.zeros(WIDTH), torch.ones(WIDTH)


class ListNorm(Plain):
    """A running mean in a list, which a saved model does not have either."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.means = [torch.zeros(WIDTH)]

    def hidden(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.training:
            self.means[0] = self.means[0].lerp(h.mean(0).detach(), 0.1)
        return torch.relu(h - self.means[0])


class RandomComplex(ComplexConstants):
    """Random rotations, drawn once for each model."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.turn = torch.randn(WIDTH // 2, dtype=torch.cfloat)


class Closure(Plain):
    """A function that has captured a layer, which a copy of the network shares."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        first = self.first
        self.encode = lambda x: torch.tanh(first(x))

    def hidden(self, x: Tensor) -> Tensor:
        return self.encode(x)


def hooked(shape: tuple[int, ...], classes: int) -> nn.Module:
    net = Plain(shape, classes)
    net.skip = skip = nn.Linear(shape[-1], classes)
    net.register_forward_hook(lambda _module, inputs, output: output + skip(inputs[0]))
    return net


def replaced_forward(shape: tuple[int, ...], classes: int) -> nn.Module:
    net = Plain(shape, classes)
    forward = net.forward
    net.forward = lambda x: 2 * forward(x)
    return net


class DoubleNorm(HandwrittenNorm):
    """Statistics in another type than the parameters."""

    dtype = torch.float64

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.mean, self.variance = self.mean.to(self.dtype), self.variance.to(self.dtype)

    def update(self, mean: Tensor, variance: Tensor) -> None:
        super().update(mean.to(self.dtype), variance.to(self.dtype))

    def hidden(self, x: Tensor) -> Tensor:
        return super().hidden(x).float()


class HalfNorm(DoubleNorm):
    dtype = torch.float16


class ExpandedNorm(AssignedNorm):
    """Statistics whose elements share memory at first."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.mean, self.variance = torch.zeros(1).expand(WIDTH), torch.ones(1).expand(WIDTH)


class StatisticsAlways(Plain):
    """A running mean that evaluation changes too."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("mean", torch.zeros(WIDTH))

    def hidden(self, x: Tensor) -> Tensor:
        h = self.first(x)
        self.mean.lerp_(h.detach().mean(0), 0.1)
        return torch.relu(h - self.mean)


class AlwaysRandom(Plain):
    def hidden(self, x: Tensor) -> Tensor:
        return functional.dropout(super().hidden(x), 0.5)


class BatchFirst(nn.Module):
    """Attention that takes the batch for the sequence, a frequent mistake."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(1, WIDTH), nn.Linear(WIDTH, classes)
        self.attention = nn.MultiheadAttention(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x[..., None])
        return self.last(self.attention(h, h, h)[0].mean(1))


class AttributeFeatures(Plain):
    """Random features in a plain attribute."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.random = torch.randn(shape[-1], shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x @ self.random)


class Counter(Plain):
    """A count of forward passes, which has no effect."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class Schedule(Plain):
    """A count of forward passes that changes the outputs."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return super().forward(x) * (1 + self.calls / 10)


class WarmUp(Plain):
    """A count of forward passes that has an effect much later."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.calls = 0

    def hidden(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return super().hidden(x) * (2 if self.calls > 100 else 1)


class CountInList(Plain):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.counts = [0]

    def forward(self, x: Tensor) -> Tensor:
        self.counts[0] += 1
        return super().forward(x)


TOTAL = {"calls": 0}


class GlobalCounter(Plain):
    """A count in a global variable, which doubles the outputs after a while."""

    def forward(self, x: Tensor) -> Tensor:
        TOTAL["calls"] += self.training
        return super().forward(x) * (2 if TOTAL["calls"] > 1000 else 1)


class ClassCounter(Plain):
    """A count in an attribute of the class."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        ClassCounter.calls += self.training
        return super().forward(x)


def closure_counter(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network with a count in a variable of a hook."""
    count = 0

    def hook(module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        nonlocal count
        count += module.training
        return output * (2 if count > 1000 else 1)

    network = Plain(shape, classes)
    network.register_forward_hook(hook)
    return network


class SlotCounter(Plain):
    """A count in an object without a dictionary, deep in others."""

    class Count:
        """A number."""

        __slots__ = ("calls",)

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.counts = {"all": [SlotCounter.Count()]}
        self.counts["all"][0].calls = 0  # pyright: ignore[reportAttributeAccessIssue]

    def forward(self, x: Tensor) -> Tensor:
        self.counts["all"][0].calls += self.training  # pyright: ignore[reportAttributeAccessIssue]
        return super().forward(x)


class RealCounter(Plain):
    """A count as a tensor of a real number."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.calls = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return super().forward(x) * (2 if self.calls > 1000 else 1)


class CountedByIterator(Plain):
    """A count in an iterator."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.calls = itertools.count()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if next(self.calls) > 1000 else 1)


class RarePythonNoise(Plain):
    """Random numbers of Python, which seldom have an effect."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if self.training and random.random() < 1e-9 else 1)


class NumpyNoise(Plain):
    """Random numbers of NumPy."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + float(np.random.rand())  # noqa: NPY002


class OwnGenerator(Plain):
    """Dropout with a generator of its own."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.generator = torch.Generator().manual_seed(0)

    def hidden(self, x: Tensor) -> Tensor:
        hidden = super().hidden(x)
        kept = torch.rand(hidden.shape, generator=self.generator) > 1e-9
        return hidden * kept if self.training else hidden


class NumpyStart(Plain):
    """Weights that NumPy draws."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        with torch.no_grad():
            self.first.weight.copy_(torch.from_numpy(np.random.randn(*self.first.weight.shape)))  # noqa: NPY002


class FreezesLater(Plain):
    """A layer that the forward pass freezes."""

    def forward(self, x: Tensor) -> Tensor:
        self.first.requires_grad_(False)
        return super().forward(x)


SETTINGS = {"scale": 1.5}


class ResultsKept(Plain):
    """Results in an object and a dictionary, and a scale in a global variable: all without effect."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.kept, self.by_size = SimpleNamespace(last=None), {}

    def hidden(self, x: Tensor) -> Tensor:
        hidden = super().hidden(x) * SETTINGS["scale"]
        self.kept.last, self.by_size[len(x)] = hidden, hidden
        return hidden


class AveragedWeights(Plain):
    """Evaluation with an average of the weights."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("average", self.first.weight.detach().clone())

    def hidden(self, x: Tensor) -> Tensor:
        if not self.training:
            return torch.tanh(nn.functional.linear(x, self.average, self.first.bias))
        self.average.lerp_(self.first.weight.detach(), 0.1)
        return super().hidden(x)


class HeadInTraining(Plain):
    """A second head, with a norm, that only training uses."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.head = nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, classes))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        return self.last(hidden) + self.head(hidden) if self.training else self.last(hidden)


class RingOfMeans(Plain):
    """The means of the last four batches."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("means", torch.zeros(4, WIDTH))
        self.register_buffer("place", torch.tensor(0))

    def hidden(self, x: Tensor) -> Tensor:
        hidden = super().hidden(x)
        if self.training:
            self.means[int(self.place)] = hidden.detach().mean(0)
            self.place.copy_((self.place + 1) % 4)
        return hidden - self.means.mean(0)


class SlowNorm(HandwrittenNorm):
    """Statistics that follow very slowly."""

    def update(self, mean: Tensor, variance: Tensor) -> None:
        self.mean.lerp_(mean, 5e-3)
        self.variance.lerp_(variance, 5e-3)


class HookedGradient(Plain):
    """A hook that limits the gradient after it has been added up."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)

        def limit(parameter: Tensor) -> None:
            assert parameter.grad is not None
            parameter.grad.clamp_(-1e-3, 1e-3)

        self.first.weight.register_post_accumulate_grad_hook(limit)


class ConstantInBackward(torch.autograd.Function):
    """Tanh whose backward pass takes its derivative for a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slope = 1 - x.tanh() ** 2
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.slope


class WrongTwice(Plain):
    """First derivatives are right, second ones are not."""

    def hidden(self, x: Tensor) -> Tensor:
        return ConstantInBackward.apply(self.first(x))


def transposed_view(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network with two parameters in the same memory."""
    first, second = nn.Linear(shape[0], WIDTH), nn.Linear(WIDTH, shape[0])
    second.weight = nn.Parameter(first.weight.T)
    return nn.Sequential(first, nn.Tanh(), second, nn.Linear(shape[0], classes))


def row_of_parameter(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network with a buffer that is a part of a parameter."""
    network = Plain(shape, classes)
    network.register_buffer("row", network.first.weight.data[1])
    return network


def sparse_embedding(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network whose embedding has sparse gradients."""
    return nn.Sequential(nn.EmbeddingBag(5, WIDTH, sparse=True), nn.Linear(WIDTH, classes))


class CachedSize(Plain):
    """The size of a batch and the last activations, kept for whom it may concern."""

    def hidden(self, x: Tensor) -> Tensor:
        self.size, self.last_hidden = len(x), super().hidden(x)
        return self.last_hidden


class Clamped(Plain):
    """Weights that every forward pass clamps."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.first.weight.clamp_(-0.2, 0.2)
        return super().forward(x)


class BoundedEmbedding(nn.Module):
    """Vectors of at most unit length, which every forward pass scales."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.vectors, self.last = nn.Embedding(20, WIDTH, max_norm=1.0), nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.vectors((3 * x + 10).long().clamp(0, 19)).mean(1))


class FirstBatch(Plain):
    """Scales set from the first batch in training mode (ActNorm), with a flag as a buffer."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.register_buffer("ready", torch.tensor(False))

    def set_scale(self, scale: Tensor) -> None:
        self.scale.data.copy_(scale)

    def hidden(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.training and not self.ready:
            self.set_scale(1 / h.detach().std(0))
            self.ready.fill_(True)
        return torch.tanh(h * self.scale)


class FirstBatchBuffer(FirstBatch):
    """The same, with the scales as a buffer."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        del self.scale
        self.register_buffer("scale", torch.ones(WIDTH))


class RunningMaximum(Plain):
    """The largest hidden number of all batches, by which hidden units are divided."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("largest", torch.tensor(0.1))

    def hidden(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.training:
            self.largest = torch.maximum(self.largest, h.detach().max())
        return h / self.largest


class Codebook(Plain):
    """Vectors that follow the hidden units (VQ-VAE), in a parameter whose data are assigned."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.code = nn.Parameter(torch.randn(8, WIDTH))

    def hidden(self, x: Tensor) -> Tensor:
        h = super().hidden(x)
        nearest = functional.one_hot(torch.cdist(h, self.code).argmin(1), 8).to(h)
        if self.training:
            self.code.data = 0.9 * self.code.detach() + 0.1 * nearest.T @ h.detach()
        return h + nearest @ self.code


class ShiftedInputs(Plain):
    """Inputs that every forward pass changes in place."""

    def forward(self, x: Tensor) -> Tensor:
        x -= 1
        return super().forward(x)


class FirstBatchAssigned(FirstBatch):
    """The same, with the data of the parameter assigned."""

    def set_scale(self, scale: Tensor) -> None:
        self.scale.data = scale


class FirstBatchInPlace(FirstBatch):
    """The same, without ``data``."""

    @torch.no_grad()
    def set_scale(self, scale: Tensor) -> None:
        self.scale.copy_(scale)


class FirstBatchAttribute(FirstBatch):
    """The same, with the flag as a plain attribute."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        del self.ready
        self.ready = torch.tensor(False)


class Frozen(Plain):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.first.requires_grad_(False)


class FrozenBias(Plain):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.first.bias.requires_grad_(False)


class Checkpointed(Plain):
    def hidden(self, x: Tensor) -> Tensor:
        return checkpoint(super().hidden, x, use_reentrant=False)  # pyright: ignore[reportReturnType]


class CheckpointedInTraining(Plain):
    """Checkpointing in training mode only, of a function that calls no layer."""

    def hidden(self, x: Tensor) -> Tensor:
        def inner(x: Tensor) -> Tensor:
            return torch.tanh(x @ self.first.weight.T + self.first.bias).square()

        return checkpoint(inner, x, use_reentrant=False) if self.training else inner(x)  # pyright: ignore[reportReturnType]


class CheckpointedLarge(Plain):
    """Checkpointing of large batches only."""

    def hidden(self, x: Tensor) -> Tensor:
        inner = super().hidden
        return checkpoint(inner, x, use_reentrant=False) if len(x) > 30 else inner(x)  # pyright: ignore[reportReturnType]


class CheckpointedByValue(Plain):
    """Checkpointing that depends on the inputs."""

    def hidden(self, x: Tensor) -> Tensor:
        inner = super().hidden
        return checkpoint(inner, x, use_reentrant=False) if x.mean() < 0 else inner(x)  # pyright: ignore[reportReturnType]


class CheckpointedAttention(Plain):
    def hidden(self, x: Tensor) -> Tensor:
        def inner(x: Tensor) -> Tensor:
            h = self.first(x).unflatten(1, (1, 3, 2))
            return functional.scaled_dot_product_attention(h, h, h).flatten(1)

        return checkpoint(inner, x, use_reentrant=False)  # pyright: ignore[reportReturnType]


class WithoutGradient(Plain):
    """A first layer that is frozen by switching gradients off, not by ``requires_grad_``."""

    def hidden(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().hidden(x)


class SpareLayer(Plain):
    """A layer that nothing uses."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.spare = nn.Linear(3, 3)


class Temperature(Plain):
    """A temperature that falls with every step, in a buffer."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return super().forward(x) * (1 + self.steps / 50)


class StepCount(Temperature):
    """A count of steps, which has no effect."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return Plain.forward(self, x)


class CumulativeNorm(HandwrittenNorm):
    """A running mean over all batches, with their number in a buffer."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("seen", torch.tensor(20))

    def update(self, mean: Tensor, variance: Tensor) -> None:
        self.seen += 1
        self.mean += (mean - self.mean) / self.seen
        self.variance += (variance - self.variance) / self.seen


class CachedProduct(Plain):
    """A result of the weights that evaluation mode computes once."""

    product: Tensor | None = None

    def train(self, mode: bool = True) -> CachedProduct:
        self.product = None
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.product is None:
            self.product = self.first.weight.T @ self.last.weight.T
        return x @ self.product


class PaddedEmbedding(nn.Module):
    """Vectors of which one is never trained. PyTorch's vmap trains it."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.vectors, self.last = nn.Embedding(8, WIDTH, padding_idx=0), nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.vectors((2 * x + 4).long().clamp(0, 7)).mean(1).tanh())


class NormedWords(nn.Module):
    """A table that holds a vector for each of eight words, with statistics of the vectors."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.vectors, self.norm = nn.Embedding(8, WIDTH), nn.BatchNorm1d(WIDTH)
        self.last = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.vectors(x.long()).mean(1)))


class NoGradientInEvaluation(Plain):
    """Gradients are switched off in evaluation mode, to save memory."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.training):
            return super().forward(x)


class HardChoice(Plain):
    """Layers that have a gradient in training mode only (the Gumbel softmax)."""

    def hidden(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.training:
            return functional.gumbel_softmax(h, hard=True)
        return functional.one_hot(h.argmax(1), WIDTH).float()


class Autocast(Plain):
    """Mixed precision within the network."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


class CalibratedLater(HandwrittenNorm):
    """Statistics that the first evaluation sets."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("ready", torch.tensor(False))

    def hidden(self, x: Tensor) -> Tensor:
        if not self.training and not self.ready:
            self.mean.copy_(self.first(x).detach().mean(0))
            self.ready.fill_(True)
        return torch.relu(self.first(x) - self.mean)


class Gated(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(shape[-1], 2 * WIDTH), nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.first(x).chunk(2, dim=1)
        return self.last(value * gate.sigmoid())


class Split(Gated):
    def forward(self, x: Tensor) -> Tensor:
        value, gate = torch.split(self.first(x), WIDTH, dim=1)
        return self.last(torch.relu(value) + gate.tanh())


class FusedAttention(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(1, 3 * WIDTH), nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.first(x[..., None]).split(WIDTH, -1)
        q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in parts)
        return self.last(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).mean(1))


class Multihead(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(1, WIDTH), nn.Linear(WIDTH, classes)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x[..., None])
        return self.last(self.attention(h, h, h, need_weights=False)[0].mean(1))


class Encoder(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(1, WIDTH), nn.Linear(WIDTH, classes)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=dropout, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.first(x[..., None])).mean(1))


def encoder_with_dropout(shape: tuple[int, ...], classes: int) -> nn.Module:
    return Encoder(shape, classes, dropout=0.2)


class Recurrent(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.cell, self.last = nn.GRUCell(1, WIDTH), nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), WIDTH)
        for place in range(x.shape[1]):
            state = self.cell(x[:, place, None], state)
        return self.last(state)


class Tied(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(shape[-1], WIDTH)
        self.middle = nn.Linear(WIDTH, WIDTH)
        self.again = nn.Linear(WIDTH, WIDTH)
        self.again.weight = self.middle.weight
        self.last = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.again(torch.relu(self.middle(torch.relu(self.first(x)))))))


class MoreInTraining(Plain):
    """An output for an auxiliary loss in training mode."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h = self.hidden(x)
        return (self.last(h), h) if self.training else self.last(h)


ONE = Plain((5,), 3)


def one_for_all(shape: tuple[int, ...], classes: int) -> nn.Module:
    return ONE


class Listed(nn.Module):
    """Parameters in lists and dictionaries, and a scale by hand."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        sizes = [shape[-1], WIDTH, classes]
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.randn(b, a) / math.sqrt(a)) for a, b in itertools.pairwise(sizes)]
        )
        self.more = nn.ParameterDict({"scale": nn.Parameter(torch.ones(WIDTH))})

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weights[0].T * self.more["scale"]) @ self.weights[1].T


class Residual(Plain):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.body = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))

    def hidden(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return h + self.body(h)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # pyright: ignore[reportAttributeAccessIssue]
        return x**3

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        return 3 * x**2 * grad


class OwnBackward(Plain):
    def hidden(self, x: Tensor) -> Tensor:
        return Cube.apply(self.first(x))


class StochasticDepth(Plain):
    def hidden(self, x: Tensor) -> Tensor:
        h = super().hidden(x)
        return h * (torch.rand(()) < 0.8) / 0.8 if self.training else h


def with_dropout(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[-1], WIDTH), nn.Dropout(0.5), nn.ReLU(), nn.Linear(WIDTH, classes))


def _with(shape: tuple[int, ...], classes: int, layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[-1], WIDTH), layer, nn.ReLU(), nn.Linear(WIDTH, classes))


def batch_norm(shape: tuple[int, ...], classes: int) -> nn.Module:
    return _with(shape, classes, nn.BatchNorm1d(WIDTH))


class GhostNorm(Plain):
    """BatchNorm of parts of a batch."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.norm = nn.BatchNorm1d(WIDTH)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.cat([torch.relu(self.norm(part)) for part in self.first(x).chunk(4)])


def batch_norm_without_statistics(shape: tuple[int, ...], classes: int) -> nn.Module:
    return _with(shape, classes, nn.BatchNorm1d(WIDTH, track_running_stats=False))


def layer_norm(shape: tuple[int, ...], classes: int) -> nn.Module:
    return _with(shape, classes, nn.LayerNorm(WIDTH))


def group_norm(shape: tuple[int, ...], classes: int) -> nn.Module:
    return _with(shape, classes, nn.GroupNorm(2, WIDTH))


def instance_norm(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, -1)),
        nn.Conv1d(1, 3, 3, padding=1),
        nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * shape[-1], classes),
    )


def spectral_norm(shape: tuple[int, ...], classes: int) -> nn.Module:
    layers = (nn.Linear(shape[-1], WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, classes))
    first, middle, last = layers
    return nn.Sequential(first, nn.ReLU(), parametrizations.spectral_norm(middle), nn.ReLU(), last)


def old_spectral_norm(shape: tuple[int, ...], classes: int) -> nn.Module:
    middle = nn.utils.spectral_norm(nn.Linear(WIDTH, WIDTH))
    first, last = nn.Linear(shape[-1], WIDTH), nn.Linear(WIDTH, classes)
    return nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), last)


def weight_norm(shape: tuple[int, ...], classes: int) -> nn.Module:
    return _with(shape, classes, parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)))


def old_weight_norm(shape: tuple[int, ...], classes: int) -> nn.Module:
    return _with(shape, classes, nn.utils.weight_norm(nn.Linear(WIDTH, WIDTH)))


def pruned(shape: tuple[int, ...], classes: int) -> nn.Module:
    net = nn.Sequential(nn.Linear(shape[-1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))
    prune.random_unstructured(net[0], "weight", amount=0.5)
    return net


def orthogonal(shape: tuple[int, ...], classes: int) -> nn.Module:
    return _with(shape, classes, parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH)))


def scripted(shape: tuple[int, ...], classes: int) -> nn.Module:
    return torch.jit.script(Plain(shape, classes))
