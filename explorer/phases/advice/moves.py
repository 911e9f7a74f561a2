"""Steps between neighbouring cells of a grid: the change of setting and the change of accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column
from explorer.phases.noise import moderated_errors
from explorer.phases.resampling import lines
from explorer.phases.words import ACCURACY

# Meaning of a larger and of a smaller value of each axis.
SIZES = ("width", "depth", "layers", "feed_forward", "channels", "embedding_width", "model_size")
DIRECTIONS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(SIZES, ("larger model", "smaller model")),
    **dict.fromkeys(("train_size", "pairs", "points", "collocation", "signals"), ("more data", "less data")),
    **dict.fromkeys(("label_noise", "pixel_noise", "noise"), ("noisier data", "cleaner data")),
    "batch_size": ("colder training", "hotter training"),
    **dict.fromkeys(("learning_rate", "weight_decay", "momentum"), ("hotter training", "colder training")),
    **dict.fromkeys(("steps", "epochs", "checkpoint"), ("longer training", "shorter training")),
}
OPPOSITES = {a: b for pair in DIRECTIONS.values() for a, b in (pair, pair[::-1])}


class Move(NamedTuple):
    """A step from a cell to the neighbour ``to``; both are row numbers.

    ``gain`` is the change of test accuracy in points, ``stderr`` its standard error (NaN if a spread is
    unknown), and ``loss`` the change of the natural logarithm of the training loss (NaN if unknown).
    """

    cell: int
    axis: str
    direction: str
    gain: float
    stderr: float
    to: int
    loss: float


def moves(cells: pd.DataFrame, names: Sequence[str]) -> list[Move]:
    """Return each step between neighbouring cells whose accuracy is known, in both directions."""
    pairs = [
        (axis, a, b)
        for axis, line in _lines(cells, names)
        for low, high in pairwise(line)
        for a, b in ((low, high), (high, low))
    ]
    return _moves(cells, pairs)


def moves_from(cells: pd.DataFrame, names: Sequence[str], place: int) -> list[Move]:
    """Return the changes from the cell in row ``place`` to each other cell of its lines, also far ones."""
    pairs = [
        (axis, place, other)
        for axis, line in _lines(cells, names)
        if place in line
        for other in line
        if other != place
    ]
    return _moves(cells, pairs)


def _lines(cells: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield the axis and the row numbers of each line along an axis with a meaning, in its order."""
    cells = cells.reset_index(drop=True)
    for axis in (n for n in names if n in DIRECTIONS and pd.api.types.is_numeric_dtype(cells[n])):
        for line in lines(cells, axis, names)[0]:
            yield axis, [int(cell) for cell in line if cell >= 0]


def _moves(cells: pd.DataFrame, pairs: Sequence[tuple[str, int, int]]) -> list[Move]:
    """Return the moves along an axis between two rows; those with an unknown accuracy are left out."""
    accuracy, error = column(cells, ACCURACY).to_numpy(), moderated_errors(cells, ACCURACY).stderr
    loss = np.log(column(cells, "train_loss").clip(lower=1e-12).to_numpy())
    values = {axis: cells[axis].to_numpy() for axis in {axis for axis, _, _ in pairs}}
    found = []
    for axis, here, there in pairs:
        up = values[axis][there] > values[axis][here]
        gain, fall = float(accuracy[there] - accuracy[here]), float(loss[there] - loss[here])
        stderr = float(np.hypot(error[here], error[there]))
        found.append(Move(here, axis, DIRECTIONS[axis][0 if up else 1], gain, stderr, there, fall))
    return [move for move in found if not np.isnan(move.gain)]
