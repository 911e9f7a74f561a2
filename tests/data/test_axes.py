"""The axes of the data: which classes, which inputs, how many wrong labels and pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from explorer.data import corruption, digits
from explorer.data.base import DataOptions, counts, prepare
from explorer.data.dataset import Arrays
from explorer.settings import InputError


def numbered(inputs: int = 400, classes: int = 10) -> Arrays:
    """Inputs that carry their own number."""
    x = np.arange(inputs, dtype=np.float32)[:, None]
    y = (np.arange(inputs) * 7 % classes).astype(np.int64)
    return Arrays(x, y, x[:50], y[:50], classes)


def prepared(clean: Arrays, **settings: Any) -> Arrays:
    return prepare(clean, DataOptions.model_validate({"standardise": False, **settings}), "a")


def test_first_takes_the_data_set_in_its_own_order_and_sample_does_not() -> None:
    assert prepared(numbered(), train_size=30, subset="first").x_train[:, 0].tolist() == list(range(30))
    assert prepared(numbered(), train_size=30, subset="sample").x_train[:, 0].tolist() != list(range(30))


@pytest.mark.parametrize("subset", ["first", "sample"])
def test_balanced_subsets_have_equal_classes_and_are_nested(subset: str) -> None:
    skewed = numbered()
    skewed.y_train[:] = np.repeat(np.arange(10), [31, 49, 40, 40, 40, 40, 40, 40, 40, 40])
    result = prepared(skewed, train_size=203, subset=subset, balanced=True)
    sizes = np.bincount(result.y_train)
    assert sorted(sizes) == [20] * 7 + [21] * 3
    smaller = prepared(skewed, train_size=77, subset=subset, balanced=True)
    assert np.array_equal(smaller.x_train, result.x_train[:77])
    assert np.ptp(np.bincount(prepared(skewed, train_size=203, subset="sample").y_train)) > 1


def test_balanced_says_which_class_is_too_small() -> None:
    skewed = numbered(100, 2)
    skewed.y_train[:] = np.repeat([0, 1], [90, 10])
    with pytest.raises(InputError, match=r"class 1 has 10"):
        prepared(skewed, train_size=60, balanced=True)
    uneven = numbered(11, 3)
    uneven.y_train[:] = np.repeat([0, 1, 2], [4, 4, 3])
    prepared(uneven, train_size=11, balanced=True)
    uneven.y_train[:] = np.repeat([0, 1, 2], [5, 3, 3])
    with pytest.raises(InputError, match="11 inputs do not divide over 3 classes"):
        prepared(uneven, train_size=11, balanced=True)


def test_the_classes_asked_for_are_kept_and_renumbered_in_their_order() -> None:
    result = prepared(numbered(), classes=(7, 2))
    assert result.classes == 2
    original = numbered().y_train[result.x_train[:, 0].astype(int)]
    assert np.array_equal(np.where(result.y_train == 0, 7, 2), original)
    assert set(np.unique(result.y_test)) == {0, 1}
    assert len(result.x_train) == 80


def test_the_number_available_follows_the_classes() -> None:
    assert digits.available(digits.Options()) == (1000, 797)
    some = digits.Options(classes=(1, 8))
    y_train, y_test = digits.load(some).y_train, digits.load(some).y_test
    assert digits.available(some) == (np.isin(y_train, [1, 8]).sum(), np.isin(y_test, [1, 8]).sum())
    assert counts(DataOptions(), 5, 3, lambda _: pytest.fail("nothing needs to be loaded")) == (5, 3)


def test_counting_loads_once_for_all_cells_of_a_grid() -> None:
    loaded: list[DataOptions] = []

    def load(options: DataOptions) -> Arrays:
        loaded.append(options)
        return numbered()

    for noise in (0.0, 0.1, 0.2):
        assert counts(DataOptions(classes=(2, 7), label_noise=noise), 400, 50, load) == (80, 10)
    assert counts(DataOptions(classes=(2, 7, 8)), 400, 50, load) == (120, 15)
    assert len(loaded) == 2


@pytest.mark.parametrize("classes", [(1,), (1, 1)])
def test_classes_without_meaning_are_refused(classes: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        DataOptions(classes=classes)


def test_an_unknown_class_is_named() -> None:
    with pytest.raises(InputError, match=r"\[10\].*0 to 9"):
        prepared(numbered(), classes=(1, 10))
    only_trained = numbered()
    only_trained.y_test[:] = 0
    with pytest.raises(InputError, match="no test inputs"):
        prepared(only_trained, classes=(1, 2))


def test_uniform_noise_draws_from_all_classes_and_keeps_a_tenth() -> None:
    clean = numbered(20_000)
    labels = {
        noise: prepared(clean, label_noise=noise, noise_kind="uniform", subset="first").y_train
        for noise in (0.3, 1.0)
    }
    kept = (labels[1.0] == clean.y_train).mean()
    assert kept == pytest.approx(0.1, abs=0.01)  # 4.7 standard errors
    drawn = np.bincount(labels[1.0], minlength=10)
    assert ((drawn - 2000) ** 2 / 2000).sum() < 27.9  # chi-square, 9 d.o.f., p = .001
    differs = labels[0.3] != clean.y_train
    assert differs.sum() == pytest.approx(0.27 * 20_000, rel=0.03)
    assert np.array_equal(labels[0.3][differs], labels[1.0][differs])  # nested


def test_the_two_kinds_of_noise_touch_the_same_inputs() -> None:
    other, uniform = (
        prepared(numbered(), label_noise=0.3, noise_kind=kind, subset="first").y_train != numbered().y_train
        for kind in ("other", "uniform")
    )
    assert other.sum() == 120
    assert not (uniform & ~other).any()


def places(inputs: int = 50, shape: tuple[int, ...] = (3, 4, 5)) -> Arrays:
    """Inputs of which each number says whose it is and where it belongs."""
    size = int(np.prod(shape))
    x = (1000 * np.arange(inputs)[:, None] + np.arange(size)).astype(np.float32).reshape(inputs, *shape)
    return Arrays(x, np.arange(inputs) % 2, x[:4], np.arange(4) % 2, 2)


@pytest.mark.parametrize("shape", [(3, 4, 5), (20,), (2, 10)])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_pixel_noise_puts_other_inputs_pixels_in_their_own_place(
    shape: tuple[int, ...], share: float
) -> None:
    clean = places(shape=shape)
    noisy = prepared(clean, pixel_noise=share, subset="first")
    changed = noisy.x_train != clean.x_train
    assert np.array_equal(noisy.x_train % 1000, clean.x_train % 1000)  # the place is kept
    pixels = int(np.prod(shape[-2:])) if len(shape) == 3 else int(np.prod(shape))
    per_input = changed.any(1) if len(shape) == 3 else changed
    assert (per_input.reshape(50, -1).sum(1) == round(share * pixels)).all()
    if len(shape) == 3:  # all channels of a pixel come from one input
        donors = noisy.x_train // 1000
        assert (donors == donors[:, :1]).all()
        assert np.array_equal(changed.any(1), changed.all(1))
    assert np.array_equal(noisy.x_test, clean.x_test)
    assert np.array_equal(noisy.y_train, clean.y_train)


def test_levels_of_pixel_noise_are_nested_and_differ_between_inputs() -> None:
    some, more = (prepared(places(), pixel_noise=share, subset="first").x_train for share in (0.2, 0.6))
    changed = some != places().x_train
    assert np.array_equal(some[changed], more[changed])
    assert len(np.unique(changed[:, 0].reshape(50, -1), axis=0)) > 30


def test_the_scale_does_not_depend_on_pixel_noise() -> None:
    clean, noisy = (prepared(places(), standardise=True, pixel_noise=share) for share in (0.0, 0.9))
    assert np.array_equal(clean.x_test, noisy.x_test)
    assert not np.array_equal(clean.x_train, noisy.x_train)


@pytest.mark.parametrize(
    "settings", [{"train_size": 10, "subset": "sample"}, {"label_noise": 0.3}, {"pixel_noise": 0.5}]
)
def test_another_corruption_seed_is_another_draw_and_the_same_seed_the_same(settings: dict[str, Any]) -> None:
    settings = {"subset": "first", **settings}

    def drawn(seed: int) -> list[np.ndarray]:
        result = prepared(places(), corruption_seed=seed, **settings)
        return [result.x_train, result.y_train]

    assert all(map(np.array_equal, drawn(1), drawn(1)))
    assert not all(map(np.array_equal, drawn(1), drawn(2)))
    assert not all(map(np.array_equal, drawn(0), drawn(1)))


def test_each_replicate_can_have_a_corruption_of_its_own() -> None:
    options = DataOptions(label_noise=0.3, train_size=20, standardise=False, corruption="own")
    drawn = [prepare(numbered(), options.of_replicate(seed), "a") for seed in (0, 1, 0)]
    assert np.array_equal(drawn[0].x_train, drawn[2].x_train)
    assert not np.array_equal(drawn[0].x_train, drawn[1].x_train)
    other = options.model_copy(update={"corruption_seed": 1}).of_replicate(0)
    assert not np.array_equal(prepare(numbered(), other, "a").x_train, drawn[0].x_train)
    with pytest.raises(ValueError, match="of_replicate"):
        prepare(numbered(), options, "a")
    shared = DataOptions(label_noise=0.3)
    assert shared.of_replicate(4) is shared


def test_all_of_a_class_is_order_preserving() -> None:
    kept = corruption.of_classes(numbered(), (3, 4)).x_train[:, 0]
    assert np.array_equal(kept, np.sort(kept))


def test_no_option_of_the_data_is_also_one_of_training_or_of_a_network() -> None:
    import explorer.data
    import explorer.models
    from explorer.settings import plugin

    taken = {
        "batch_size",
        "learning_rate",
        "momentum",
        "weight_decay",
        "schedule",
        "steps",
        "epochs",
        "optimizer",
        "seed",
        "seeds",
    }
    for name in explorer.models.NAMES:
        taken |= set(plugin(explorer.models, name, "architecture").Options.model_fields)
    for name in explorer.data.NAMES:
        assert not taken & set(plugin(explorer.data, name, "data set").Options.model_fields)
