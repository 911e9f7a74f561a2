"""Sequences: every token of a target is predicted from those before it (teacher forcing)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.tasks.base import Task, Words

if TYPE_CHECKING:
    from torch import Tensor


class Sequences(Task):
    """Cross-entropy a token; share of wrong tokens.

    Outputs (rows, inputs, length, vocabulary), targets (rows or 1, inputs, length). Negative targets
    (padding) are not scored: means are over all other tokens of a batch, so a long sentence counts more.
    """

    by_token = True
    fitted = (0.1, 1.0)  # perplexity 1.1 and 2.7: a text is never as sure as a label

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        from torch.nn import functional

        # As they lie in memory: the scores of a token are many, unlike the classes of a classification.
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
        # Models that have learnt how often tokens are, and nothing else yet, answer alike everywhere too.
        return answers.new_zeros(len(answers)).bool()

    def kept(self, values: Tensor, y: Tensor) -> Tensor:
        return values[:, y >= 0]


class Translation(Sequences):
    """From a sentence to a sentence. Inputs are token ids (inputs, 2, length): source, shifted target."""

    name = "translation"
    words = Words(error="token error", accuracy="token accuracy", items="target tokens")


class Language(Sequences):
    """The next character of a text. Inputs are ids (inputs, length)."""

    name = "language"
    words = Words(error="character error", accuracy="character accuracy", items="characters")
