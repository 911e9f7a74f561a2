"""Provenance of a run for ``run.yaml``: versions, commit, machine."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from explorer.settings import SCHEMA
from explorer.space import recorded
from explorer.space.model import CheckedSpace


def describe(space: CheckedSpace, name: str) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for package in ("explorer-landscapes", "torch", "ray", "numpy", "pandas", "pyarrow", "altair"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "schema": SCHEMA,
        "name": name,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **recorded.split(space),
        "versions": versions,
        "commit": _commit(),
        "sources": sources(space),
        "machine": _machine(),
    }


def sources(space: CheckedSpace) -> list[str]:
    """Return the fingerprints of the user's data files and model sources in the space."""
    fingerprints = set()
    for cell in space.cells:
        training = cell.settings["training"]
        fingerprints |= {
            cell.settings["data"].get("content"),
            cell.settings["model"].get("source"),
            training.get("optimizer_source"),
            training.get("loss_source"),
        }
    return sorted(f for f in fingerprints if f)


def _commit() -> str | None:
    """Return the commit of the current folder if it is a git checkout."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def _machine() -> dict[str, Any]:
    machine: dict[str, Any] = {"platform": platform.platform(), "cpus": os.cpu_count()}
    if hasattr(os, "sysconf"):
        machine["memory_gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return machine
