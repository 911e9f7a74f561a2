"""Readers of the files of public data sets: tar archives, the idx format of MNIST, the records of CIFAR."""

from __future__ import annotations

import gzip
import math
import struct
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from explorer.data.formats.images import LabelledImages
from explorer.settings import InputError


def read_members(archive: Path, names: Sequence[str], hint: str = "") -> list[bytes]:
    """Return the members of a tar archive with these file names, in the order of ``names``.

    Nothing is written to disk.

    Raises:
        InputError: the archive is damaged or lacks a member. ``hint`` ends the message about a missing one.
    """
    content: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                if name in names and (file := tar.extractfile(member)):
                    content[name] = file.read()
            while tar.fileobj and tar.fileobj.read(2**20):  # read to the end, where gzip has its checksum
                pass
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        reason = str(error).partition(":\n")[0]  # for an unknown file type, tarfile adds a line per type
        raise InputError(f"{archive} cannot be read as a tar archive: {reason}") from error
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(f"{archive} lacks {', '.join(missing)}{hint}")
    return [content[name] for name in names]


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of bytes, gzipped or not: a magic number, the shape, the bytes.

    Raises:
        InputError: the file is damaged, or does not match its header.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except EOFError as error:
        raise InputError(f"{path} is cut off: its gzip stream has no end") from error
    except (OSError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise InputError(f"{path} is not an idx file of bytes")
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise InputError(f"{path} is cut off within its header")
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    if len(raw) - start != math.prod(shape):
        kind = "cut off" if len(raw) - start < math.prod(shape) else "longer than its header says"
        raise InputError(f"{path} is {kind}: {len(raw) - start} values of {math.prod(shape)}")
    return np.frombuffer(raw, np.uint8)[start:].reshape(shape)


def read_images(
    x_train: Path, y_train: Path, x_test: Path, y_test: Path
) -> tuple[LabelledImages, LabelledImages]:
    """Return the training and test images and labels of a data set in four files, as MNIST has them."""
    train, test = ((read_idx(x)[:, None], read_idx(y)) for x, y in ((x_train, y_train), (x_test, y_test)))
    return train, test


def read_cifar(
    archive: Path, *, members: Sequence[str], label_bytes: int
) -> tuple[LabelledImages, LabelledImages]:
    """Return the training and test images and labels of the binary version of CIFAR-10 or CIFAR-100.

    A record has ``label_bytes``, the last of which is the label, and 3×32×32 bytes of pixels. The last of the
    ``members`` has the test images.

    Raises:
        InputError: the archive is damaged, or a member is missing or is not a whole number of records.
    """
    record = label_bytes + 3 * 32 * 32
    parts = read_members(archive, members, "; is it the binary version?")
    for part in parts:
        if len(part) % record:
            raise InputError(
                f"{archive} is cut off: {len(part)} bytes are not a multiple of the record size {record}"
            )
    tables = (np.frombuffer(raw, np.uint8).reshape(-1, record) for raw in (b"".join(parts[:-1]), parts[-1]))
    train, test = ((t[:, label_bytes:].reshape(-1, 3, 32, 32), t[:, label_bytes - 1]) for t in tables)
    return train, test
