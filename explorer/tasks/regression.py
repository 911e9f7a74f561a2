"""Regression: an input has one or more numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.tasks.base import Task, Words

if TYPE_CHECKING:
    from torch import Tensor


class Regression(Task):
    """Mean squared error. Outputs (rows, inputs, numbers), targets (rows or 1, inputs, numbers).

    Where a target is NaN nothing is asked. The error in percent is 100 times the mean squared error: of
    targets scaled to variance 1, the share of their variance that is not explained (100 · (1 − R²)).
    """

    name = "regression"
    worst_percent = float("inf")
    words = Words(
        error="unexplained variance",
        accuracy="explained variance",
        loss_unit="",
        apart="Mean squared difference of two replicates' answers to test inputs, times 100",
    )

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.wrong(outputs, y) / self.scored(y).clamp_min(1)

    def scored(self, y: Tensor) -> Tensor:
        return (~y.isnan()).flatten(1).sum(1)

    def wrong(self, outputs: Tensor, y: Tensor) -> Tensor:
        import torch

        # A constant where nothing is asked, for its second derivative counts as well; not NaN times 0, whose
        # gradient is NaN.
        apart = torch.where(y.isnan(), 0.0, outputs - y.nan_to_num())
        return apart.square().flatten(1).sum(1)

    def kept(self, values: Tensor, y: Tensor) -> Tensor:
        return values[:, ~y.isnan()]

    def answers(self, outputs: Tensor) -> Tensor:
        return outputs

    def apart(self, answers: Tensor) -> Tensor:
        import torch

        items = max(1, answers[0].numel())  # a chunk of inputs may be asked for nothing
        return torch.stack([(answers - own).double().square().flatten(1).sum(1) / items for own in answers])

    def compared(self, outputs: Tensor) -> Tensor:
        return outputs

    def average(self, outputs: Tensor) -> Tensor:
        return outputs.double().mean(0, keepdim=True)

    def vote(self, outputs: Tensor) -> Tensor:
        return self.average(outputs)
