"""Files with atomic writes, on a local disk or an object store."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pyarrow import fs

T = TypeVar("T")
PATIENCE_S = 600.0  # seconds to retry an object store that has answered before
RETRY_PAUSE_S = 2.0  # pause between two tries; each try takes some seconds as well
TEMPORARY_ERROR = re.compile(  # S3 errors that may be temporary
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|THROTTLING"
    r"|UNKNOWN \(HTTP status (429|5\d\d)\))"
)
UNFINISHED = re.compile(r"\.[0-9a-f]{8}\.tmp$")  # temporary name of a file that write() has not yet renamed


@contextlib.contextmanager
def placed(path: str | Path) -> Iterator[None]:
    """Add this path to an OSError in the block that names no file (for example, of a full disk)."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


class BadBlockError(OSError, ValueError):
    """Read error of a local disk: permanent damage."""


class Files:
    """A folder of :mod:`pyarrow.fs`: local, or a URI such as ``s3://bucket/runs/digits``.

    A local file is written under a temporary name in the same folder, synced and renamed. An object is
    serialised first and written in one piece, because an exception inside an open stream would still publish
    the part that was written.

    If an object store has answered before (``known``) and then does not answer, each operation is retried
    for up to ``patience_s``, and ``say`` receives a message.
    """

    def __init__(self, location: str | Path, say: Callable[[str], None] = lambda _: None):
        self.location, self.say = str(location), say
        self.patience_s, self.known = PATIENCE_S, False
        self._since: float | None = None  # when the object store stopped answering
        if "://" in self.location:
            self.fs, self.root = fs.FileSystem.from_uri(self.location)
        else:
            self.fs, self.root = fs.LocalFileSystem(), str(Path(location).absolute())
        self.local = isinstance(self.fs, fs.LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _with_retries(self, call: Callable[[], T]) -> T:
        """Return the result of ``call``. Retry while an object store does not answer.

        pyarrow's retries handle single errors, cut connections and stalls, and give up after six seconds.
        This method handles longer outages: it tells the user, and Ctrl-C works.
        """
        while True:
            try:
                result = call()
            except OSError as error:
                if not TEMPORARY_ERROR.search(str(error)):  # an answer, such as that there is no such file
                    self.known, self._since = True, None
                    raise
                now = time.monotonic()
                if not self.known or now - (self._since or now) >= self.patience_s:
                    raise
                if self._since is None:
                    self._since = now
                    self.say(f"{self.location} does not answer; trying again: {error}")
                time.sleep(RETRY_PAUSE_S)
            else:
                self.known, self._since = True, None
                return result

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        path = self.path(name)
        if not self.local:
            self._with_retries(lambda: self._put(path, content))
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            with placed(path), open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def _put(self, path: str, content: bytes) -> None:
        with self.fs.open_output_stream(path) as stream:
            stream.write(content)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: the file does not exist.
            BadBlockError: the local disk cannot read the file.
        """
        try:
            return self._with_retries(lambda: self._get(self.path(name)))
        except OSError as error:
            if self.local and error.errno == errno.EIO:
                raise BadBlockError(*error.args) from error
            raise

    def _get(self, path: str) -> bytes:
        with self.fs.open_input_stream(path) as stream:
            return stream.read()

    def exists(self, name: str) -> bool:
        info = self._with_retries(lambda: self.fs.get_file_info(self.path(name)))
        return info.type == fs.FileType.File

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._with_retries(lambda: self.fs.delete_file(self.path(name)))

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the sorted names, relative to the root, of the files in one folder."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        return sorted(
            f"{folder}/{f.base_name}"
            for f in self._with_retries(lambda: self.fs.get_file_info(selector))
            if f.type == fs.FileType.File and f.base_name.endswith(suffix)
        )

    def set_aside(self, name: str) -> str:
        """Move a file to ``damaged/`` and return its new name."""
        aside = f"damaged/{name.replace('/', '-')}.{uuid.uuid4().hex[:6]}"
        if self.local:  # rename: the file may be unreadable and the disk full
            os.makedirs(self.path("damaged"), exist_ok=True)
            os.rename(self.path(name), self.path(aside))
            return aside
        self.write(aside, self.read(name))
        self.delete(name)
        return aside

    def drop_unfinished(self) -> None:
        """Delete the temporary files that killed processes have left in a local folder."""
        if not self.local:
            return
        for folder, _, names in os.walk(self.root):
            for name in names:
                if UNFINISHED.search(name):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))

    def size_bytes(self) -> int:
        """Return the total size of all files in bytes."""
        selector = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        return sum(f.size or 0 for f in self._with_retries(lambda: self.fs.get_file_info(selector)))


def join(storage: str, name: str) -> str:
    """Return the location of a run below a storage folder or URI. A query (``?…``) stays at the end."""
    base, question, query = storage.partition("?")
    return f"{base.rstrip('/')}/{name}{question}{query}"
