"""Measures that decide on phases, and the scales on which they vary evenly over a grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from explorer.phases import Cut

QUANTILES = 1000  # of a predicted measure, for its mean and deviation in the units of the tables
BEYOND = 0.5  # predicted values end so far outside the measured ones, in ranges of these


class Measure(NamedTuple):
    """A measure that decides on the phase: to and from the scale on which it varies evenly.

    ``prior`` has the mean and deviation on this scale if fewer than two cells have the measure. ``noise`` is
    the median of the prior of its noise. ``diagonal`` measures may also vary along the diagonals of two axes.
    """

    to: Callable[[np.ndarray, Mapping[str, Cut]], np.ndarray]
    back: Callable[[np.ndarray, Mapping[str, Cut]], np.ndarray]
    prior: tuple[float, float]
    noise: float = 0.03
    diagonal: bool = False


# Mode connectivity decides on less above the tolerance: there its scale bends, and is so flat.
BEND, SLOPE = math.asinh(1.0), 0.5


def _bent(mc: np.ndarray, cuts: Mapping[str, Cut]) -> np.ndarray:
    value = np.arcsinh(mc / cuts["connected"].value)
    return np.where(value > BEND, BEND + SLOPE * (value - BEND), value)


def _straight(bent: np.ndarray, cuts: Mapping[str, Cut]) -> np.ndarray:
    value = np.where(bent > BEND, BEND + (bent - BEND) / SLOPE, bent)
    return np.sinh(np.clip(value, -20, np.arcsinh(100 / cuts["connected"].value))) * cuts["connected"].value


MEASURES = {
    "train_loss": Measure(
        lambda v, _: np.log10(np.maximum(v, 1e-6)),
        lambda v, _: 10.0 ** np.clip(v, -12, 12),
        (-1.0, 1.0),
        diagonal=True,
    ),
    "mode_connectivity": Measure(_bent, _straight, (0.0, 2.0), noise=0.1),
    "cka": Measure(lambda v, _: v, lambda v, _: v, (0.6, 0.3)),
    "train_error_percent": Measure(
        lambda v, _: np.log10(np.maximum(v, 0.1)),
        lambda v, _: 10.0 ** np.clip(v, -12, 2),
        (0.0, 1.0),
        diagonal=True,
    ),
}
OPTIONAL = "train_error_percent"


def in_units(
    name: str, mean: np.ndarray, spread: np.ndarray, cuts: Mapping[str, Cut], known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of a predicted measure in the units of the tables, (cells,) each.

    A normal distribution on a log scale has long tails. They end half a range outside the ``known`` values.
    """
    from scipy.special import ndtri

    normal = ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)[:, None]
    values = MEASURES[name].back(mean + spread * normal, cuts)
    known = known[np.isfinite(known)]
    if len(known) > 1:
        beyond = BEYOND * np.ptp(known)
        values = np.clip(values, known.min() - beyond, known.max() + beyond)
    return values.mean(axis=0), values.std(axis=0)
