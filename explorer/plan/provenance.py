"""Provenance of a run for ``run.yaml``: versions, commit, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from explorer.settings import SCHEMA
from explorer.space import recorded
from explorer.space.model import CheckedSpace
from explorer.units import timestamp


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
        "created": timestamp(),
        **recorded.split(space),
        "versions": versions,
        "commit": _commit(),
        "sources": sources(space),
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        },
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
