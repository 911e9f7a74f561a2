"""Tasks that models learn: their losses, their errors, and what measures compare.

The data set of a space, or the space itself, names one of ``TASKS``. Torch is imported on first use.
"""

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
    disagreement: str = ""  # description of the disagreement, if it is not a share

    def reword(self, text: str) -> str:
        """Return a sentence written for classification in the terms of this task."""
        for pattern, words in (
            (r"Share of test inputs that two replicates answer differently", self.disagreement or None),
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
    fitted_error: float | None = 0.5  # percent of labels; None for targets that are no labels

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss (models,) over the scored items."""
        raise NotImplementedError

    def count_items(self, y: Tensor) -> Tensor:
        """Return the number of scored items (models or 1,) of targets."""
        raise NotImplementedError

    def total_error(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the summed error (models,) of the scored items."""
        raise NotImplementedError

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the answers (models, inputs, …) of the models."""
        return outputs.max(-1).indices  # argmax is ten times slower if classes come before inputs

    def gives_one_answer(self, answers: Tensor) -> Tensor:
        """Return whether each model (models,) gives one answer to all inputs: it cannot recover from that."""
        return (answers == answers[:, :1]).flatten(1).all(1)

    def select_items(self, values: Tensor, y: Tensor) -> Tensor:
        """Select the values (models, items, …) of the scored items.

        ``values`` is (models, inputs, …), ``y`` is (inputs, …). In regression each number of a target is an
        item, so the result is (models, items).
        """
        return values

    def mean_differences(self, answers: Tensor) -> Tensor:
        """Return the mean difference (models, models) between the answers (models, items, …) of all pairs."""
        import torch

        return torch.stack([(answers != one).double().mean(1) for one in answers])

    def predictions(self, outputs: Tensor) -> Tensor:
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

        votes = functional.one_hot(self.answers(outputs), outputs.shape[-1]).sum(0, keepdim=True)
        # Half a probability is below one vote, so the probabilities only break ties.
        return votes + self.average(outputs) / 2


class Classification(Task):
    """Cross-entropy and 0/1 error. Outputs (models, inputs, classes), labels (models or 1, inputs)."""

    name = "classification"

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        from torch.nn import functional

        # With classes before the batch, the softmax is vectorised along the batch (3 to 8 times faster).
        labels = y.expand(outputs.shape[:2])
        return functional.cross_entropy(outputs.transpose(1, 2), labels, reduction="none").mean(1)

    def count_items(self, y: Tensor) -> Tensor:
        return y.new_full((len(y),), y.shape[1])

    def total_error(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (self.answers(outputs) != y).sum(1)


class Regression(Task):
    """Mean squared error. Outputs (models, inputs, numbers), targets (models or 1, inputs, numbers).

    Targets that are NaN are not scored. The error in percent is 100 times the mean squared error. For targets
    scaled to variance 1 this is the share of variance that is not explained, 100 · (1 − R²).
    """

    name = "regression"
    worst_percent = float("inf")
    fitted_error = None
    words = Words(
        error="unexplained variance",
        accuracy="explained variance",
        loss_unit="",
        disagreement="Mean squared difference of two replicates' answers to test inputs, times 100",
    )

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.total_error(outputs, y) / self.count_items(y).clamp_min(1)

    def count_items(self, y: Tensor) -> Tensor:
        return (~y.isnan()).flatten(1).sum(1)

    def total_error(self, outputs: Tensor, y: Tensor) -> Tensor:
        import torch

        # If a target is NaN, the difference is a constant, so its second derivative is 0 too. Multiplying NaN
        # by 0 instead would give a NaN gradient.
        difference = torch.where(y.isnan(), 0.0, outputs - y.nan_to_num())
        return difference.square().flatten(1).sum(1)

    def select_items(self, values: Tensor, y: Tensor) -> Tensor:
        return values[:, ~y.isnan()]

    def answers(self, outputs: Tensor) -> Tensor:
        return outputs

    def mean_differences(self, answers: Tensor) -> Tensor:
        import torch

        items = max(1, answers[0].numel())  # a chunk of inputs may have no scored items
        return torch.stack([(answers - one).double().square().flatten(1).sum(1) / items for one in answers])

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs

    def average(self, outputs: Tensor) -> Tensor:
        return outputs.double().mean(0, keepdim=True)

    def vote(self, outputs: Tensor) -> Tensor:
        return self.average(outputs)


class Sequences(Task):
    """Cross-entropy per token, and share of wrong tokens.

    Models predict each target token from the tokens before it (teacher forcing). Outputs (models, inputs,
    length, vocabulary), targets (models or 1, inputs, length). Negative targets (padding) are not scored.
    Means are over all other tokens of a batch, so a long sentence counts more.
    """

    by_token = True
    fitted = (0.1, 1.0)  # perplexity 1.1 and 2.7; text is less predictable than class labels

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        from torch.nn import functional

        # Keep the memory layout: a token has many scores, so transposing as in classification does not pay.
        tokens = y.expand(outputs.shape[:3])
        losses = functional.cross_entropy(
            outputs.flatten(0, 2), tokens.flatten(), ignore_index=-100, reduction="none"
        )
        return losses.view(len(outputs), -1).sum(1) / self.count_items(tokens).clamp_min(1)

    def count_items(self, y: Tensor) -> Tensor:
        return (y >= 0).flatten(1).sum(1)

    def total_error(self, outputs: Tensor, y: Tensor) -> Tensor:
        return ((self.answers(outputs) != y) & (y >= 0)).flatten(1).sum(1)

    def gives_one_answer(self, answers: Tensor) -> Tensor:
        # A model that has so far learnt only token frequencies also gives one answer everywhere.
        return answers.new_zeros(len(answers)).bool()

    def select_items(self, values: Tensor, y: Tensor) -> Tensor:
        return values[:, y >= 0]


class Translation(Sequences):
    """Translation of sentences. Inputs are token ids (inputs, 2, length): source and shifted target."""

    name = "translation"
    words = Words(error="token error", accuracy="token accuracy", items="target tokens")


class Language(Sequences):
    """Prediction of the next character of a text. Inputs are character ids (inputs, length)."""

    name = "language"
    words = Words(error="character error", accuracy="character accuracy", items="characters")


TASKS: dict[str, Task] = {t.name: t for t in (Classification(), Regression(), Translation(), Language())}
