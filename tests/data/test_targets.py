"""Targets and inputs as people store them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from explorer.data import digits, text
from explorer.data.base import DataOptions, prepare
from explorer.data.corruption import of_classes
from explorer.data.dataset import Arrays, checked_arrays
from explorer.settings import InputError


def read(y: Any, y_test: Any = None, x: Any = None, x_test: Any = None) -> Arrays:
    y = np.asarray(y)
    x = np.random.default_rng(0).normal(size=(len(y), 4)) if x is None else x
    y_test = y[:2] if y_test is None else np.asarray(y_test)
    x_test = x[: len(y_test)] if x_test is None else x_test
    return checked_arrays("mine", {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test})


NUMBERS = [0, 2, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (NUMBERS, NUMBERS),
        (np.array(NUMBERS, np.uint8), NUMBERS),
        (np.array(NUMBERS, float), NUMBERS),
        (np.array(NUMBERS)[:, None], NUMBERS),
        (np.array(NUMBERS, np.float32)[:, None], NUMBERS),
        (np.eye(3)[NUMBERS], NUMBERS),
        (np.eye(3, dtype=bool)[NUMBERS], NUMBERS),
        (["a", "c", "b", "a", "b", "c"], NUMBERS),
        (np.array(["a", "c", "b", "a", "b", "c"], object), NUMBERS),
        ([True, False, True, True, False, False], [1, 0, 1, 1, 0, 0]),
        ([0, 100, 50, 0, 50, 100], NUMBERS),
        ([1, 3, 2, 1, 2, 3], NUMBERS),
        ([-1, 1, 1, -1, 1, -1], [0, 1, 1, 0, 1, 0]),
        ([-100, -50, 0, -50, -100, -50], [0, 1, 2, 1, 0, 1]),
    ],
)
def test_labels_of_any_kind_are_class_numbers(y: Any, labels: list[int]) -> None:
    arrays = read(y).for_task("classification", "mine")
    assert arrays.y_train.tolist() == labels
    assert arrays.y_train.dtype == np.int64
    assert arrays.classes == len(set(labels))
    assert f"{arrays.classes} classes" in arrays.describe()


def test_the_reading_of_labels_is_part_of_a_model() -> None:
    assert "labels" not in read(NUMBERS).reading
    assert "labels" in read([0, 100, 50, 0, 50, 100]).reading


@pytest.mark.parametrize("y", [[3, 1, 4, 1, 5, 9], np.arange(6.0), np.arange(6) / 2, np.eye(3)[NUMBERS]])
def test_numbers_are_targets_of_a_regression(y: Any) -> None:
    arrays = read(y).for_task("regression", "mine")
    assert arrays.y_train.dtype == np.float32
    assert np.array_equal(arrays.y_train, np.asarray(y, np.float32).reshape(6, -1))
    assert arrays.classes == arrays.y_train.shape[1]


def test_words_are_no_targets_of_a_regression() -> None:
    with pytest.raises(InputError, match=r"^mine has words as targets, such as 'a', and task: regression"):
        read(["a", "b"] * 3).for_task("regression", "mine")
    assert -100 in read([0, 1, -100] * 2).for_task("regression", "mine").y_train


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"y": ["a"] * 6}, "only one class"),
        ({"y": [1] * 6}, "only one class"),
        ({"y": list(range(6)), "y_test": [7, 8]}, "7 is a label of test inputs"),
        ({"y": [0.5, np.inf, 0, 0, 0, 0]}, r"y_train is \[inf\] for input 1"),
        ({"y": NUMBERS, "y_test": ["a", "b"]}, "of one kind"),
        ({"y": np.zeros((6, 2, 2))}, r"y_train holds float64 \(6, 2, 2\)"),
        ({"y": np.array([object()] * 6)}, "y_train holds object"),
        ({"y": np.array(["a", "b", None] * 2, object)}, r"object \(6,\), and y_train\[2\] is None; give"),
        ({"y": np.array([0, 1, "b"] * 2, object)}, r"object \(6,\), and y_train\[2\] is 'b'; give"),
        (
            {"y": [0.5, 1e39, 0, 0, 0, 0]},
            r"y_train is \[1e\+39\] for input 1; targets must be finite in float32",
        ),
        ({"y": [0, 1, -100, 1, 0, 1]}, r"y_train\[2\] is -100, which torch's .* leave these inputs out"),
        ({"y": [0, 1, 2.0, 1, 0, 1], "y_test": [0, -100.0]}, r"y_test\[1\] is -100, which torch's"),
        ({"y": NUMBERS, "x": np.array([["a"]] * 6)}, r"x_train\[0, 0\] is 'a' \(<U1\); numbers are needed"),
        ({"y": NUMBERS, "x": np.array([[1, 2], [3, None]] * 3)}, r"x_train\[1, 1\] is None \(object\)"),
        ({"y": NUMBERS, "x": np.array([[1.0, 2], [3, 1e39]] * 3)}, r"x_train\[1, 1\] is 1e\+39, and 3 value"),
        ({"y": NUMBERS, "x": np.array([[1.0, 2], [3, np.nan]] * 3)}, r"x_train\[1, 1\] is nan"),
        ({"y": NUMBERS, "x": np.zeros(6)}, "has the shape"),
        ({"y": NUMBERS, "x": np.zeros((6, 3)), "x_test": np.zeros((2, 4))}, r"\(3,\) and test inputs \(4,\)"),
    ],
)
def test_rejections_show_the_value_and_what_to_do(content: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        read(**content).for_task("classification", "mine")


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((8, 8, 3), (3, 8, 8)),
        ((8, 8, 1), (1, 8, 8)),
        ((3, 8, 8), (3, 8, 8)),
        ((12, 12, 13), (13, 12, 12)),
        ((12, 12, 2), (2, 12, 12)),
        ((2, 12, 12), (2, 12, 12)),
        ((4, 4, 1), (1, 4, 4)),
        ((8, 100, 1), (1, 8, 100)),
        ((5, 4), (5, 4)),
    ],
)
def test_channels_last_are_recognised_by_the_shape(shape: tuple[int, ...], kept: tuple[int, ...]) -> None:
    x = np.arange(6 * np.prod(shape)).reshape(6, *shape)
    arrays = read(NUMBERS, x=x)
    assert arrays.shape == kept
    assert ("channels last" in arrays.reading) == (shape != kept)
    if shape != kept:
        assert np.array_equal(arrays.x_train[2, 1 % kept[0]], x[2, :, :, 1 % kept[0]])


@pytest.mark.parametrize("shape", [(3, 8, 3), (4, 8, 3), (5, 6, 7), (4, 4, 4)])
def test_images_whose_shape_does_not_say_where_channels_are(shape: tuple[int, ...]) -> None:
    x = np.zeros((6, *shape))
    content = {"x_train": x, "y_train": np.array(NUMBERS), "x_test": x, "y_test": np.array(NUMBERS)}
    with pytest.raises(InputError, match="set image_channels to first"):
        checked_arrays("mine", content)
    assert checked_arrays("mine", content, "first").shape == shape
    assert checked_arrays("mine", content, "last").shape == (shape[2], *shape[:2])


def test_a_description_follows_the_task_and_fits_every_data_set() -> None:
    arrays = read(NUMBERS)
    assert "tables of 4 columns, from" in arrays.describe()
    assert arrays.describe().endswith("3 classes: 0, 1, 2")
    assert "targets of 1 number, from" in arrays.for_task("regression", "mine").describe()
    assert digits.load(digits.Options()).describe() == (
        "1,000 training and 797 test inputs; images of 8×8 with 1 channel, from 0 to 1; 10 classes"
    )
    assert "windows of 32 tokens" in text.load(text.Options(length=32)).describe()


def test_columns_of_a_table_are_standardised_one_by_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal([0, 1000, -5, 3], [1e-3, 300, 1, 0], (50, 4))
    arrays = prepare(
        read(rng.integers(0, 2, 50), x=x, y_test=[0, 1] * 25, x_test=x + np.array([0, 0, 0, 2])),
        DataOptions(),
        "mine",
    )
    assert np.allclose(arrays.x_train.mean(0), 0, atol=1e-4)
    assert np.allclose(arrays.x_train.std(0), [1, 1, 1, 0], atol=1e-3)
    assert np.allclose(arrays.x_test[:, 3], 2)  # a constant column is shifted, not divided by nothing


def test_columns_finer_than_float32_keep_their_differences() -> None:
    rng = np.random.default_rng(0)
    fine = rng.normal(size=(50, 3))
    arrays = read(rng.integers(0, 2, 50), x=fine + np.array([1.7e9, 0, -3e12]), y_test=[0, 1] * 25)
    assert arrays.moved == (0, 2)
    assert "columns 0, 2" in arrays.describe()
    x = prepare(arrays, DataOptions(subset="first"), "mine").x_train
    assert np.allclose(x, (fine - fine.mean(0)) / fine.std(0), atol=2e-3)
    assert read([0, 1] * 25, x=fine + np.array([2000, 0, 0])).reading == ("columns",)  # read as ever
    with pytest.raises(InputError, match="too fine for float32; subtract their mean"):
        read([0, 1] * 25, x=fine[:, None] + 1.7e9, y_test=[0, 1] * 25)


SCALES: dict[str, tuple[Any, Any, Any]] = {  # (training inputs, test inputs), from standard normal numbers
    "one column": (lambda x: x, lambda x: x * [1, 12, 1], "column 1:"),
    "raw test": (lambda x: x, lambda x: 2 * x + 4, "column 0 and 2 more:"),
    "nearly constant": (lambda x: x * [1, 1, 1e-9], lambda x: x + 1, "column 2:"),
    "scaled images": (
        lambda x: (x[:, :, None, None] % 1 - 0.5) / 0.5,
        lambda x: x[:, :, None, None] % 1,
        "channel 0",
    ),
    "alike": (lambda x: x, lambda x: 1.3 * x + 0.2, ""),
    "heavy tails": (np.exp, np.exp, ""),
    "images alike": (lambda x: x[:, :, None, None] % 1, lambda x: x[:, :, None, None] % 1, ""),
}


@pytest.mark.parametrize("name", SCALES)
def test_scales_are_compared_column_by_column(name: str) -> None:
    rng = np.random.default_rng(0)
    train, test, told = SCALES[name]
    y = rng.integers(0, 2, 200)
    said = read(
        y, y[:60], x=train(rng.normal(size=(200, 3))), x_test=test(rng.normal(size=(60, 3)))
    ).describe()
    assert ("WARNING" in said) == bool(told)
    assert told in said


@pytest.mark.parametrize(
    ("labels", "classes", "kept", "names"),
    [
        ([1, 2, 3], [1, 2], [1, 2], ("1", "2")),
        ([0, 50, 100], [100, 50], [100, 50], ("100", "50")),
        ([0, 1, 2], [2, 0], [2, 0], ("2", "0")),
        ([-1, 0, 1], [-1, 1], [-1, 1], ("-1", "1")),
        (["cat", "dog", "eel"], ["eel", "cat"], ["eel", "cat"], ("eel", "cat")),
        (["cat", "dog", "eel"], [2, 0], ["eel", "cat"], ("eel", "cat")),
    ],
)
def test_classes_are_given_by_the_labels_of_the_data(
    labels: Any, classes: Any, kept: Any, names: Any
) -> None:
    y = np.array(labels)[[0, 1, 2] * 4]
    x = np.arange(12.0)[:, None]
    arrays = of_classes(read(y, y, x=x, x_test=x), classes)
    assert arrays.names == names
    assert arrays.describe().endswith(f"2 classes: {', '.join(names)}")
    for number, label in enumerate(kept):
        assert arrays.x_train[arrays.y_train == number, 0].tolist() == x[y == label, 0].tolist()


@pytest.mark.parametrize(
    ("labels", "classes", "told"),
    [
        ([1, 2, 3], [0, 1], r"classes \[0\] do not exist; the data set has classes 1, 2, 3"),
        ([0, 1, 2], [2, 3], r"classes \[3\] do not exist; the data set has classes 0 to 2"),
        (["cat", "dog", "eel"], ["cat", 0], "a class is listed twice"),
        (["cat", "dog", "eel"], ["cow", "cat"], "has classes cat, dog, eel"),
    ],
)
def test_classes_that_do_not_exist_are_told_by_label(labels: Any, classes: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        of_classes(read(np.array(labels)[[0, 1, 2] * 4]), classes)


def test_whole_numbers_are_targets_of_a_regression_also_if_test_inputs_have_others() -> None:
    arrays = read([60, 7, 31, 900, 14, 5], [61, 8])
    targets = arrays.for_task("regression", "mine")
    assert targets.y_test.tolist() == [[61], [8]]
    with pytest.raises(InputError, match=r"8 is a label of test inputs.*task: regression"):
        arrays.for_task("classification", "mine")


@pytest.mark.parametrize(
    ("y", "told"),
    [
        ([0, 1, np.nan, 2, 1, 0], r"y_train\[2\] is nan, which is no label.*leave out"),
        (np.array([0, 1, 1, 2, 1, 0]) * 1e30, r"y_train\[1\] is 1e\+30, which is no label"),
        ([0, 1, 0.5, 2, 1, 0], r"y_train\[2\] is 0.5, which is no label"),
        (0.25 + 0.5 * np.eye(3)[NUMBERS], r"y_train\[0\] is \[0.75.*no row with a single 1.*argmax"),
    ],
)
def test_targets_that_are_no_labels_are_told_with_value_and_remedy(y: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read(y, [0, 1] if np.ndim(y) == 1 else None).for_task("classification", "mine")


def test_labels_stored_as_bytes_or_objects_are_shown_as_people_write_them() -> None:
    assert read(np.array([b"cat", b"dog"] * 3)).names == ("cat", "dog")
    assert read(np.array([0, 1, 2] * 2, object)).names == ("0", "1", "2")
    with pytest.raises(InputError, match=r"is 'cat' \(<U3\); numbers"):
        read(NUMBERS, x=np.array([["cat"]] * 6))


def test_different_scales_of_training_and_test_inputs_are_told() -> None:
    x = np.random.default_rng(0).uniform(0, 255, (6, 4))
    assert "WARNING" not in read(NUMBERS, x=x).describe()
    assert (
        "WARNING: training and test inputs are on different scales"
        in read(NUMBERS, x=x, x_test=x[:2] / 255).describe()
    )
