"""Files with atomic writes, on a local disk or an object store."""

from __future__ import annotations

import contextlib
import errno
import mimetypes
import os
import pwd
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit

from pyarrow import fs

from explorer.settings import InputError, shown
from explorer.units import duration
from explorer.users.functions import progress

T = TypeVar("T")
PATIENCE_S = 600.0  # seconds to retry an object store that has answered before
TELL_EVERY_S = 30.0  # interval between two messages that a store does not answer
SLOW_S = 20.0  # a request to an object store that takes longer is told; pyarrow waits for up to 100 s
RETRY_PAUSE_S = 2.0  # pause between two tries; each try takes some seconds as well
TEMPORARY_ERROR = re.compile(  # S3 errors that may be temporary
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|THROTTLING"
    r"|UNKNOWN \(HTTP status (429|5\d\d)\))"
)
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|(file|s3):", re.IGNORECASE)  # how a URI starts
ALLOWED = "give a folder, file:///folder or s3://bucket/folder"
ANSWER = re.compile(r"AWS Error .*? operation: (.*?)( \(Request ID.*)?$", re.DOTALL)  # what a store said
UNFINISHED = re.compile(r"\.[0-9a-f]{8}\.tmp$")  # temporary name of a file that write() has not yet renamed


@contextlib.contextmanager
def name_file_in_errors(path: str | Path) -> Iterator[None]:
    """Add this path to an OSError in the block that names no file (for example, of a full disk)."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


class BadBlockError(OSError, ValueError):
    """Read error of a local disk: permanent damage, or something that is no file."""


class OutsideError(InputError):
    """Error: the name of a file, or a symbolic link, leads out of the folder."""


class GoneError(OSError):
    """Error: the folder of a run was moved or deleted while a process worked on the run."""


class Files:
    """A folder of :mod:`pyarrow.fs`: local, or a URI such as ``s3://bucket/runs/digits``.

    ``file:///runs/digits`` and ``/runs/digits`` are the same folder.

    A local file is written under a temporary name in the same folder, synced and renamed. ``sync=False``
    leaves the sync out, for files that can be made again. An object is serialised first and written in one
    piece, because an exception inside an open stream would still publish the part that was written.

    If an object store has answered before (``known``) and then does not answer, each operation is retried
    for up to ``patience_s``, and ``say`` receives a message.

    Raises:
        InputError: the location is no folder and no URI that can be used; the message says what is allowed.
    """

    def __init__(
        self, location: str | Path, say: Callable[[str], None] = lambda _: None, *, sync: bool = True
    ):
        self.location, self.say, self.sync = resolve(location), say, sync
        self.patience_s, self.has_answered = PATIENCE_S, False
        self._since: float | None = None  # when the object store stopped answering
        self._tell_at = 0.0  # when a message about that is next due
        self.local = not URI.match(self.location)
        if self.local:
            self.fs, self.root = fs.LocalFileSystem(), str(Path(self.location).absolute())
            return
        try:
            self.fs, self.root = fs.FileSystem.from_uri(self.location)
            if not self.root:
                raise ValueError("it names no bucket")
        except ValueError as error:
            raise InputError(f"{self.location}: {error}; {ALLOWED}") from error
        except OSError as error:
            raise InputError(f"{self.location} cannot be reached: {cause(error)}") from error

    @property
    def name(self) -> str:
        """The last part of the location."""
        return os.path.basename(os.path.abspath(self.root))

    @property
    def absolute(self) -> str:
        """The location as every process sees it: an absolute path or a URI."""
        return self.root if self.local else self.location

    def path(self, name: str) -> str:
        """Return the path of a file or folder in this folder. The name may come from a file that was read.

        Raises:
            OutsideError: the name, or a symbolic link that it passes, leads out of the folder.
        """
        path = f"{self.root}/{name}"
        if not {"", ".", ".."}.isdisjoint(re.split(r"[/\\]", name)) or "\0" in name:
            raise OutsideError(f"{self.location}: {shown(name)} is no name of a file in this folder")
        if self.local:
            inside = os.path.join(os.path.realpath(self.root), "")
            if not os.path.join(real := os.path.realpath(path), "").startswith(inside):
                raise OutsideError(
                    f"{self.location}: {name} leads out of this folder, to {real}. Explorer follows no link "
                    "out of a folder; put the files themselves there"
                )
        return path

    def place(self, name: str) -> Path | str:
        """Return the path of a local file, as users see it, or the URI of an object."""
        place = join(self.location, name)
        return Path(place) if self.local else place

    def _with_retries(self, call: Callable[[], T]) -> T:
        """Return the result of ``call``. Retry while an object store does not answer.

        pyarrow's retries handle single errors, cut connections and short stalls. They give up after six
        seconds if nothing listens there, and after 100 if it does not answer. This method handles longer
        outages: it tells the user, and Ctrl-C works.
        """
        if self.local:
            return call()
        while True:
            began = time.monotonic()
            try:
                with self._told_if_slow():
                    result = call()
            except OSError as error:
                if not TEMPORARY_ERROR.search(str(error)):  # an answer, such as that there is no such file
                    self.has_answered, self._since, self._tell_at = True, None, 0.0
                    raise
                now = time.monotonic()
                if not self.has_answered or now - (self._since or now) >= self.patience_s:
                    raise
                self._since = self._since or now
                if now >= self._tell_at:
                    waited = max(now - self._since, now - began)
                    self.say(
                        f"{self.location} does not answer since {duration(waited)}; waiting, up to "
                        f"{duration(self.patience_s)}: {cause(error)}"
                    )
                    self._tell_at = now + TELL_EVERY_S
                progress()
                time.sleep(RETRY_PAUSE_S)
            else:
                self.has_answered, self._since, self._tell_at = True, None, 0.0
                return result

    @contextlib.contextmanager
    def _told_if_slow(self) -> Iterator[None]:
        """Tell the user if the request in this block takes long."""
        text = f"{self.location} has not completed a request for {duration(SLOW_S)}; waiting"
        timer = threading.Timer(SLOW_S, self.say, [text])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        path = self.path(name)
        if not self.local:
            self._with_retries(lambda: self._put(path, content))
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            with name_file_in_errors(path), open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                if self.sync:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def _put(self, path: str, content: bytes) -> None:
        kind = mimetypes.guess_type(path)[0]  # a browser shows pages only if they are marked as such
        with self.fs.open_output_stream(path, metadata={"Content-Type": kind} if kind else None) as stream:
            stream.write(content)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: the file does not exist.
            BadBlockError: the local disk cannot read the file, or it is no file but a pipe or a folder.
        """
        try:
            return self._with_retries(lambda: self._get(self.path(name)))
        except OSError as error:
            if self.local and error.errno == errno.EIO:
                raise BadBlockError(*error.args) from error
            raise

    def _get(self, path: str) -> bytes:
        if self.local and not os.path.isfile(path) and os.path.exists(path):  # a pipe would never end
            raise BadBlockError(f"{path} is no file")
        with self.fs.open_input_stream(path) as stream:
            return stream.read()

    def exists(self, name: str) -> bool:
        info = self._with_retries(lambda: self.fs.get_file_info(self.path(name)))
        return info.type == fs.FileType.File

    def is_folder(self) -> bool:
        """Return whether the location is an existing folder."""
        info = self._with_retries(lambda: self.fs.get_file_info(self.root))
        return info.type == fs.FileType.Directory

    def owner(self) -> str:
        """Return whose a local folder with a run is: ``you``, or a user's name or number."""
        for path in (self.root, self.path("run.yaml")):
            uid = os.stat(path).st_uid
            if uid != os.geteuid():
                try:
                    return pwd.getpwuid(uid).pw_name
                except KeyError:
                    return f"user {uid}"
        return "you"

    def check_writable(self, option: str) -> None:
        """Raise InputError if nothing can be written here; ``option`` named this place. Leaves no trace."""
        if self.local:
            place = Path(self.location)
            while not place.exists() and place != place.parent:
                place = place.parent
            if not place.is_dir():
                raise InputError(f"{option}: {place} is a file; name a folder")
            if not os.access(place, os.W_OK | os.X_OK):
                raise InputError(f"{option}: {place} cannot be written; name another folder")
            return
        name = f"{uuid.uuid4().hex[:8]}.tmp"
        try:
            self.write(name, b"")
            self.delete(name)
        except OSError as error:
            raise InputError(f"{option}: {self.location} cannot be written: {cause(error)}") from error

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._with_retries(lambda: self.fs.delete_file(self.path(name)))

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the sorted names, relative to the root, of the files in one folder."""
        return sorted(name for name in self.sizes(folder) if name.endswith(suffix))

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the bytes of each file in one folder, by name relative to the root."""
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        found = self._with_retries(lambda: self.fs.get_file_info(selector))
        return {f"{folder}/{f.base_name}": f.size or 0 for f in found if f.type == fs.FileType.File}

    def folders_with(self, name: str) -> list[str]:
        """Return the sorted names of the subfolders that have a file of this name."""
        selector = fs.FileSelector(self.root, allow_not_found=True)
        found = self._with_retries(lambda: self.fs.get_file_info(selector))
        return sorted(f.base_name for f in found if self.exists(f"{f.base_name}/{name}"))

    def set_aside(self, name: str) -> str:
        """Move a file to ``damaged/`` and return its new name."""
        aside = f"damaged/{name.replace('/', '-')}.{uuid.uuid4().hex[:6]}"
        if self.local:  # rename: the file may be unreadable and the disk full
            os.stat(self.path(name))
            os.makedirs(self.path("damaged"), exist_ok=True)
            os.rename(self.path(name), self.path(aside))
            return aside
        self.write(aside, self.read(name))
        self.delete(name)
        return aside

    def create(self) -> bool:
        """Create the folder, and return whether this call has done so: it did not exist, or had no file."""
        if not self.local:
            return not self.every()
        try:
            os.makedirs(self.root)
        except FileExistsError:
            return False
        return True

    def every(self) -> list[str]:
        """Return the names, relative to the root, of all files.

        Raises:
            OutsideError: a symbolic link to a folder leads out of this one.
        """
        for folder, inner, _ in os.walk(self.root) if self.local else ():
            for link in (name for name in inner if os.path.islink(os.path.join(folder, name))):
                self.path(os.path.relpath(os.path.join(folder, link), self.root))
        return list(self._sizes_of_all())

    def _sizes_of_all(self) -> dict[str, int]:
        """Return the bytes of all files by name. Links to folders are not followed: they may form circles."""
        if not self.local:
            selector = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
            found = self._with_retries(lambda: self.fs.get_file_info(selector))
            files = (f for f in found if f.type == fs.FileType.File)
            return {f.path[len(self.root) :].lstrip("/"): f.size or 0 for f in files}
        sizes = {}
        for folder, _, names in os.walk(self.root):
            for path in (os.path.join(folder, name) for name in names):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    sizes[os.path.relpath(path, self.root)] = os.lstat(path).st_size
        return sizes

    def delete_all(self) -> None:
        """Delete the folder with all its files."""
        self._with_retries(lambda: self.fs.delete_dir(self.root))

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
        return sum(self._sizes_of_all().values())


