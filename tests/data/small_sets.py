"""Small files in the real formats of the public data sets."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from types import ModuleType

import numpy as np
import scipy.io

from explorer.data import cifar10, cifar100, fashion_mnist, mnist, svhn

TRAIN, TEST = 20, 10
ARCHIVES = "cifar-10-binary.tar.gz", "cifar-100-binary.tar.gz"
RNG = np.random.default_rng(0)


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
    return {ARCHIVES[0]: archive(members)}, [x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]]


def made_cifar100() -> Made:
    x, fine = images(TRAIN + TEST, 3, 32), labels(TRAIN + TEST, 100)
    records = [
        bytes([19 - label % 20, label]) + image.tobytes() for image, label in zip(x, fine, strict=True)
    ]
    members = {
        "cifar-100-binary/train.bin": b"".join(records[:TRAIN]),
        "cifar-100-binary/test.bin": b"".join(records[TRAIN:]),
    }
    return {ARCHIVES[1]: archive(members)}, [x[:TRAIN], fine[:TRAIN], x[TRAIN:], fine[TRAIN:]]


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
