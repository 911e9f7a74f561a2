"""The public data sets: downloaded from a server of this test, in small files of the real formats."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.io

from explorer.data import cifar10, cifar100, fashion_mnist, files, mnist, mnist1d, svhn
from explorer.data.idx import read_idx
from explorer.settings import InputError

TRAIN, TEST = 20, 10
RNG = np.random.default_rng(0)


class Server:
    """Serves ``content`` by name; what is in ``cut`` breaks off half way, so many times."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name)
                if name not in outer.content:
                    self.send_error(404)
                    return
                body = outer.content[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if outer.cut.get(name, 0) > 0:
                    outer.cut[name] -= 1
                    body = body[: len(body) // 2]
                    self.close_connection = True
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    thread = threading.Thread(target=one.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.http.shutdown()
    thread.join()
    one.http.server_close()


def images(count: int, channels: int, side: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, channels, side, side), np.uint8)


def labels(count: int, classes: int) -> np.ndarray:
    return (np.arange(count) * 3 % 10 + classes - 10).astype(np.uint8)


def idx(values: np.ndarray) -> bytes:
    return (
        b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    )


Made = tuple[dict[str, bytes], list[np.ndarray]]  # files, and what should be read


def made_idx() -> Made:
    parts = [images(TRAIN, 1, 28), labels(TRAIN, 10), images(TEST, 1, 28), labels(TEST, 10)]
    stored = [parts[0][:, 0], parts[1], parts[2][:, 0], parts[3]]
    return {
        name: gzip.compress(idx(v)) for name, v in zip(mnist.SOURCE.checksums, stored, strict=True)
    }, parts


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def made_cifar10() -> Made:
    x, y = images(TRAIN + TEST, 3, 32), labels(TRAIN + TEST, 10)
    records = [bytes([label]) + image.tobytes() for image, label in zip(x, y, strict=True)]
    names = [*(f"data_batch_{i}.bin" for i in (1, 2, 3, 4, 5)), "test_batch.bin"]
    cuts = [0, 4, 8, 12, 16, TRAIN, TRAIN + TEST]
    batches = {
        f"cifar-10-batches-bin/{n}": b"".join(records[a:b])
        for n, a, b in zip(names, cuts, cuts[1:], strict=False)
    }
    # As a tar archive may have them: in another order, with other files among them.
    members = {"cifar-10-batches-bin/readme.html": b"<html>", **dict(reversed(batches.items()))}
    return {cifar10.ARCHIVE: archive(members)}, [x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]]


def made_cifar100() -> Made:
    x, fine = images(TRAIN + TEST, 3, 32), labels(TRAIN + TEST, 100)
    records = [
        bytes([19 - label % 20, label]) + image.tobytes() for image, label in zip(x, fine, strict=True)
    ]
    members = {
        "cifar-100-binary/train.bin": b"".join(records[:TRAIN]),
        "cifar-100-binary/test.bin": b"".join(records[TRAIN:]),
    }
    return {cifar100.ARCHIVE: archive(members)}, [x[:TRAIN], fine[:TRAIN], x[TRAIN:], fine[TRAIN:]]


def made_svhn() -> Made:
    parts = [images(TRAIN, 3, 32), labels(TRAIN, 10), images(TEST, 3, 32), labels(TEST, 10)]
    made = {}
    for name, x, y in zip(svhn.SOURCE.checksums, parts[::2], parts[1::2], strict=True):
        stream = io.BytesIO()
        stored = np.where(y == 0, 10, y)[:, None]  # the authors' label of the digit 0
        scipy.io.savemat(stream, {"X": x.transpose(2, 3, 1, 0), "y": stored}, do_compression=True)
        made[name] = stream.getvalue()
    return made, parts


SETS: dict[str, tuple[ModuleType, Callable[[], Made]]] = {
    "mnist": (mnist, made_idx),
    "fashion-mnist": (fashion_mnist, made_idx),
    "cifar10": (cifar10, made_cifar10),
    "cifar100": (cifar100, made_cifar100),
    "svhn": (svhn, made_svhn),
}


def serve(
    module: ModuleType, content: dict[str, bytes], server: Server, patch: pytest.MonkeyPatch, cache: Path
) -> None:
    """Point a data set at the server, with the checksums of the small files and an empty cache."""
    import pooch

    server.content.update(content)
    sums = {name: "md5:" + hashlib.md5(raw).hexdigest() for name, raw in content.items()}
    patch.setattr(module, "SOURCE", replace(module.SOURCE, url=server.url, checksums=sums))
    patch.setattr(module, "INPUTS", (TRAIN, TEST))
    patch.setattr(pooch, "os_cache", lambda project: cache / project)
    patch.delenv("EXPLORER_DATA", raising=False)
    if hasattr(module, "SYSTEM"):
        patch.setattr(module, "SYSTEM", cache / "no such folder")


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_downloaded_once_and_read_exactly(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, make = SETS[name]
    content, (x_train, y_train, x_test, y_test) = make()
    serve(module, content, server, monkeypatch, tmp_path)
    options = module.Options()
    read = module.load(options)
    assert np.array_equal(read.x_train, x_train / np.float32(255))
    assert np.array_equal(read.x_test, x_test / np.float32(255))
    assert np.array_equal(read.y_train, y_train)
    assert np.array_equal(read.y_test, y_test)
    assert (read.x_train.dtype, read.y_train.dtype) == (np.float32, np.int64)
    assert read.classes == (100 if name == "cifar100" else 10)
    assert module.available(options) == (TRAIN, TEST)
    assert sorted(server.asked) == sorted(content)
    module.load(options)
    assert len(server.asked) == len(content)
    assert {p.name for p in (tmp_path / "explorer" / name).iterdir()} == set(content)


@pytest.mark.parametrize("name", SETS)
def test_images_are_pooled_and_test_inputs_cut(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, make = SETS[name]
    content, (x_train, _, _, y_test) = make()
    serve(module, content, server, monkeypatch, tmp_path)
    kept = sorted(y_test[1:4].tolist())
    options = module.Options(pool=2, test_size=4, classes=kept)
    read = module.load(options)
    assert read.x_train[0, 0, 0, 0] == pytest.approx(x_train[0, 0, :2, :2].mean() / 255)
    assert read.x_train.shape == (*x_train.shape[:2], x_train.shape[2] // 2, x_train.shape[3] // 2)
    assert np.array_equal(read.y_test, y_test[:4])
    assert module.available(options)[1] == np.isin(y_test[:4], kept).sum() == 3
    with pytest.raises(InputError, match="test_size 11"):
        module.available(module.Options(test_size=11))


def test_a_transfer_that_breaks_off_is_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, parts = made_svhn()
    serve(svhn, content, server, monkeypatch, tmp_path)
    server.cut = {"train_32x32.mat": files.ATTEMPTS - 1}
    assert np.array_equal(svhn.load(svhn.Options()).y_train, parts[1])
    assert server.asked.count("train_32x32.mat") == files.ATTEMPTS


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("cut off", "IncompleteRead|broken"),
        ("checksum", "checksum"),
        ("missing", "404"),
        ("no network", "Connection|refused"),
    ],
)
def test_a_failed_download_gives_the_manual_way_and_leaves_nothing_behind(
    fault: str, reason: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, _ = made_cifar10()
    serve(cifar10, content, server, monkeypatch, tmp_path)
    if fault == "cut off":
        server.cut = {cifar10.ARCHIVE: 100}
    elif fault == "checksum":
        server.content[cifar10.ARCHIVE] = b"something else"
    elif fault == "missing":
        server.content.clear()
    else:
        monkeypatch.setattr(cifar10, "SOURCE", replace(cifar10.SOURCE, url="http://127.0.0.1:9/"))
    with pytest.raises(InputError, match=reason) as caught:
        cifar10.load(cifar10.Options())
    for part in (
        "CIFAR-10",
        cifar10.ARCHIVE,
        "https://www.cs.toronto.edu",
        str(tmp_path / "explorer" / "cifar10"),
        "EXPLORER_DATA",
    ):
        assert part in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_damaged_file_in_the_cache_is_replaced(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, parts = made_cifar10()
    serve(cifar10, content, server, monkeypatch, tmp_path)
    cached = tmp_path / "explorer" / "cifar10" / cifar10.ARCHIVE
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half of it")
    assert np.array_equal(cifar10.load(cifar10.Options()).y_train, parts[1])


@pytest.mark.parametrize("unzipped", [False, True])
def test_files_put_into_explorer_data_are_used_without_a_network(
    unzipped: bool, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, parts = made_idx()
    serve(mnist, content, server, monkeypatch, tmp_path)
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path / "own"))
    (tmp_path / "own" / "mnist").mkdir(parents=True)
    for name, raw in content.items():
        kept = (name.removesuffix(".gz"), gzip.decompress(raw)) if unzipped else (name, raw)
        (tmp_path / "own" / "mnist" / kept[0]).write_bytes(kept[1])
    assert np.array_equal(mnist.load(mnist.Options()).y_train, parts[1])
    assert server.asked == []


def test_an_empty_explorer_data_is_where_downloads_go(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, _ = made_svhn()
    serve(svhn, content, server, monkeypatch, tmp_path)
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path / "own"))
    svhn.load(svhn.Options())
    assert {path.name for path in (tmp_path / "own" / "svhn").iterdir()} == set(content)


def test_a_set_of_another_size_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serve(mnist, made_idx()[0], server, monkeypatch, tmp_path)
    monkeypatch.setattr(mnist, "INPUTS", (TRAIN + 1, TEST))
    with pytest.raises(InputError, match=f"{TRAIN} training images.*there should be {TRAIN + 1}"):
        mnist.load(mnist.Options())


def test_the_bar_shows_how_far_a_transfer_is() -> None:
    with files._Progress("a file") as progress:
        progress.total = 100
        progress.update(30)
        progress.update(20)
        assert (progress.total, progress._bar.tasks[0].completed) == (100, 50)
        progress.reset()
        progress.update(100)
        assert progress._bar.tasks[0].finished


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


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
        (gzip.compress(GOOD)[:-9], "cut off"),
        (gzip.compress(GOOD)[:-4] + b"0000", "cannot be read"),
        (b"\x1f\x8b" + b"nonsense" * 4, "cannot be read"),
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
        ({name: bytes(3072) for name in cifar10.MEMBERS}, "no multiple of a record's 3073"),
    ],
)
def test_a_wrong_archive_is_refused(
    members: dict[str, bytes], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    path = tmp_path / "cifar10" / cifar10.ARCHIVE
    path.parent.mkdir()
    path.write_bytes(archive(members))
    with pytest.raises(InputError, match=message):
        cifar10.load(cifar10.Options())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="cannot be read as a tar archive"):
        cifar10.load(cifar10.Options())


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
    if files.found(fashion_mnist.SYSTEM, fashion_mnist.SOURCE) is None:
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
