"""The small convolutional network for many models at once: outputs and hand-written gradient.

It requires no normalisation and a monotonically increasing activation. Then the maximum can be taken before
bias and activation, which reduces their work to a quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from explorer.models.convolution import Convolution, DenseConvolution, Extent
from explorer.models.mlp import SLOPE, CrossEntropy
from explorer.models.rows import Pieces, Step, blocks, join_blocks, select_rows

# Numbers in a layer's patches per step of an evaluation, so that they fit into the cache of a core.
CACHE = 2**19
HELD = 2**21  # the same for a gradient; larger batches are processed in parts
RECENT = (
    8  # number of input sizes for which arrays are reused: of steps, of evaluations and of their last parts
)
DENSE = 16  # number of inputs from which on a dense map saves more than it costs

Layer = Convolution | DenseConvolution
Activate = Callable[[Tensor, Tensor], Tensor]  # (sums, where the result goes) -> result
Derive = Callable[[Tensor, Tensor], Tensor]  # (error of results, results) -> error of sums

ACTIVATIONS: dict[str, tuple[Activate, Derive]] = {
    "relu": (
        lambda z, out: torch.ops.aten.relu.out(z, out=out),
        lambda d, h: torch.ops.aten.threshold_backward(d, h, 0),
    ),
    "leaky_relu": (
        lambda z, out: torch.ops.aten.leaky_relu.out(z, SLOPE, out=out),
        lambda d, h: torch.ops.aten.leaky_relu_backward(d, h, SLOPE, True),
    ),
    "tanh": (lambda z, out: torch.tanh(z, out=out), torch.ops.aten.tanh_backward),
}


class StackedCnn:
    """The network as a function of its parameters, each (models, *shape) in the module's order.

    It reuses arrays for recent input sizes, so it serves one call at a time.
    """

    def __init__(self, activation: str):
        self.activate, self.derive = ACTIVATIONS[activation]
        self.recent: dict[object, list[Layer]] = {}

    def forward(self, parameters: Pieces, x: Tensor) -> Tensor:
        """Return logits (models, batch, classes) of ``x`` (models or 1, batch, *shape), without a graph."""
        images = _as_images(x)

        def compute(rows: slice, part: slice) -> Tensor:
            some = [p[rows] for p in parameters]
            return self._outputs(some, select_rows(images, rows)[:, part], gradient=False)[1].mT

        return join_blocks(_blocks(parameters, images, CACHE), compute)

    def bind_gradient(self, parameters: Pieces, places: Pieces) -> Step:
        """Return a step that writes the gradients of the parameters to ``places``."""

        def step(x: Tensor, y: Tensor, _wanted: bool) -> Tensor:
            images = _as_images(x)
            found = list(_blocks(parameters, images, HELD))
            if len(found) == 1:
                losses, pieces = self._gradient(parameters, images, y)
                for place, piece in zip(places, pieces, strict=True):
                    place.copy_(piece)
                return losses
            losses = parameters[-1].new_zeros(len(parameters[0]))
            for place in places:
                place.zero_()
            for rows, part in found:
                inputs, labels = select_rows(images, rows)[:, part], select_rows(y, rows)[:, part]
                share = inputs.shape[1] / x.shape[1]
                of_part, pieces = self._gradient([p[rows] for p in parameters], inputs, labels)
                losses[rows].add_(of_part, alpha=share)
                for place, piece in zip(places, pieces, strict=True):
                    place[rows].add_(piece, alpha=share)
            return losses

        return step

    def _gradient(self, parameters: Pieces, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return mean losses (models,) of images, for labels (models or 1, batch), and gradients."""
        layers, scores, last, features = self._outputs(parameters, x, gradient=True)
        losses, error = CrossEntropy(scores)(scores, y, True)
        assert losses is not None
        gradients = [error.sum(2), torch.bmm(error, features.mT)]
        places = last.shape[2] * last.shape[3]
        error = torch.bmm(parameters[-2].mT, error).mul_(1 / places)[:, :, None, None].expand(last.shape)
        results = [*(layer.inside for layer in layers[1:]), last]
        for place in range(len(layers) - 1, -1, -1):
            error = self.derive(error, results[place])
            gradients.append(error.sum((2, 3, 4)))
            gradients.append(layers[place].of_weight(parameters[2 * place], error))
            if place:
                error = layers[place].of_inputs(parameters[2 * place])
        return losses, gradients[::-1]

    def _outputs(
        self, parameters: Pieces, x: Tensor, *, gradient: bool
    ) -> tuple[list[Layer], Tensor, Tensor, Tensor]:
        """Return layers, logits (models, classes, batch), the results of the last layer, and their means."""
        layers = self._layers(parameters, x, gradient=gradient)
        layers[0].inside.copy_(x.permute(0, 2, 3, 4, 1))
        for place, layer in enumerate(layers):
            sums = layer.forward(parameters[2 * place])
            sums.add_(parameters[2 * place + 1][:, :, None, None, None])
            last = place == len(layers) - 1
            result = self.activate(sums, sums if last else layers[place + 1].inside)
        features = result.mean((2, 3))
        return layers, torch.baddbmm(parameters[-1].unsqueeze(2), parameters[-2], features), result, features

    def _layers(self, parameters: Pieces, x: Tensor, *, gradient: bool) -> list[Layer]:
        weights = parameters[:-2:2]
        like, batch, sides = weights[0], x.shape[1], (x.shape[3], x.shape[4])
        key = (like.shape, like.dtype, like.device, batch, sides, gradient)
        if key not in self.recent:
            if len(self.recent) == RECENT:
                self.recent.clear()
            with torch.inference_mode(False):  # the arrays must outlive the inference mode of this call
                self.recent[key] = _new_layers(weights, sides, batch, gradient=gradient)
        return self.recent[key]


def _as_images(x: Tensor) -> Tensor:
    """Return images, signals with channels or signals as (models, batch, channels, height, width)."""
    if x.dim() == 5:
        return x
    return x.unsqueeze(3) if x.dim() == 4 else x[:, :, None, None]


def _new_layers(weights: Sequence[Tensor], sides: Extent, batch: int, *, gradient: bool) -> list[Layer]:
    layers: list[Layer] = []
    for place, weight in enumerate(weights):
        pooled = place < len(weights) - 1
        if not pooled and max(sides) <= 2 and batch >= DENSE:
            layers.append(DenseConvolution(weight, sides, batch, gradient=gradient))
        else:
            layers.append(
                Convolution(weight, sides, batch, pooled=pooled, gradient=gradient, first=place == 0)
            )
        sides = layers[-1].sides
    return layers


def _blocks(parameters: Pieces, x: Tensor, budget: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of models and of inputs whose patches fit into a budget of numbers.

    Inputs are split as for one model, so that sums over them do not depend on the other models.
    """
    height, width = x.shape[3:]
    most = 1  # numbers in the patches of one input, in the layer with most of them
    for weight in parameters[:-2:2]:
        most = max(most, weight[0, 0].numel() * height * width)
        height, width = max(1, height // 2), max(1, width // 2)
    size, inputs = max(1, budget // most), x.shape[1]
    parts = [slice(start, min(start + size, inputs)) for start in range(0, inputs, size)]
    return blocks(len(parameters[0]), parts, size)
