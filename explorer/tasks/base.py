"""The interface of a task: its loss, its error, and what measures compare. Torch is imported when used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Words:
    """How pages speak of a task: everything there is written for classification, and said in these words."""

    error: str = "error"  # after "training" and "test"
    accuracy: str = "accuracy"
    loss_unit: str = "nats"
    items: str = "inputs"  # what the disagreement is a share of
    apart: str = ""  # what it is, where it is no share

    def say(self, text: str) -> str:
        """A sentence about a classification in the words of this task."""
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
    """What is learnt. An *item* is what is scored: an input, a token of a sentence, a number.

    Outputs are (rows, inputs, …, features), targets (rows or 1, inputs, …). The error of an item is
    between 0 and 1 for answers that are right or wrong, and a squared distance for numbers.
    """

    name: str
    words = Words()
    worst_percent = 100.0  # error of a model that is not finite
    by_token = False  # whether inputs are sequences, so that a layer has a value for each token
    fitted = (0.01, 0.1)  # loss: fitted by anyone's standard below the first, by nobody's above the second

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean loss (rows,) over the scored items."""
        raise NotImplementedError

    def scored(self, y: Tensor) -> Tensor:
        """Number of scored items (rows or 1,) of targets."""
        raise NotImplementedError

    def wrong(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Summed error (rows,) of the scored items."""
        raise NotImplementedError

    def answers(self, outputs: Tensor) -> Tensor:
        """What the models say: (rows, inputs, …)."""
        return outputs.argmax(-1)

    def dead(self, answers: Tensor) -> Tensor:
        """Whether a model (rows,) says the same whatever the input: it has learnt nothing, and never will."""
        return (answers == answers[:, :1]).flatten(1).all(1)

    def kept(self, values: Tensor, y: Tensor) -> Tensor:
        """Values (rows, items, …) of what is scored, of values (rows, inputs, …) and targets (inputs, …).

        Of a regression, where a number of an input is an item, they are (rows, items).
        """
        return values

    def apart(self, answers: Tensor) -> Tensor:
        """Mean difference (rows, rows) of all pairs of models' answers (rows, items, …)."""
        import torch

        return torch.stack([(answers != own).double().mean(1) for own in answers])

    def compared(self, outputs: Tensor) -> Tensor:
        """What CKA compares: (rows, items, features) of outputs (rows, items, features)."""
        return outputs.softmax(-1)

    def average(self, outputs: Tensor) -> Tensor:
        """The mean answer of all rows, as outputs (1, items, features)."""
        return outputs.double().softmax(-1).mean(0, keepdim=True)

    def vote(self, outputs: Tensor) -> Tensor:
        """The majority's answer of all rows, as outputs (1, items, features).

        A tied vote goes to the tied answer of highest mean probability.
        """
        from torch.nn import functional

        votes = functional.one_hot(outputs.argmax(-1), outputs.shape[-1]).sum(0, keepdim=True)
        # Probabilities, which are 1 at most, decide between whole numbers of votes only.
        return votes + self.average(outputs) / 2
