"""Perplexity of each model: its loss in the words of those who predict sequences."""

from __future__ import annotations

import math

from explorer.columns import MODELS
from explorer.measures.base import Cell, Kind, Measured
from explorer.options import Options as Settings

TASKS = ("translation", "language")
KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {name: MODELS[name] for name in ("train_perplexity", "test_perplexity", "bits_per_character")}


class Options(Settings):
    """There is nothing to set."""


def measure(cell: Cell, subjects: list[str], options: Options) -> Measured:
    """exp(mean loss of a token) on training and test set; for language, the test loss in bits too."""
    from explorer.train.loop import evaluate

    rows, _ = cell.ends([(name, name) for name in subjects])
    theta, buffers, data = cell.theta[rows], cell.buffers[rows], cell.data
    train, _ = evaluate(cell.network, theta, buffers, data.x_train, data.y_train)
    test, _ = evaluate(cell.network, theta, buffers, data.x_test, data.y_test)
    columns = {"train_perplexity": train.exp(), "test_perplexity": test.exp()}
    if cell.network.task.name == "language":
        columns["bits_per_character"] = test / math.log(2)
    return cell.by_model(subjects, list(columns), [c.tolist() for c in columns.values()])
