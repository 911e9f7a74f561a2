"""Files of public data sets: found on this machine, or downloaded once and checked."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from explorer.settings import InputError

ATTEMPTS = 3
PAUSE_S = 1.0  # pause before the second attempt; it doubles for each further one
BUSY = (429, 500, 502, 503, 504)  # HTTP status codes after which a retry may succeed
TIMEOUT_S = 30  # seconds without data; the whole transfer has no limit


@dataclass(frozen=True)
class Source:
    """A public data set as files.

    ``name`` is the folder in the cache, ``checksums`` maps file names to ``algorithm:digest`` as published by
    the authors, and ``url`` is the prefix of the file names.
    """

    name: str
    title: str
    url: str
    checksums: dict[str, str]
    page: str


def folder(source: Source) -> Path:
    """Return the folder of the files: in ``EXPLORER_DATA`` if it is set, otherwise in the user's cache."""
    if own := os.environ.get("EXPLORER_DATA"):
        return Path(own).expanduser() / source.name
    import pooch

    return Path(pooch.os_cache("explorer")) / source.name


def found(where: Path, source: Source) -> dict[str, Path] | None:
    """Return the source's files in a folder, as published or without ``.gz``; None if one is missing."""
    files = {}
    for name in source.checksums:
        there = [path for path in (where / name, where / name.removesuffix(".gz")) if path.is_file()]
        if not there:
            return None
        files[name] = there[0]
    return files


def locate(source: Source, system: Path | None = None) -> dict[str, Path]:
    """Return the path of each file; download missing files.

    Files in ``EXPLORER_DATA`` or in ``system`` (a folder of a system package) are used unchecked. Files in
    the cache are compared with the authors' checksums each time, and replaced if they differ.

    Raises:
        InputError: the files are missing and cannot be downloaded; the message explains the manual way.
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
            f"(or into {source.name}/ in the folder that the environment variable EXPLORER_DATA names)."
        ) from error


def _fetched(source: Source, name: str, target: Path) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    for attempt in range(ATTEMPTS):
        with _Progress(f"{source.title}: {name}") as progress:
            # pooch accepts any object with the interface of a progress bar, though its annotation says bool.
            downloader: Any = pooch.HTTPDownloader(cast("Any", progress), chunk_size=2**16, timeout=TIMEOUT_S)
            try:
                # pooch writes a temporary file and renames it only if the checksum matches.
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
    """Return whether a retry may succeed after this error."""
    import requests

    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code in BUSY
    return isinstance(
        error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError
    )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "does not match the known hash" in text:
        return "the download does not match the authors' checksum; a proxy may have sent its own page instead"
    return f"{type(error).__name__}: {text[:200]}"


class _Progress:
    """Progress bar for pooch, drawn by rich on standard error if it is a terminal; otherwise silent."""

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
        """Total bytes, which pooch sets from the response header."""
        return self._bar.tasks[0].total

    @total.setter
    def total(self, value: float) -> None:
        self._bar.update(self._task, total=value or None)

    def update(self, count: int) -> None:
        """Add ``count`` received bytes."""
        self._bar.advance(self._task, count)

    def reset(self) -> None:
        """Reset the bar. Pooch finishes with a reset and one update of all bytes."""
        self._bar.update(self._task, completed=0)

    def close(self) -> None:
        """Do nothing; leaving the context stops the bar."""
