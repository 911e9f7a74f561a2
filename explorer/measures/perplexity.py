"""Perplexity of each model: the exponential of its mean loss per token."""

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
        "exponential of the mean loss per training token",
        title="Training perplexity",
        see="As test perplexity, on the training set.",
        averaged=True,
        log=True,
    ),
    "test_perplexity": Column(
        "number",
        "",
        "exponential of the mean loss per test token",
        title="Test perplexity",
        see="Number of equally likely tokens that would give the same loss.",
        averaged=True,
        map=12,
        log=True,
    ),
    "bits_per_character": Column(
        "number",
        "bits",
        "test loss in bits, if tokens are characters",
        title="Bits per character",
        see="Test loss in bits per character. An uncompressed file uses 8.",
        averaged=True,
    ),
}


class Options(Settings):
    """No settings."""


def cost(options: Options, size: Size) -> list[Call]:
    """Return the cost of this measure, in gradients."""
    return forward(size, size.subjects, size.train)


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Measure exp(mean loss per token) on training and test set; for language, also the test loss in bits."""
    from explorer.train.loop import evaluate

    rows, _ = cell.ends([(name, name) for name in subjects])
    theta, buffers, data = cell.theta[rows], cell.buffers[rows], cell.data
    train, _ = evaluate(cell.network, theta, buffers, data.x_train, data.y_train)
    test, _ = evaluate(cell.network, theta, buffers, data.x_test, data.y_test)
    columns = {"train_perplexity": train.exp(), "test_perplexity": test.exp()}
    if cell.network.task.name == "language":
        columns["bits_per_character"] = test / math.log(2)
    return cell.by_model(subjects, list(columns), [c.tolist() for c in columns.values()])
