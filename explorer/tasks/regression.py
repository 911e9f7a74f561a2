"""Regression: the target of each input is one or more numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.tasks.base import Task, Words

if TYPE_CHECKING:
    from torch import Tensor


class Regression(Task):
    """Mean squared error. Outputs (models, inputs, numbers), targets (models or 1, inputs, numbers).

    Targets that are NaN are not scored. The error in percent is 100 times the mean squared error. For targets
    scaled to variance 1 this is the share of variance that is not explained, 100 · (1 − R²).
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

        # If a target is NaN, the difference is a constant, so its second derivative is 0 too. Multiplying NaN
        # by 0 instead would give a NaN gradient.
        apart = torch.where(y.isnan(), 0.0, outputs - y.nan_to_num())
        return apart.square().flatten(1).sum(1)

    def kept(self, values: Tensor, y: Tensor) -> Tensor:
        return values[:, ~y.isnan()]

    def answers(self, outputs: Tensor) -> Tensor:
        return outputs

    def apart(self, answers: Tensor) -> Tensor:
        import torch

        items = max(1, answers[0].numel())  # a chunk of inputs may have no scored items
        return torch.stack([(answers - own).double().square().flatten(1).sum(1) / items for own in answers])

    def compared(self, outputs: Tensor) -> Tensor:
        return outputs

    def average(self, outputs: Tensor) -> Tensor:
        return outputs.double().mean(0, keepdim=True)

    def vote(self, outputs: Tensor) -> Tensor:
        return self.average(outputs)
