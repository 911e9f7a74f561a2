"""Files that exist whole or not at all, on a local disk or an object store."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from pyarrow import fs

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Files:
    """A folder of :mod:`pyarrow.fs`: local, or a URI such as ``s3://bucket/runs/digits``.

    A local file is written beside its place, synced and renamed. An object is serialised first and put
    in one piece, since an exception inside an open stream would still publish what was written.
    """

    def __init__(self, location: str | Path):
        self.location = str(location)
        if "://" in self.location:
            self.fs, self.root = fs.FileSystem.from_uri(self.location)
        else:
            self.fs, self.root = fs.LocalFileSystem(), str(Path(location).absolute())
        self.local = isinstance(self.fs, fs.LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def write(self, name: str, content: bytes) -> None:
        path = self.path(name)
        if not self.local:
            with self.fs.open_output_stream(path) as stream:
                stream.write(content)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that must not be there yet; False when it is. Atomic on a local disk only."""
        if self.exists(name):
            return False
        if not self.local:
            self.write(name, content)
            return True
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        try:
            with open(self.path(name), "xb") as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """A block that one process at a time is in, of those that share this local folder; a crash leaves it.

        On an object store, and where the system has no such locks, it is a block like any other.
        """
        if not self.local or fcntl is None:
            yield
            return
        os.makedirs(self.root, exist_ok=True)
        folder = os.open(self.root, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems know no locks
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is none."""
        with self.fs.open_input_stream(self.path(name)) as stream:
            return stream.read()

    def exists(self, name: str) -> bool:
        return self.fs.get_file_info(self.path(name)).type == fs.FileType.File

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.delete_file(self.path(name))

    def names(self, folder: str, suffix: str) -> list[str]:
        """Names below the root of the files of one folder, sorted."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        return sorted(
            f"{folder}/{f.base_name}"
            for f in self.fs.get_file_info(selector)
            if f.type == fs.FileType.File and f.base_name.endswith(suffix)
        )

    def set_aside(self, name: str) -> str:
        """Move a file to ``damaged/``; returns its new name."""
        aside = f"damaged/{name.replace('/', '-')}.{uuid.uuid4().hex[:6]}"
        self.write(aside, self.read(name))
        self.delete(name)
        return aside

    def size_bytes(self) -> int:
        """Bytes of all files."""
        selector = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        return sum(f.size or 0 for f in self.fs.get_file_info(selector))


def join(storage: str, name: str) -> str:
    """The place of a run below a storage folder or URI; a query, such as an endpoint, stays at the end."""
    base, question, query = storage.partition("?")
    return f"{base.rstrip('/')}/{name}{question}{query}"
