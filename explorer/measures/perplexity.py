"""Perplexity of each model: the exponential of its mean loss per token."""

from __future__ import annotations

import math

from explorer.measures.base import CellModels, Kind, Measured, averaged
from explorer.measures.cost import Call, CellSize, forward
from explorer.options import Options as Settings

TASKS = ("translation", "language")
KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "train_perplexity": averaged(
        "exponential of the mean loss per training token",
        title="Training perplexity",
        caption="As test perplexity, on the training set.",
        log=True,
    ),
    "test_perplexity": averaged(
        "exponential of the mean loss per test token",
        title="Test perplexity",
        caption="Number of equally likely tokens that would give the same loss.",
        map=12,
        log=True,
    ),
    "bits_per_character": averaged(
        "test loss in bits, if tokens are characters",
        unit="bits",
        title="Bits per character",
        caption="Test loss in bits per character. An uncompressed file uses 8.",
    ),
}


class Options(Settings):
    """No settings."""


def cost(options: Options, size: CellSize) -> list[Call]:
    return forward(size, size.subjects, size.train)


def columns(cell: CellModels, options: Options) -> list[str]:
    """Return the columns of the rows. Tokens of a translation are not characters."""
    language = cell.network.task.name == "language"
    return [name for name in COLUMNS if name != "bits_per_character" or language]


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Measure exp(mean loss per token) on training and test set; for language, also the test loss in bits."""
    from explorer.train.loop import evaluate

    rows = cell.rows(subjects)
    theta, buffers, data = cell.theta[rows], cell.buffers[rows], cell.data
    train, _ = evaluate(cell.network, theta, buffers, data.x_train, data.y_train)
    test, _ = evaluate(cell.network, theta, buffers, data.x_test, data.y_test)
    values = {
        "train_perplexity": train.exp(),
        "test_perplexity": test.exp(),
        "bits_per_character": test / math.log(2),
    }
    return Measured.of(subjects, {name: values[name] for name in columns(cell, options)})
