"""Steps between neighbouring cells of a grid: the change of setting and the change of accuracy."""

from __future__ import annotations

from collections.abc import Sequence
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
    cells = cells.reset_index(drop=True)
    accuracy, error = column(cells, ACCURACY).to_numpy(), moderated_errors(cells, ACCURACY).stderr
    loss = np.log(column(cells, "train_loss").clip(lower=1e-12).to_numpy())
    found = []
    for axis in (n for n in names if n in DIRECTIONS and pd.api.types.is_numeric_dtype(cells[n])):
        up, down = DIRECTIONS[axis]
        for line in lines(cells, axis, names)[0]:
            for a, b in pairwise(int(cell) for cell in line if cell >= 0):
                for here, there, direction in ((a, b, up), (b, a, down)):
                    gain = float(accuracy[there] - accuracy[here])
                    stderr, fall = float(np.hypot(error[a], error[b])), float(loss[there] - loss[here])
                    found.append(Move(here, axis, direction, gain, stderr, there, fall))
    return [move for move in found if not np.isnan(move.gain)]