def resolve(location: str | Path) -> str:
    """Return the path of a folder or file, given as such or as a ``file:`` URI. Other URIs stay as they are.

    ``~`` is the user's home. In URIs, ``%20`` and the like stand for characters.

    >>> resolve("file:///data/my%20runs")
    '/data/my runs'

    Raises:
        InputError: a ``file:`` URI is relative, names another machine, or has options.
    """
    text = str(location)
    if not text.lower().startswith("file:"):
        return text if URI.match(text) else str(Path(os.path.expanduser(text)))
    uri = urlsplit(text)
    if uri.netloc not in ("", "localhost") or not uri.path.startswith("/") or uri.query or uri.fragment:
        raise InputError(
            f"{text}: a file URI is file:///, then the path from the root, without ? and #; {ALLOWED}"
        )
    return str(Path(unquote(uri.path)))


def join(folder: str | Path, name: str) -> str:
    """Return the location of a file or run below a folder or URI. A query (``?…``) stays at the end."""
    base = resolve(folder)
    if not URI.match(base):
        return os.path.join(base, name)
    base, question, query = base.partition("?")
    return f"{base.rstrip('/')}/{quote(name)}{question}{query}"


def split(location: str | Path) -> tuple[str, str]:
    """Return the folder of a file or run, and its name."""
    text = resolve(location)
    if not URI.match(text):
        return os.path.split(text)
    base, question, query = text.partition("?")
    folder, _, name = base.rstrip("/").rpartition("/")
    return f"{folder}{question}{query}", unquote(name)


def cause(error: OSError) -> str:
    """Return what an error says; only the answer if it comes from an object store."""
    found = ANSWER.search(str(error))
    return found[1].strip() if found else str(error)
