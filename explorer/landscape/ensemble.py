"""What an ensemble of models gains over its members."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from explorer.landscape.similarity import disagreement


@dataclass(frozen=True)
class Ensemble:
    """Measures of an ensemble of models (Theisen et al., 2023, "When are ensembles really effective?").

    With E the members' mean error, V the error of their majority vote and D the share of inputs on which
    two different members disagree, averaged over pairs:
    ``improvement_rate`` = (E − V) / E and ``disagreement_error_ratio`` = D / E. Ensembles help where the
    ratio is above 1, and little below. Both are NaN where no member errs; D and the ratio are NaN for
    one model.
    """

    member_accuracy_percent: float
    vote_accuracy_percent: float
    average_accuracy_percent: float  # of the mean of the members' softmax outputs
    disagreement_percent: float
    improvement_rate: float
    disagreement_error_ratio: float


def ensemble(logits: Tensor, y: Tensor) -> Ensemble:
    """Measures of the ensemble of all rows; logits (rows, inputs, classes), labels ``y`` (inputs,).

    A tied vote goes to the tied class of highest mean probability.
    """
    rows = len(logits)
    answers = logits.argmax(2)  # (rows, inputs)
    average = logits.double().softmax(2).mean(0)  # (inputs, classes), below 1 or equal
    votes = functional.one_hot(answers, logits.shape[2]).sum(0)
    # Probabilities decide between whole numbers of votes only.
    vote = (votes + average / 2).argmax(1)
    error = (answers != y).double().mean().item()
    vote_error = (vote != y).double().mean().item()
    apart = disagreement(logits).sum().item() / (rows * (rows - 1)) if rows > 1 else torch.nan
    return Ensemble(
        member_accuracy_percent=100 * (1 - error),
        vote_accuracy_percent=100 * (1 - vote_error),
        average_accuracy_percent=100 * (average.argmax(1) == y).double().mean().item(),
        disagreement_percent=100 * apart,
        improvement_rate=(error - vote_error) / error if error else torch.nan,
        disagreement_error_ratio=apart / error if error else torch.nan,
    )
