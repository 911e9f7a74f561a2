"""Interface of a task: its loss, its error, and what measures compare. Torch is imported on first use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Words:
    """Terms that pages use for a task. All texts are written for classification and translated with these."""

    error: str = "error"  # after "training" and "test"
    accuracy: str = "accuracy"
    loss_unit: str = "nats"
    items: str = "inputs"  # what the disagreement is a share of
    apart: str = ""  # description of the disagreement, if it is not a share

    def say(self, text: str) -> str:
        """Return a sentence written for classification in the terms of this task."""
        for pattern, words in (
            (r"Share of test inputs that two replicates answer differently", self.apart or None),
            (r"(?<![\w-])accuracy", self.accuracy),
            (r"\bAccuracy", self.accuracy[:1].upper() + self.accuracy[1:]),
            (r"\b([Tt]raining|[Tt]est) error\b", rf"\1 {self.error}"),
            (r"\btest inputs\b", f"test {self.items}"),
            (r" \(nats\)|\s*\bnats\b", "" if not self.loss_unit else None),
        ):
            text = text if words is None else re.sub(pattern, words, text)
        return text


class Task:
    """A task. An *item* is the unit that is scored: an input, a token of a sentence or a number.

    Outputs are (models, inputs, …, features), targets (models or 1, inputs, …). The error of an item is 0 or
    1 if answers are right or wrong, and a squared distance if answers are numbers.
    """

    name: str
    words = Words()
    worst_percent = 100.0  # error of a model whose loss is not finite
    by_token = False  # inputs are sequences, so a layer has a value for each token
    fitted = (0.01, 0.1)  # a loss below the first is clearly fitted, above the second clearly not

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss (models,) over the scored items."""
        raise NotImplementedError

    def scored(self, y: Tensor) -> Tensor:
        """Return the number of scored items (models or 1,) of targets."""
        raise NotImplementedError

    def wrong(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the summed error (models,) of the scored items."""
        raise NotImplementedError

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the answers (models, inputs, …) of the models."""
        return outputs.argmax(-1)

    def dead(self, answers: Tensor) -> Tensor:
        """Return whether each model (models,) gives one answer to all inputs: it cannot recover from that."""
        return (answers == answers[:, :1]).flatten(1).all(1)

    def kept(self, values: Tensor, y: Tensor) -> Tensor:
        """Select the values (models, items, …) of the scored items.

        ``values`` is (models, inputs, …), ``y`` is (inputs, …). In regression each number of a target is an
        item, so the result is (models, items).
        """
        return values

    def apart(self, answers: Tensor) -> Tensor:
        """Return the mean difference (models, models) between the answers (models, items, …) of all pairs."""
        import torch

        return torch.stack([(answers != own).double().mean(1) for own in answers])

    def compared(self, outputs: Tensor) -> Tensor:
        """Return what CKA compares, (models, items, features), from outputs (models, items, features)."""
        return outputs.softmax(-1)

    def average(self, outputs: Tensor) -> Tensor:
        """Return the mean answer of all models, as outputs (1, items, features)."""
        return outputs.double().softmax(-1).mean(0, keepdim=True)

    def vote(self, outputs: Tensor) -> Tensor:
        """Return the majority answer of all models, as outputs (1, items, features).

        A tied vote goes to the tied answer with the highest mean probability.
        """
        from torch.nn import functional

        votes = functional.one_hot(outputs.argmax(-1), outputs.shape[-1]).sum(0, keepdim=True)
        # Half a probability is below one vote, so the probabilities only break ties.
        return votes + self.average(outputs) / 2
