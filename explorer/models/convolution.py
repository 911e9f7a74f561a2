"""Convolutions of many models at once as batched matrix products, with hand-written gradients.

Activations are (models, channels, height, width, batch). With the batch last, patches are gathered in long
contiguous runs, and products, maxima and activations need no transposed copies. Signals have height 1.
Allocating memory would cost as much as the arithmetic, so a layer reuses its arrays. It therefore serves one
size of input, and one call at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

Extent = tuple[int, int]


def kernel_of(weight: Tensor) -> Extent:
    """Return the kernel size (height, width) of weights (models, outputs, inputs, …)."""
    return (1, weight.shape[3]) if weight.dim() == 4 else (weight.shape[3], weight.shape[4])


class Padded:
    """Zeros with a border for the kernel around ``inside`` (models, channels, height, width, batch)."""

    def __init__(self, like: Tensor, shape: tuple[int, ...], kernel: Extent):
        rows, channels, height, width, batch = shape
        top, left = kernel[0] // 2, kernel[1] // 2
        self.kernel = kernel
        self.array = like.new_zeros(rows, channels, height + 2 * top, width + 2 * left, batch)
        self.inside = self.array[:, :, top : top + height, left : left + width]

    def patches(self, pool: Extent = (1, 1)) -> Tensor:
        """Return the view (models, channels, *kernel, pool, height, width, batch): see :func:`lines`."""
        windows = self.array.unfold(2, self.kernel[0], 1).unfold(3, self.kernel[1], 1)
        return lines(windows, pool).movedim((6, 7), (2, 3))


def lines(values: Tensor, pool: Extent) -> Tensor:
    """Turn (models, channels, height, width, …) into (models, channels, pool, height, width, …).

    Lines that are pooled together are separate along ``pool``, so their maximum works on long runs.
    Incomplete pooling windows are left out.
    """
    high, wide = values.shape[2] // pool[0], values.shape[3] // pool[1]
    whole = values[:, :, : high * pool[0], : wide * pool[1]]
    return whole.unflatten(2, (high, pool[0])).transpose(2, 3)


class PatchMatrix:
    """Patches as a matrix (models, channels × kernel, places × batch)."""

    def __init__(self, patches: Tensor):
        self.patches, self.copy = patches, patches.new_empty(patches.shape)
        self.matrix = self.copy.flatten(1, 3).flatten(2)

    def fresh(self) -> Tensor:
        self.copy.copy_(self.patches)
        return self.matrix


class Convolution:
    """A convolution that keeps the size; if ``pooled``, followed by the maximum over windows of side 2.

    Args:
        weight: (models, outputs, inputs, …); only its shape is used.
        sides: height and width of the inputs, which are written to ``inside``. The attribute ``sides`` is
            that of the outputs.
        gradient: whether gradients will be needed.
        first: whether this is the first layer, which needs no gradient with respect to its inputs.
    """

    def __init__(
        self, weight: Tensor, sides: Extent, batch: int, *, pooled: bool, gradient: bool, first: bool
    ):
        (rows, outputs, inputs), kernel = weight.shape[:3], kernel_of(weight)
        self.pool = pool = (min(2, kernel[0]), 2) if pooled else (1, 1)
        self.sides = high, wide = sides[0] // pool[0], sides[1] // pool[1]
        padded = Padded(weight, (rows, inputs, *sides, batch), kernel)
        self.inside, self.patches = padded.inside, PatchMatrix(padded.patches(pool))
        self.sums = weight.new_empty(rows, outputs, pool[0], high, wide * pool[1], batch)
        self.lines = weight.new_empty(rows, outputs, high, wide, pool[1], batch)
        self.largest = weight.new_empty(rows, outputs, high, wide, batch)
        self.gradient, self.first = gradient, first
        if gradient:
            self.error, self.line_error = torch.empty_like(self.sums), torch.empty_like(self.lines)
            # By how much the second of the two values under the maximum is larger.
            self.lower_excess = torch.empty_like(self.sums[:, :, 0])
            self.right_excess = torch.empty_like(self.largest)
        if gradient and not first:
            errors = Padded(weight, (rows, outputs, *sides, batch), kernel)
            self.error_lines, self.error_patches = lines(errors.inside, pool), PatchMatrix(errors.patches())
            self.inside_error = weight.new_empty(rows, inputs, *sides, batch)

    def forward(self, weight: Tensor) -> Tensor:
        """Return outputs (models, outputs, height, width, batch) of ``inside``, without a bias."""
        torch.bmm(weight.flatten(2), self.patches.fresh(), out=self.sums.flatten(2))
        lines = self.sums[:, :, 0]
        if self.pool[0] == 2:
            upper, lower = self.sums.unbind(2)
            lines = torch.maximum(upper, lower, out=self.lines.view(upper.shape))
            if self.gradient:
                torch.sub(lower, upper, out=self.lower_excess)
        if self.pool[1] == 1:
            return lines
        left, right = lines.view(self.lines.shape).unbind(4)
        if self.gradient:
            torch.sub(right, left, out=self.right_excess)
        return torch.maximum(left, right, out=self.largest)

    def of_weight(self, weight: Tensor, error: Tensor) -> Tensor:
        """Return the gradient of the weight from that of the outputs; call :meth:`forward` first."""
        self.error_of_sums = self._before_pooling(error)  # (models, outputs, pool, height, width, batch)
        return torch.bmm(self.error_of_sums.flatten(2), self.patches.matrix.mT).view(weight.shape)

    def of_inputs(self, weight: Tensor) -> Tensor:
        """Return the gradient of the inputs; call :meth:`of_weight` first."""
        self.error_lines.copy_(self.error_of_sums)
        turned = weight.flip(*range(3, weight.dim())).transpose(1, 2).flatten(2)
        torch.bmm(turned, self.error_patches.fresh(), out=self.inside_error.flatten(2))
        return self.inside_error

    def _before_pooling(self, error: Tensor) -> Tensor:
        # If two values are equal, the first gets the error. Equal sums come from equal patches, such as dark
        # corners, so the choice does not matter.
        if self.pool[1] == 2:
            _divided(error, self.right_excess, self.line_error, 4)
            error = self.line_error.flatten(3, 4)
        if self.pool[0] == 1:
            return error.unsqueeze(2)
        _divided(error, self.lower_excess, self.error, 2)
        return self.error


def _divided(error: Tensor, excess: Tensor, out: Tensor, dim: int) -> None:
    """Assign the error to the second of ``out`` along ``dim`` if it has an excess, otherwise to the first."""
    first, second = out.unbind(dim)
    torch.ops.aten.threshold_backward.grad_input(error, excess, 0, grad_input=second)
    torch.sub(error, second, out=first)


class DenseConvolution:
    """A convolution of images of side 2 at most, as one linear map: each output sees every input.

    In such small images, most of a patch is border. The linear map needs 4/9 of the products and no patches.
    ``sides`` and the arguments are as in :class:`Convolution`.
    """

    def __init__(self, weight: Tensor, sides: Extent, batch: int, *, gradient: bool):
        (rows, outputs, inputs), kernel = weight.shape[:3], kernel_of(weight)
        self.sides, places = sides, sides[0] * sides[1]
        # The kernel entry that connects each output position with each input position.
        table = weight.new_zeros(*sides, *sides, *kernel)
        for y, x in _places(sides):
            for v, u in _places(sides):
                table[y, x, v, u, v - y + kernel[0] // 2, u - x + kernel[1] // 2] = 1
        self.table = table.view(places * places, -1).expand(rows, -1, -1)
        values = weight.new_empty(rows, places, inputs, batch)
        self.inside = values.view(rows, *sides, inputs, batch).permute(0, 3, 1, 2, 4)
        self.values = values.flatten(1, 2)
        self.blocks = weight.new_empty(rows, places, places, outputs, inputs)
        self.map = weight.new_empty(rows, places, outputs, places, inputs)
        self.matrix = self.map.flatten(1, 2).flatten(2)
        self.sums = weight.new_empty(rows, places * outputs, batch)
        if gradient:
            self.inside_error = torch.empty_like(self.values)

    def forward(self, weight: Tensor) -> Tensor:
        """Return outputs (models, outputs, height, width, batch) of ``inside``, without a bias."""
        rows, outputs, inputs = weight.shape[:3]
        # A product with a matrix of zeros and ones is faster than indexing.
        torch.bmm(
            self.table,
            weight.reshape(rows, outputs * inputs, -1).mT,
            out=self.blocks.flatten(1, 2).flatten(2),
        )
        self.map.copy_(self.blocks.transpose(2, 3))
        return self._by_channel(torch.bmm(self.matrix, self.values, out=self.sums), outputs)

    def of_weight(self, weight: Tensor, error: Tensor) -> Tensor:
        """Return the gradient of the weight from that of the outputs; call :meth:`forward` first."""
        rows, outputs, inputs = weight.shape[:3]
        self.error = error.permute(0, 2, 3, 1, 4).reshape(self.sums.shape)
        of_map = torch.bmm(self.error, self.values.mT).view(self.map.shape)
        blocks = of_map.transpose(2, 3).reshape(rows, -1, outputs * inputs)
        # Few long lines, then transposed: three times faster than many short lines.
        return torch.bmm(self.table.mT, blocks).mT.reshape(weight.shape)

    def of_inputs(self, weight: Tensor) -> Tensor:
        """Return the gradient of the inputs; call :meth:`of_weight` first."""
        torch.bmm(self.matrix.mT, self.error, out=self.inside_error)
        return self._by_channel(self.inside_error, weight.shape[2])

    def _by_channel(self, values: Tensor, channels: int) -> Tensor:
        return values.unflatten(1, (*self.sides, channels)).permute(0, 3, 1, 2, 4)


def _places(sides: Extent) -> list[Extent]:
    return [(y, x) for y in range(sides[0]) for x in range(sides[1])]
