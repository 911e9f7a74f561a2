"""Conclusions in simulated worlds whose truth is known; tests/test_truth.py has the rates."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from explorer import phases
from explorer.phases.best import among_best
from explorer.phases.claims.dips import find_dip, gain_of_choosing
from explorer.phases.noise import moderated_errors

sys.path.insert(0, str(ROOT / "benchmarks"))
import worlds


def test_worlds_have_the_means_and_the_noise_that_they_say():
    models, pairs = next(worlds.worlds(1, seeds=40, test_accuracy_percent=worlds.one_better()))
    cells = phases.cells(models, pairs, worlds.AXES)
    assert len(cells) == 40
    assert cells["test_accuracy_percent"].max() == pytest.approx(88, abs=0.6)
    assert cells["test_accuracy_percent_std"].mean() == pytest.approx(1.0, abs=0.05)
    assert cells["cka"].mean() == pytest.approx(0.8, abs=0.01)


def test_moderated_errors_pool_equal_variances_and_keep_unequal_ones():
    random = np.random.default_rng(0)
    equal = np.sqrt(random.chisquare(4, 200) / 4)
    unequal = equal * np.exp(random.normal(size=200))
    found = {}
    for name, spread in (("equal", equal), ("unequal", unequal)):
        cells = pd.DataFrame({"x": 1.0, "x_std": spread, "n_models": 5})
        found[name] = moderated_errors(cells, "x")
    assert np.ptp(found["equal"].stderr) < 0.1
    assert found["equal"].stderr.mean() == pytest.approx(1 / np.sqrt(5), rel=0.05)
    assert found["unequal"].df.max() < 10
    assert np.corrcoef(found["unequal"].stderr, unequal)[0, 1] > 0.9
    alone = moderated_errors(pd.DataFrame({"x": [1.0], "x_std": [np.nan], "n_models": [1]}), "x")
    assert np.isnan(alone.stderr).all()


def test_whether_a_cell_is_among_the_best_is_unknown_without_the_spread_of_its_models():
    models, pairs = next(worlds.worlds(1, test_accuracy_percent=worlds.one_better()))
    cells = phases.cells(models, pairs, worlds.AXES)
    assert among_best(cells).sum() >= 1
    assert among_best(cells.drop(columns="test_accuracy_percent_std")).isna().all()


@pytest.mark.parametrize("points", [0.0, 4.0])
def test_a_dip_is_found_where_it_is_on_every_line_and_not_in_random_worlds(points: float):
    random = np.random.default_rng(0)
    noise, held = np.full((5, 8), 0.2), []
    for _ in range(40):
        values = random.normal(85, 0.45, (5, 8)) if points else random.normal(85, 3, (5, 8))
        values[:, 4] -= points
        dip = find_dip(values, noise, np.ones(8, dtype=bool), 1)
        held.append(dip.depth.tails(0.0)[0] < 0.025 and dip.depth.value > 1)
        assert 0 <= dip.depth.low <= dip.depth.value <= dip.depth.high
    assert (np.mean(held) >= 0.9) if points else (np.mean(held) <= 0.05)


@pytest.mark.parametrize("gain", [0.0, 1.0, 3.0])
def test_the_interval_of_a_gain_covers_it_and_holds_nothing_impossible(gain: float):
    random = np.random.default_rng(1)
    mean = np.zeros((4, 5))
    mean[:, 2] = gain
    stderr, start, covered = np.full((4, 5), 0.45), np.zeros(4, dtype=int), []
    for _ in range(100):
        found = gain_of_choosing(mean + 0.45 * random.normal(size=mean.shape), stderr, 160.0, start)
        covered.append(found.low <= gain <= found.high)
        assert 0 <= found.low <= found.value <= found.high
    assert np.mean(covered) >= 0.9  # promised: 95 %
