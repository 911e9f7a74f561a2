"""Files of public data sets: where they are on this machine, or downloaded once and checked."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from explorer.settings import InputError

ATTEMPTS = 3
PAUSE_S = 1.0  # before the second; twice as long before each further one
BUSY = (429, 500, 502, 503, 504)  # replies of a server that may answer later
TIMEOUT_S = 30  # without a byte; a whole transfer may take as long as it likes


@dataclass(frozen=True)
class Source:
    """A public data set as files.

    ``name`` is its folder in the cache, ``checksums`` maps file names to ``algorithm:digest`` as published
    by the authors, ``url`` is what the names are appended to.
    """

    name: str
    title: str
    url: str
    checksums: dict[str, str]
    page: str


def folder(source: Source) -> Path:
    """Where the files are kept: in ``EXPLORER_DATA`` if it is set, otherwise in the user's cache folder."""
    if own := os.environ.get("EXPLORER_DATA"):
        return Path(own).expanduser() / source.name
    import pooch

    return Path(pooch.os_cache("explorer")) / source.name


def found(where: Path, source: Source) -> dict[str, Path] | None:
    """The source's files in a folder, each as published or without its ``.gz``; None if one is missing."""
    files = {}
    for name in source.checksums:
        there = [path for path in (where / name, where / name.removesuffix(".gz")) if path.is_file()]
        if not there:
            return None
        files[name] = there[0]
    return files


def locate(source: Source, system: Path | None = None) -> dict[str, Path]:
    """The path of each file: put there by hand, from a system package, or downloaded now.

    What lies in ``EXPLORER_DATA`` or in ``system`` is taken as it is; what is in the cache is checked
    against the authors' checksums each time, and replaced if it does not match.

    Raises:
        InputError: the files are nowhere and cannot be downloaded; the message gives the manual way.
    """
    target = folder(source)
    for place in [*([target] if os.environ.get("EXPLORER_DATA") else []), *([system] if system else [])]:
        if files := found(place, source):
            return files
    try:
        return {name: _fetched(source, name, target) for name in source.checksums}
    except Exception as error:
        raise InputError(
            f"{source.title} is not on this machine and could not be downloaded: {_reason(error)}. "
            f"By hand: get {', '.join(source.checksums)} from {source.page} and put them into {target} "
            f"(or into {source.name}/ of any folder that the environment variable EXPLORER_DATA names)."
        ) from error


def _fetched(source: Source, name: str, target: Path) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    for attempt in range(ATTEMPTS):
        with _Progress(f"{source.title}: {name}") as progress:
            # pooch takes any object that behaves like a bar, though its annotation says bool.
            downloader: Any = pooch.HTTPDownloader(cast("Any", progress), chunk_size=2**16, timeout=TIMEOUT_S)
            try:
                # Into a temporary file, which becomes the file only when the checksum is right.
                path = pooch.retrieve(
                    source.url + name, source.checksums[name], fname=name, path=target, downloader=downloader
                )
                return Path(path)
            except requests.RequestException as error:
                if attempt == ATTEMPTS - 1 or not _passing(error):
                    raise
        time.sleep(PAUSE_S * 2**attempt)
    raise AssertionError("unreachable")


def _passing(error: Exception) -> bool:
    """Whether a transfer that ended so may succeed later."""
    import requests

    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code in BUSY
    return isinstance(
        error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError
    )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "does not match the known hash" in text:
        return "what was sent does not match the authors' checksum; a proxy may have sent a page of its own"
    return f"{type(error).__name__}: {text[:200]}"


class _Progress:
    """A progress bar as pooch calls it, drawn by rich on a terminal's standard error; silent elsewhere."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns: list[Any] = [
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        ]
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(title, start=True, total=None)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def total(self) -> float | None:
        """Bytes to come; pooch sets it from the reply's header."""
        return self._bar.tasks[0].total

    @total.setter
    def total(self, value: float) -> None:
        self._bar.update(self._task, total=value or None)

    def update(self, count: int) -> None:
        """So many bytes more have come."""
        self._bar.advance(self._task, count)

    def reset(self) -> None:
        """Pooch ends with a reset and one update over the whole."""
        self._bar.update(self._task, completed=0)

    def close(self) -> None:
        """The end of the transfer; leaving the context stops the bar."""
