"""Reader of tar archives. Writes nothing to disk."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from explorer.settings import InputError


def read_members(archive: Path, names: Sequence[str], hint: str = "") -> list[bytes]:
    """Return the members of a tar archive with these file names, in the order of ``names``.

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
        said = str(error).partition(":\n")[0]  # for an unknown file type, tarfile adds a line per type
        raise InputError(f"{archive} cannot be read as a tar archive: {said}") from error
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(f"{archive} lacks {', '.join(missing)}{hint}")
    return [content[name] for name in names]
