"""Subset, noise and scale of a data set: exact, nested, decided by content alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import sparse

from explorer.data.base import DataOptions, pool_images, prepare, train_inputs
from explorer.data.dataset import Arrays, as_array
from explorer.settings import InputError


def numbered(inputs: int = 400, classes: int = 10) -> Arrays:
    """Inputs that carry their own number, so that a row of the result names its origin."""
    x = np.arange(inputs, dtype=np.float32)[:, None]
    y = (np.arange(inputs) * 7 % classes).astype(np.int64)
    return Arrays(x, y, x[:50], y[:50], classes)


def plain(**settings: object) -> DataOptions:
    return DataOptions.model_validate({"standardise": False, **settings})


def test_smaller_training_sets_are_the_start_of_larger_ones() -> None:
    small, large = (prepare(numbered(), plain(train_size=n), "a").x_train for n in (50, 200))
    assert np.array_equal(small, large[:50])
    assert len(np.unique(large)) == 200


def test_train_size_is_a_number_or_a_share() -> None:
    assert train_inputs(plain(train_size=0.25), 400) == train_inputs(plain(train_size=100), 400) == 100
    assert train_inputs(plain(train_size=1.0), 400) == train_inputs(plain(), 400) == 400


@pytest.mark.parametrize("size", [401, 0.001])
def test_a_training_set_that_cannot_be_is_refused_with_its_size(size: float) -> None:
    with pytest.raises(InputError, match=rf"train_size {size}.*400"):
        train_inputs(plain(train_size=size), 400)


@pytest.mark.parametrize("size", [1, 0, -3, 0.0, 1.5, "many"])
def test_a_train_size_without_meaning_is_refused(size: object) -> None:
    with pytest.raises(ValidationError):
        plain(train_size=size)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5, 1.0])
def test_label_noise_changes_exactly_the_share(noise: float) -> None:
    clean, noisy = (prepare(numbered(), plain(train_size=130, label_noise=n), "a") for n in (0.0, noise))
    assert (clean.y_train != noisy.y_train).sum() == round(noise * 130)
    assert noisy.y_train.min() >= 0
    assert noisy.y_train.max() < 10
    assert np.array_equal(clean.x_train, noisy.x_train)
    assert np.array_equal(clean.y_test, noisy.y_test)


def test_label_noise_is_uniform_over_the_other_classes() -> None:
    clean, noisy = (prepare(numbered(20_000), plain(label_noise=n), "a").y_train for n in (0.0, 1.0))
    shifts = np.bincount((noisy - clean) % 10, minlength=10)
    assert shifts[0] == 0
    assert ((shifts[1:] - 20_000 / 9) ** 2 / (20_000 / 9)).sum() < 26.1  # chi-square, 8 d.o.f., p = .001


def test_noise_levels_are_nested() -> None:
    clean, some, more = (prepare(numbered(), plain(label_noise=n), "a").y_train for n in (0.0, 0.1, 0.3))
    wrong = some != clean
    assert np.array_equal(some[wrong], more[wrong])
    assert (more != clean).sum() > wrong.sum()


def test_the_draw_is_decided_by_the_name_of_the_data_set_and_not_by_global_state() -> None:
    options = plain(train_size=100, label_noise=0.4)
    first = prepare(numbered(), options, "a")
    np.random.seed(3)  # noqa: NPY002 - the point is that it has no effect
    again, other = prepare(numbered(), options, "a"), prepare(numbered(), options, "b")
    assert np.array_equal(first.x_train, again.x_train)
    assert np.array_equal(first.y_train, again.y_train)
    assert not np.array_equal(first.x_train, other.x_train)


@pytest.mark.parametrize("subset", ["sample", "first"])
def test_the_clean_arrays_are_left_alone(subset: str) -> None:
    clean, untouched = numbered(), numbered()
    prepare(
        clean, DataOptions.model_validate({"label_noise": 1.0, "pixel_noise": 1.0, "subset": subset}), "a"
    )
    assert np.array_equal(clean.x_train, untouched.x_train)
    assert np.array_equal(clean.y_train, untouched.y_train)


def images(channels: int = 3) -> Arrays:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, channels, 6, 5)) * np.arange(1, channels + 1)[:, None, None] + 4
    y = rng.integers(0, 3, 60)
    return Arrays(x[:40].astype(np.float32), y[:40], x[40:].astype(np.float32), y[40:], 3)


def test_standardisation_is_by_channel_and_from_the_training_inputs_kept() -> None:
    result = prepare(images(), DataOptions(train_size=20), "a")
    assert result.x_train.mean((0, 2, 3)) == pytest.approx(np.zeros(3), abs=1e-5)
    assert result.x_train.std((0, 2, 3)) == pytest.approx(np.ones(3), abs=1e-5)
    kept = prepare(images(), plain(train_size=20), "a").x_train
    mean, scale = kept.mean((0, 2, 3), dtype=np.float64), kept.std((0, 2, 3), dtype=np.float64)
    expected = (images().x_test - mean[:, None, None]) / scale[:, None, None]
    assert result.x_test == pytest.approx(expected, abs=1e-5)
    assert result.x_train.dtype == result.x_test.dtype == np.float32


def test_vectors_share_one_scale_and_a_constant_input_stays_finite() -> None:
    result = prepare(numbered(), DataOptions(), "a")
    assert result.x_train.std() == pytest.approx(1, abs=1e-5)
    constant = Arrays(
        np.full((4, 2), 7, np.float32),
        np.array([0, 1, 0, 1]),
        np.full((2, 2), 7, np.float32),
        np.array([0, 1]),
        2,
    )
    assert np.array_equal(prepare(constant, DataOptions(), "a").x_train, np.zeros((4, 2)))


def test_pooling_is_the_mean_of_squares() -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert pool_images(x, 2).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert np.array_equal(pool_images(x, 1), x)
    with pytest.raises(InputError, match="pool 3"):
        pool_images(x, 3)


def test_arrays_may_be_sparse_or_bfloat16() -> None:
    dense = torch.tensor([[0.0, 1.5], [2.0, 0.0]], requires_grad=True)
    for given in (dense, dense.to_sparse(), dense.bfloat16(), sparse.csr_matrix(dense.detach().numpy())):
        assert as_array(given, "x").tolist() == [[0, 1.5], [2, 0]]
