"""Classification: an input has one of some classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy (rows,) of logits (rows, batch, classes) and labels (rows or 1, batch)."""
    from torch.nn import functional

    # Classes before the batch: the softmax then runs along the batch in long vectors (3 to 8 times faster).
    labels = y.expand(logits.shape[:2])
    return functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)


class Classification(Task):
    """Cross-entropy; 0/1 error. Outputs (rows, inputs, classes), labels (rows or 1, inputs)."""

    name = "classification"

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(outputs, y)

    def scored(self, y: Tensor) -> Tensor:
        return y.new_full((len(y),), y.shape[1])

    def wrong(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs.argmax(2) != y).sum(1)
