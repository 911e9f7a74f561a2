"""Reader of the binary version of CIFAR-10 and CIFAR-100: records of labels and 3×32×32 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from explorer.data.formats.archives import read_members
from explorer.data.formats.images import Part
from explorer.settings import InputError


def read_cifar(archive: Path, *, members: Sequence[str], label_bytes: int) -> tuple[Part, Part]:
    """Return the training and test images and labels (the last label byte of each record) of an archive.

    The last of the ``members`` has the test images.

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
    train, test = (
        np.frombuffer(raw, np.uint8).reshape(-1, record) for raw in (b"".join(parts[:-1]), parts[-1])
    )
    return _images_and_labels(train, label_bytes), _images_and_labels(test, label_bytes)


def _images_and_labels(records: np.ndarray, label_bytes: int) -> Part:
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1]
