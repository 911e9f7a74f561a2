"""Convection: values and points are those of the equation, what is asked is marked."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from explorer.data import convection
from explorer.data.base import prepare
from explorer.settings import InputError
from explorer.space.reading import parse


def at(**settings: object) -> convection.Options:
    return convection.Options.model_validate(settings)


@pytest.mark.parametrize("beta", [0.0, 1.0, 7.5])
def test_values_solve_the_equation(beta: float) -> None:
    """Finite differences of the test grid: u_t + β u_x = 0, u(x, 0) = √2 sin x, the same after a turn."""
    arrays = convection.load(at(beta=beta, physics=True))  # whose inputs are not scaled
    n, m = convection.GRID
    x, u = (array.reshape(n, m, -1).astype(float) for array in (arrays.x_test, arrays.y_test))
    assert np.allclose(u[:, 0, 0], np.sqrt(2) * np.sin(x[:, 0, 0]), atol=1e-6)
    u = u[:, :, :1]
    u_t = (u[:, 2:, 0] - u[:, :-2, 0]) / (x[0, 2, 1] - x[0, 0, 1])
    u_x = (np.roll(u, -1, 0) - np.roll(u, 1, 0))[:, 1:-1, 0] / (2 * (x[1, 0, 0] - x[0, 0, 0]))
    assert np.abs(u_t + beta * u_x).max() < 0.01 * (1 + beta**3)
    if beta:
        assert np.abs(u_t - beta * u_x).max() > 1


def test_test_targets_have_variance_one_so_that_errors_are_shares() -> None:
    for beta in (1.0, 30.0):
        tested = convection.load(at(beta=beta)).y_test
        assert (tested.mean(), tested.var()) == pytest.approx((0, 1), abs=1e-5)


def test_points_are_in_the_domain_and_the_same_for_each_speed_and_noise() -> None:
    arrays, fast, noisy = (convection.load(at(**s)) for s in ({}, {"beta": 30.0}, {"noise": 0.5}))
    assert arrays.x_train.shape == (1000, 2)
    assert arrays.y_train.shape == (1000, 1)
    assert arrays.classes == 1
    assert np.abs(arrays.x_train).max(0) == pytest.approx(np.sqrt(3), abs=0.02)  # ends of a uniform variable
    assert arrays.x_train.mean(0) == pytest.approx(0, abs=0.1)
    assert arrays.x_train.std(0) == pytest.approx(1, abs=0.05)
    x, t = (arrays.x_train / np.sqrt(12) + 0.5).T
    expected = np.sqrt(2) * np.sin(convection.PERIOD * x - t)
    assert np.allclose(arrays.y_train[:, 0], expected, atol=1e-5)
    for other in (fast, noisy):
        assert np.array_equal(other.x_train, arrays.x_train)
    assert not np.array_equal(fast.y_train, arrays.y_train)
    more = convection.load(at(points=2000))
    assert np.array_equal(more.x_train[:1000], arrays.x_train)


def test_noise_is_on_the_training_values_alone_and_its_levels_go_together() -> None:
    clean, some, twice = (convection.load(at(noise=n, points=5000)) for n in (0.0, 0.2, 0.4))
    noise = some.y_train - clean.y_train
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    assert np.allclose(twice.y_train - clean.y_train, 2 * noise, atol=1e-5)
    assert np.array_equal(some.y_test, clean.y_test)


def test_with_physics_each_point_asks_for_one_output() -> None:
    arrays = convection.load(at(physics=True, beta=3.0, points=50, collocation=200))
    assert arrays.x_train.shape == (250, 3)
    assert arrays.y_train.shape == (250, 2)
    assert arrays.classes == 2
    assert (arrays.x_train[:, 2] == 3).all()
    start = ~np.isnan(arrays.y_train[:, 0])
    assert start.sum() == 50
    assert (arrays.x_train[start, 1] == 0).all()
    assert np.allclose(arrays.y_train[start, 0], np.sqrt(2) * np.sin(arrays.x_train[start, 0]), atol=1e-6)
    assert (np.isnan(arrays.y_train[:, 1]) == start).all()
    assert (arrays.y_train[~start, 1] == 0).all()
    assert arrays.x_train[~start, 1].max() > 0.9
    assert np.isnan(arrays.y_test[:, 1]).all()
    assert np.array_equal(arrays.y_test[:, 0], convection.load(at(beta=3.0)).y_test[:, 0])


def test_a_subset_is_taken_and_nothing_is_scaled() -> None:
    options = at(train_size=100, noise=0.1)
    clean = convection.load(options)
    kept = prepare(clean, options, "convection")
    rows = {row.tobytes() for row in np.hstack([clean.x_train, clean.y_train])}
    assert {row.tobytes() for row in np.hstack([kept.x_train, kept.y_train])} < rows
    assert len(kept.x_train) == 100
    assert np.array_equal(kept.x_test, clean.x_test)
    smaller = prepare(clean, at(train_size=40, noise=0.1), "convection")
    assert np.array_equal(kept.y_train[:40], smaller.y_train)


def test_numbers_of_points_are_known_without_them() -> None:
    for options in (at(), at(points=70), at(points=70, physics=True, collocation=30)):
        arrays = convection.load(options)
        assert convection.available(options) == (len(arrays.x_train), len(arrays.x_test))


def test_a_setting_that_would_be_ignored_is_refused() -> None:
    with pytest.raises(ValidationError, match="collocation is the number of points of physics: true"):
        at(collocation=50)
    with pytest.raises(ValidationError):
        at(label_noise=0.1)


def test_the_equation_needs_a_network_that_knows_the_derivative() -> None:
    raw = {
        "name": "x", "data": {"name": "convection", "physics": True}, "model": "mlp", "load": {"width": [4]},
        "training": {"steps": 5},
    }  # fmt: skip
    with pytest.raises(InputError, match="needs a derivative as output, which mlp does not have; use pinn"):
        parse(raw)
    assert parse({**raw, "model": "pinn"}).task == "regression"
