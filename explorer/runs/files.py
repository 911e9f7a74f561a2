"""Files that exist whole or not at all, on a local disk or an object store."""

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
PATIENCE_S = 600.0  # with an object store that has answered before
AGAIN_S = 2.0  # between two tries, each of which takes some seconds by itself
PASSING = re.compile(  # what S3 says of a trouble that may pass
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|THROTTLING"
    r"|UNKNOWN \(HTTP status (429|5\d\d)\))"
)
UNFINISHED = re.compile(r"\.[0-9a-f]{8}\.tmp$")  # a name that write() gives to what it has not renamed yet


@contextlib.contextmanager
def placed(path: str | Path) -> Iterator[None]:
    """An error of the system that names no file, as when a disk gets full, names this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


class BadBlockError(OSError, ValueError):
    """A local disk that cannot read what it holds: damage, and not one that passes."""


class Files:
    """A folder of :mod:`pyarrow.fs`: local, or a URI such as ``s3://bucket/runs/digits``.

    A local file is written beside its place, synced and renamed. An object is serialised first and put
    in one piece, since an exception inside an open stream would still publish what was written.

    An object store that is ``known`` to be there, since it has answered before, may be out of reach for
    ``patience_s``: ``say`` hears of it, and what was to be done is tried again and again.
    """

    def __init__(self, location: str | Path, say: Callable[[str], None] = lambda _: None):
        self.location, self.say = str(location), say
        self.patience_s, self.known = PATIENCE_S, False
        self._since: float | None = None  # when it got out of reach
        if "://" in self.location:
            self.fs, self.root = fs.FileSystem.from_uri(self.location)
        else:
            self.fs, self.root = fs.LocalFileSystem(), str(Path(location).absolute())
        self.local = isinstance(self.fs, fs.LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _patiently(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns; call again while an object store is out of reach.

        pyarrow's own retries get over single errors, cut connections and stalls, and give up after six
        seconds. Longer outages are waited for here, where the user can be told and Ctrl-C gets through.
        """
        while True:
            try:
                found = call()
            except OSError as error:
                if not PASSING.search(str(error)):  # an answer, such as that there is no such file
                    self.known, self._since = True, None
                    raise
                now = time.monotonic()
                if not self.known or now - (self._since or now) >= self.patience_s:
                    raise
                if self._since is None:
                    self._since = now
                    self.say(f"{self.location} does not answer, and is tried again: {error}")
                time.sleep(AGAIN_S)
            else:
                self.known, self._since = True, None
                return found

    def write(self, name: str, content: bytes) -> None:
        path = self.path(name)
        if not self.local:
            self._patiently(lambda: self._put(path, content))
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
        """The content of a file.

        Raises:
            FileNotFoundError: there is none.
            BadBlockError: a local disk cannot read it.
        """
        try:
            return self._patiently(lambda: self._get(self.path(name)))
        except OSError as error:
            if self.local and error.errno == errno.EIO:
                raise BadBlockError(*error.args) from error
            raise

    def _get(self, path: str) -> bytes:
        with self.fs.open_input_stream(path) as stream:
            return stream.read()

    def exists(self, name: str) -> bool:
        info = self._patiently(lambda: self.fs.get_file_info(self.path(name)))
        return info.type == fs.FileType.File

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: self.fs.delete_file(self.path(name)))

    def names(self, folder: str, suffix: str) -> list[str]:
        """Names below the root of the files of one folder, sorted."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        return sorted(
            f"{folder}/{f.base_name}"
            for f in self._patiently(lambda: self.fs.get_file_info(selector))
            if f.type == fs.FileType.File and f.base_name.endswith(suffix)
        )

    def set_aside(self, name: str) -> str:
        """Move a file to ``damaged/``; returns its new name."""
        aside = f"damaged/{name.replace('/', '-')}.{uuid.uuid4().hex[:6]}"
        if self.local:  # it may be unreadable, and the disk full
            os.makedirs(self.path("damaged"), exist_ok=True)
            os.rename(self.path(name), self.path(aside))
            return aside
        self.write(aside, self.read(name))
        self.delete(name)
        return aside

    def drop_unfinished(self) -> None:
        """In a local folder, delete what processes that were killed have left half-written."""
        if not self.local:
            return
        for folder, _, names in os.walk(self.root):
            for name in names:
                if UNFINISHED.search(name):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))

    def size_bytes(self) -> int:
        """Bytes of all files."""
        selector = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        return sum(f.size or 0 for f in self._patiently(lambda: self.fs.get_file_info(selector)))


def join(storage: str, name: str) -> str:
    """The place of a run below a storage folder or URI; a query, such as an endpoint, stays at the end."""
    base, question, query = storage.partition("?")
    return f"{base.rstrip('/')}/{name}{question}{query}"
