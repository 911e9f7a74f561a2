"""Reader of the binary version of CIFAR-10 and CIFAR-100: records of labels and 3×32×32 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from explorer.settings import InputError

PIXELS = 3 * 32 * 32
HINT = "; is it the binary version?"


def read_records(parts: Sequence[bytes], *, label_bytes: int, archive: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images (inputs, 3, 32, 32) and labels (inputs,), the last label byte of each record.

    Raises:
        InputError: a part is not a whole number of records.
    """
    record = label_bytes + PIXELS
    for part in parts:
        if len(part) % record:
            raise InputError(
                f"{archive} is cut off: {len(part)} bytes are not a multiple of the record size {record}"
            )
    table = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, record)
    return table[:, label_bytes:].reshape(-1, 3, 32, 32), table[:, label_bytes - 1]
