"""Gain of an ensemble of models over its members."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.models.rows import Rows
from explorer.tasks import Task


@dataclass(frozen=True)
class Ensemble:
    """Measures of an ensemble of models (Theisen et al., 2023, "When are ensembles really effective?").

    With E the members' mean error, V the error of their majority vote and D the share of inputs on which
    two different members disagree, averaged over pairs: ``improvement_rate`` = (E − V) / E and
    ``disagreement_error_ratio`` = D / E. Ensembles help if the ratio is above 1, and help little below. Both
    are NaN if no member makes an error. D and the ratio are NaN for one model.
    """

    member_accuracy_percent: float
    vote_accuracy_percent: float
    average_accuracy_percent: float  # of the mean of the members' softmax outputs
    disagreement_percent: float
    improvement_rate: float
    disagreement_error_ratio: float


@torch.no_grad()
def ensemble_of(network: Rows, theta: Tensor, buffers: Tensor | None, x: Tensor, y: Tensor) -> Ensemble:
    """Return the measures of the ensemble of all models, computed in chunks of inputs.

    ``theta`` is (models, parameters), ``x`` (inputs, *shape), ``y`` (inputs, …). Errors are those of the
    task. A tied vote goes to the tied answer with the highest mean probability. If answers are numbers, vote
    and average are both the mean answer, and D is the mean squared difference, so E − V = D · (models − 1) /
    (2 · models) (Krogh & Vedelsby, 1994).
    """
    sums = [
        _sums(network.task, network.outputs(theta, x[part], buffers), y[part]) for part in network.chunks(x)
    ]
    members, vote, average, difference, items = torch.stack(sums).sum(0).tolist()
    rows = len(theta)
    error, vote_error = members / (rows * items), vote / items
    disagreement = difference / (rows * (rows - 1) * items) if rows > 1 else torch.nan
    return Ensemble(
        member_accuracy_percent=100 * (1 - error),
        vote_accuracy_percent=100 * (1 - vote_error),
        average_accuracy_percent=100 * (1 - average / items),
        disagreement_percent=100 * disagreement,
        improvement_rate=(error - vote_error) / error if error else torch.nan,
        disagreement_error_ratio=disagreement / error if error else torch.nan,
    )


def _sums(task: Task, outputs: Tensor, y: Tensor) -> Tensor:
    """Return summed errors of members, vote and average, summed differences of pairs, and number of items."""
    kept, targets = task.select_items(outputs, y), task.select_items(y[None], y)
    items = task.count_items(targets)
    difference = task.mean_differences(task.answers(kept)).sum() * items if len(outputs) > 1 else torch.nan
    errors = [task.total_error(kept, targets).sum(), task.total_error(task.vote(kept), targets)]
    values = [*errors, task.total_error(task.average(kept), targets), difference, items]
    return torch.tensor([float(value) for value in values], dtype=torch.float64)
