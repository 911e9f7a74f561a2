"""The binary version of CIFAR-10 and CIFAR-100: records of labels and 3×32×32 bytes in a tar archive."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from explorer.settings import InputError

PIXELS = 3 * 32 * 32


def read_members(archive: Path, names: Sequence[str]) -> list[bytes]:
    """The members of a tar archive whose last path component is one of ``names``, in their order.

    Nothing is written to disk.

    Raises:
        InputError: the archive is damaged or lacks a member.
    """
    content: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                if name in names and (file := tar.extractfile(member)):
                    content[name] = file.read()
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{archive} cannot be read as a tar archive: {error}") from error
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(f"{archive} lacks {', '.join(missing)}; is it the binary version?")
    return [content[name] for name in names]


def read_records(parts: Sequence[bytes], *, label_bytes: int, archive: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images of bytes (inputs, 3, 32, 32) and labels (inputs,), the last label byte of each record.

    Raises:
        InputError: a part is not a whole number of records.
    """
    record = label_bytes + PIXELS
    for part in parts:
        if len(part) % record:
            raise InputError(
                f"{archive} is cut off: {len(part)} bytes are no multiple of a record's {record}"
            )
    table = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, record)
    return table[:, label_bytes:].reshape(-1, 3, 32, 32), table[:, label_bytes - 1]
