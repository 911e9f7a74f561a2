"""Files of public data sets: found on this machine, or downloaded once and checked."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.settings import InputError

ATTEMPTS = 3
TIMEOUT_S = 30  # seconds without data; the whole transfer has no limit


@dataclass(frozen=True)
class Source:
    """A public data set as files.

    ``name`` is the folder in the cache, ``checksums`` maps file names to ``algorithm:digest`` as published by
    the authors, ``url`` is the prefix of the file names, and ``system`` is the folder of a system package.
    """

    name: str
    title: str
    url: str
    checksums: dict[str, str]
    page: str
    system: Path | None = None


def find(folder: Path, source: Source) -> list[Path]:
    """Return the source's files in a folder, as published or without ``.gz``; nothing if one is missing."""
    files = []
    for name in source.checksums:
        present = [path for path in (folder / name, folder / name.removesuffix(".gz")) if path.is_file()]
        if not present:
            return []
        files.append(present[0])
    return files


def locate(source: Source) -> list[Path]:
    """Return the paths of the source's files, in the order of ``checksums``; download missing files.

    Files in ``EXPLORER_DATA`` or in the folder of a system package are used unchecked. Files in the cache are
    compared with the authors' checksums each time, and replaced if they differ.

    Raises:
        InputError: the files are missing and cannot be downloaded; the message explains the manual way.
    """
    import pooch

    user_folder = os.environ.get("EXPLORER_DATA")
    target = Path(user_folder or pooch.os_cache("explorer")).expanduser() / source.name
    for folder in (target if user_folder else None, source.system):
        if folder and (files := find(folder, source)):
            return files
    # Pooch writes a temporary file and renames it if the checksum matches; otherwise it tries again.
    pooch.get_logger().setLevel("WARNING")
    cache: Any = pooch.create(target, source.url, registry=source.checksums, retry_if_failed=ATTEMPTS - 1)
    downloads = {name: functools.partial(_download, f"{source.title}: {name}") for name in source.checksums}
    try:
        return [Path(cache.fetch(name, downloader=download)) for name, download in downloads.items()]
    except Exception as error:
        raise InputError(
            f"{source.title} is not on this machine and could not be downloaded: {_reason(error)}. "
            f"By hand: get {', '.join(source.checksums)} from {source.page} and put them into {target} "
            f"(or into {source.name}/ in the folder that the environment variable EXPLORER_DATA names)."
        ) from error


def _download(title: str, url: str, output: str, _: object) -> None:
    """Download a file for pooch, with a progress bar on standard error if that is a terminal."""
    import requests
    from rich import progress
    from rich.console import Console

    columns = (
        "{task.description}", progress.BarColumn(), progress.DownloadColumn(),
        progress.TransferSpeedColumn(), progress.TimeRemainingColumn(),
    )  # fmt: skip
    bar = progress.Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    with bar, requests.get(url, stream=True, timeout=TIMEOUT_S) as response, open(output, "wb") as file:
        response.raise_for_status()
        task = bar.add_task(title, total=int(response.headers.get("content-length", 0)) or None)
        for block in response.iter_content(2**16):
            bar.advance(task, file.write(block))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "does not match the known hash" in text:
        return "the download does not match the authors' checksum; a proxy may have sent its own page instead"
    return f"{type(error).__name__}: {text[:200]}"
