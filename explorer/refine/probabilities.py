"""Probabilities of the phases from predicted measures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from explorer.phases import PHASES, Cut
from explorer.phases.cuts import Sides, sort_sides
from explorer.refine.measures import MEASURES, OPTIONAL


def shares_of_phases(
    predicted: Mapping[str, tuple[np.ndarray, np.ndarray]], cuts: Mapping[str, Cut]
) -> np.ndarray:
    """Return the probability of each phase, (cells, phases), by the rule of measured cells.

    Training loss and training error rise and fall together. The others vary independently of them.

    Args:
        predicted: mean and standard deviation of each measure on the scale of :class:`Measure`.
    """
    from scipy.special import ndtr

    def below(name: str, value: float) -> np.ndarray:
        mean, spread = predicted[name]
        return ndtr((MEASURES[name].to(np.array(value), cuts) - mean) / np.maximum(spread, 1e-12))

    loss_cut, connected, cka_cut = (cuts[name].value for name in ("train_loss", "connected", "cka"))
    low, limit = below("train_loss", loss_cut), cuts["train_loss"].fitted_error
    fits = below(OPTIONAL, limit) if OPTIONAL in predicted and limit is not None else np.zeros_like(low)
    both = np.minimum(low, fits)
    of_loss = np.stack([both, low - both, fits - both, 1 - low - fits + both])  # (sides, cells)
    behind, inside = below("mode_connectivity", -connected), below("mode_connectivity", connected)
    of_mc = np.stack([behind, inside - behind, 1 - inside])
    unlike = below("cka", cka_cut)
    of_cka = np.stack([1 - unlike, unlike])
    i, j, k = np.indices((4, 3, 2)).reshape(3, -1)
    sides = Sides(i < 2, i >= 2, j == 0, j == 1, j == 2, k == 0, k == 1)
    phase = sort_sides(sides, i % 2 == 0).phase
    share = of_loss[i] * of_mc[j] * of_cka[k]
    return np.stack([share[phase == number].sum(axis=0) for number in range(1, 1 + len(PHASES))], axis=1)


def sharpened(shares: np.ndarray, power: float) -> np.ndarray:
    """Return probabilities, (cells, phases), that are raised to a power and sum to 1 again."""
    raised = shares**power
    return raised / raised.sum(axis=1, keepdims=True)
