"""The public data sets: downloaded from a server of this test, in small files of the real formats."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from serving import Server, serving
from small_sets import ARCHIVES, SETS, TEST, TRAIN, made_cifar10, made_idx, made_svhn

from explorer.data import cifar10, mnist, svhn
from explorer.data.formats import files
from explorer.settings import InputError

ARCHIVE = ARCHIVES[0]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


def serve(
    module: ModuleType, content: dict[str, bytes], server: Server, patch: pytest.MonkeyPatch, cache: Path
) -> None:
    """Point a data set at the server, with the checksums of the small files and an empty cache."""
    import pooch

    server.content.update(content)
    sums = {name: "md5:" + hashlib.md5(raw).hexdigest() for name, raw in content.items()}
    source = replace(module.SOURCE, url=server.url, checksums=sums, system=None)
    patch.setattr(module.IMAGES, "source", source)
    patch.setattr(module.IMAGES, "sizes", (TRAIN, TEST))
    patch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))
    patch.setattr(pooch, "os_cache", lambda project: cache / project)
    patch.delenv("EXPLORER_DATA", raising=False)


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
    assert read.classes == module.CLASSES == (100 if name == "cifar100" else 10)
    assert read.shape == module.SHAPE
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


def test_a_busy_server_is_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, parts = made_svhn()
    serve(svhn, content, server, monkeypatch, tmp_path)
    server.busy = {"train_32x32.mat": [503, 429]}
    assert np.array_equal(svhn.load(svhn.Options()).y_train, parts[1])
    assert server.asked.count("train_32x32.mat") == 3
    server.busy = {"test_32x32.mat": [403] * files.ATTEMPTS}
    (tmp_path / "explorer/svhn/test_32x32.mat").unlink()
    with pytest.raises(InputError, match="403"):
        svhn.load(svhn.Options())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("cut off", "IncompleteRead|broken"),
        ("checksum", "checksum"),
        ("missing", "404"),
        ("busy", "503"),
        ("no network", "Connection|refused"),
    ],
)
def test_a_failed_download_gives_the_manual_way_and_leaves_nothing_behind(
    fault: str, reason: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, _ = made_cifar10()
    serve(cifar10, content, server, monkeypatch, tmp_path)
    if fault == "cut off":
        server.cut = {ARCHIVE: 100}
    elif fault == "checksum":
        server.content[ARCHIVE] = b"something else"
    elif fault == "missing":
        server.content.clear()
    elif fault == "busy":
        server.busy = {ARCHIVE: [503] * files.ATTEMPTS}
    else:
        monkeypatch.setattr(cifar10.IMAGES, "source", replace(cifar10.SOURCE, url="http://127.0.0.1:9/"))
    with pytest.raises(InputError, match=reason) as caught:
        cifar10.load(cifar10.Options())
    for part in (
        "CIFAR-10",
        ARCHIVE,
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
    cached = tmp_path / "explorer" / "cifar10" / ARCHIVE
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
    monkeypatch.setattr(mnist.IMAGES, "sizes", (TRAIN + 1, TEST))
    with pytest.raises(InputError, match=f"{TRAIN} training images.*there should be {TRAIN + 1}"):
        mnist.load(mnist.Options())


def test_the_bar_shows_how_far_a_transfer_is(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import rich.progress

    tasks: list[tuple[str, float | None, float]] = []

    class Recorded(rich.progress.Progress):
        def stop(self) -> None:
            tasks.extend((task.description, task.total, task.completed) for task in self.tasks)
            super().stop()

    monkeypatch.setattr(rich.progress, "Progress", Recorded)
    content, _ = made_cifar10()
    size = len(content[ARCHIVE])
    serve(cifar10, content, server, monkeypatch, tmp_path)
    server.cut = {ARCHIVE: 1}
    cifar10.load(cifar10.Options())
    (title, total, completed), whole = tasks
    assert (title, total) == (f"CIFAR-10: {ARCHIVE}", size)
    assert completed < size
    assert whole == (title, size, size)
