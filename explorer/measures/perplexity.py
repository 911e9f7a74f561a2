"""Perplexity of each model: its loss in the words of those who predict sequences."""

from __future__ import annotations

import math

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured
from explorer.measures.cost import Call, Size, forward
from explorer.options import Options as Settings

TASKS = ("translation", "language")
KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "train_perplexity": Column(
        "number",
        "",
        "exp of the mean loss of a training token",
        title="Training perplexity",
        see="The same of the training set.",
        averaged=True,
        log=True,
    ),
    "test_perplexity": Column(
        "number",
        "",
        "exp of the mean loss of a test token",
        title="Test perplexity",
        see="Tokens among which a model hesitates, as it were.",
        averaged=True,
        map=12,
        log=True,
    ),
    "bits_per_character": Column(
        "number",
        "bits",
        "test loss in bits, where tokens are characters",
        title="Bits per character",
        see="Of the test text; 8 is a plain file.",
        averaged=True,
    ),
}


class Options(Settings):
    """There is nothing to set."""


def cost(options: Options, size: Size) -> list[Call]:
    """Return what it costs, in gradients."""
    return forward(size, size.subjects, size.train)


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
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
