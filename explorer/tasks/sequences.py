"""Sequence tasks: models predict each target token from the tokens before it (teacher forcing)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.tasks.base import Task, Words

if TYPE_CHECKING:
    from torch import Tensor


class Sequences(Task):
    """Cross-entropy per token, and share of wrong tokens.

    Outputs (models, inputs, length, vocabulary), targets (models or 1, inputs, length). Negative targets
    (padding) are not scored. Means are over all other tokens of a batch, so a long sentence counts more.
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
        return losses.view(len(outputs), -1).sum(1) / self.scored(tokens).clamp_min(1)

    def scored(self, y: Tensor) -> Tensor:
        return (y >= 0).flatten(1).sum(1)

    def wrong(self, outputs: Tensor, y: Tensor) -> Tensor:
        return ((outputs.argmax(-1) != y) & (y >= 0)).flatten(1).sum(1)

    def dead(self, answers: Tensor) -> Tensor:
        # A model that has so far learnt only token frequencies also gives one answer everywhere.
        return answers.new_zeros(len(answers)).bool()

    def kept(self, values: Tensor, y: Tensor) -> Tensor:
        return values[:, y >= 0]


class Translation(Sequences):
    """Translation of sentences. Inputs are token ids (inputs, 2, length): source and shifted target."""

    name = "translation"
    words = Words(error="token error", accuracy="token accuracy", items="target tokens")


class Language(Sequences):
    """Prediction of the next character of a text. Inputs are character ids (inputs, length)."""

    name = "language"
    words = Words(error="character error", accuracy="character accuracy", items="characters")
