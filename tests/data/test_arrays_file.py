"""A user's own .npz: what is read, and that each mistake is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explorer.data import arrays
from explorer.data.base import numbers_of_classes
from explorer.settings import InputError


def content(**changes: Any) -> dict[str, np.ndarray]:
    x = np.arange(24.0).reshape(6, 4)
    return {
        "x_train": x,
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": x[:3],
        "y_test": np.array([0, 1, 2]),
    } | changes


def saved(folder: Path, **changes: Any) -> arrays.Options:
    path = folder / "own.npz"
    np.savez(path, **{key: value for key, value in content(**changes).items() if value is not None})
    return arrays.Options(path=str(path))


def test_the_arrays_are_read_as_they_are(tmp_path: Path) -> None:
    options = saved(tmp_path)
    read = arrays.load(options)
    assert arrays.available(options) == (6, 3)
    assert np.array_equal(read.x_train, content()["x_train"])
    assert np.array_equal(read.y_train, content()["y_train"])
    assert (read.x_train.dtype, read.y_train.dtype, read.classes, read.shape) == (
        np.float32,
        np.int64,
        3,
        (4,),
    )


def test_yes_and_no_are_two_classes(tmp_path: Path) -> None:
    yes = np.array([True, False, True])
    read = arrays.load(saved(tmp_path, y_train=np.r_[yes, yes], y_test=yes))
    assert (read.classes, read.y_test.tolist()) == (2, [1, 0, 1])


def test_the_fingerprint_follows_the_content_not_the_name(tmp_path: Path) -> None:
    first = arrays.fingerprint(saved(tmp_path))
    other = arrays.fingerprint(saved(tmp_path, x_test=np.ones((3, 4))))  # same path, seen in one process
    assert first != other
    assert arrays.fingerprint(saved(tmp_path)) == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "lacks y_test"),
        ({"y_train": np.array([0, 1, 2])}, r"x_train \(6, 4\) and y_train \(3,\)"),
        ({"x_train": np.arange(6.0)}, r"x_train has the shape \(6,\)"),
        ({"x_train": np.array(1.0)}, r"x_train has the shape \(\)"),
        ({"x_test": np.ones((0, 4)), "y_test": np.array([], int)}, "x_test"),
        ({"x_test": np.ones((3, 5))}, r"the shape \(4,\) and test inputs \(5,\)"),
        ({"y_test": np.array(["a", "b", "c"])}, "y_test <U1"),
        ({"x_test": np.full((3, 4), np.nan)}, r"x_test\[0, 0\] is nan"),
        ({"x_test": np.full((3, 4), "blue")}, "x_test"),
        ({"x_test": np.full((3, 4), 1e300)}, r"x_test\[0, 0\] is 1e\+300"),
        ({"x_train": np.array([None] * 6)}, r"plain arrays.*array\.astype\(str\)"),  # would be unpickled
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_wrong_content_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    options = saved(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        arrays.available(options)
    with pytest.raises(InputError, match=message):
        arrays.load(options)


def test_classes_by_labels_other_than_numbers_from_0_are_other_models(tmp_path: Path) -> None:
    for labels, numbers in (([0, 1, 2], None), ([1, 2, 3], [0, 1])):
        y = np.array(labels)
        options = saved(tmp_path, y_train=y[[0, 1, 2, 0, 1, 2]], y_test=y)
        content = arrays.fingerprint(options)
        assert numbers_of_classes(options, arrays.load, content) is None
        chosen = options.model_copy(update={"classes": (1, 2)})
        assert numbers_of_classes(chosen, arrays.load, content) == numbers


def test_a_csv_is_told_what_to_do_with_it(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("1,2,0\n3,4,1\n")
    with pytest.raises(
        InputError,
        match=r"own\.csv is not an \.npz file, which numpy\.savez writes; name: table reads CSV and Parquet",
    ):
        arrays.load(arrays.Options(path=str(tmp_path / "own.csv")))


@pytest.mark.parametrize("kind", ["missing", "text", "cut off", "npy", "damaged"])
def test_a_file_that_is_no_npz_is_named(tmp_path: Path, kind: str) -> None:
    options = saved(tmp_path)
    path = Path(options.path)
    raw = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "text":
        path.write_text("x_train: 1")
    elif kind == "cut off":
        path.write_bytes(raw[: len(raw) // 2])
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    else:
        path.write_bytes(raw.replace(np.float64(5).tobytes(), np.float64(6).tobytes()))
    with pytest.raises(InputError, match=r"own\.npz"):
        arrays.load(options)
