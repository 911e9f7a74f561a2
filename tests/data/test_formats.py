"""The formats of the public data sets: what is read, and that each damage is named. MNIST-1D, too."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from small_sets import ARCHIVES, archive, idx

from explorer.data import cifar10, fashion_mnist, mnist1d, svhn
from explorer.data.formats import files
from explorer.data.formats.readers import read_idx, read_members
from explorer.settings import InputError

GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
PACKED = gzip.compress(GOOD, mtime=0)  # without the clock, which would give each process of the tests its own


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_is_read_packed_or_not(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "some.idx"
    path.write_bytes(pack(GOOD))
    assert np.array_equal(read_idx(path), np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (GOOD[:-1], "cut off: 23 values of 24"),
        (GOOD + b"x", "longer than its header says: 25"),
        (GOOD[:9], "cut off within its header"),
        (b"", "not an idx file"),
        (b"\0\0\x0d" + GOOD[3:], "not an idx file of bytes"),  # floats
        (PACKED[:-9], "cut off"),
        (PACKED[:-4] + b"0000", "cannot be read"),
        (b"\x1f\x8b" + b"nonsense" * 4, "cannot be read"),
    ],
    ids=[
        "a value short",
        "a byte too long",
        "header",
        "empty",
        "floats",
        "packed, short",
        "packed, sum",
        "nonsense",
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(raw: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "some.idx"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"cifar-10-batches-bin/data_batch_1.bin": b""}, "lacks data_batch_2.bin.*binary version"),
        ({name: bytes(3072) for name in cifar10.MEMBERS}, "not a multiple of the record size 3073"),
    ],
)
def test_a_wrong_archive_is_refused(
    members: dict[str, bytes], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    path = tmp_path / "cifar10" / ARCHIVES[0]
    path.parent.mkdir()
    path.write_bytes(archive(members))
    with pytest.raises(InputError, match=message):
        cifar10.load(cifar10.Options())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="cannot be read as a tar archive"):
        cifar10.load(cifar10.Options())


def test_an_archive_is_read_to_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "some.tar.gz"
    whole = archive({"a": b"what was written"})
    path.write_bytes(whole)
    assert read_members(path, ["a"]) == [b"what was written"]
    path.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    with pytest.raises(InputError, match="cannot be read as a tar archive: CRC check failed"):
        read_members(path, ["a"])
    path.write_bytes(b"<html>the page of a proxy</html>")
    with pytest.raises(InputError, match=r"could not be opened successfully$"):
        read_members(path, ["a"])


def test_a_wrong_mat_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train_32x32.mat"
    scipy.io.savemat(path, {"z": np.ones(3)})
    with pytest.raises(InputError, match="no variable 'X'"):
        svhn.read_mat(path)
    scipy.io.savemat(path, {"X": np.ones((32, 32, 3, 2)), "y": np.ones((2, 1))})
    with pytest.raises(InputError, match="float64"):
        svhn.read_mat(path)
    path.write_bytes(b"MATLAB it is not")
    with pytest.raises(InputError, match="cannot be read"):
        svhn.read_mat(path)


def test_real_fashion_mnist_where_debian_has_put_it() -> None:
    if not files.find(fashion_mnist.SYSTEM, fashion_mnist.SOURCE):
        pytest.skip("the package dataset-fashion-mnist is not installed")
    read = fashion_mnist.load(fashion_mnist.Options(pool=4, test_size=1000))
    assert read.shape == (1, 7, 7)
    assert np.bincount(read.y_train).tolist() == [6000] * 10
    # Mean and standard deviation of the pixels as widely published: .2860, and .3530 before pooling.
    assert read.x_train.mean() == pytest.approx(0.2860, abs=1e-4)


def test_signals_are_those_of_the_package_and_global_generators_are_left_alone() -> None:
    pytest.importorskip("mnist1d")
    options = mnist1d.Options(signals=100)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    read = mnist1d.load(options)
    after = np.random.random(), random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    assert after == (np.random.random(), random.random())  # noqa: NPY002
    assert read.x_train.shape == (80, 40)
    assert read.x_test.shape == (20, 40)
    assert mnist1d.available(options) == (80, 20)
    assert np.bincount(np.concatenate([read.y_train, read.y_test])).tolist() == [10] * 10
    assert np.array_equal(mnist1d.load(options).x_train, read.x_train)
    both = np.concatenate([read.x_train, read.x_test])
    assert both.std() == pytest.approx(1, abs=1e-5)


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(InputError, match="pip install mnist1d"):
        mnist1d.load(mnist1d.Options())
