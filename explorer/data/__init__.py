"""Data sets by name. Each name is a module with ``Options`` and ``load``, imported on first use."""

from __future__ import annotations

from typing import Any

NAMES = (
    "arrays",
    "cifar10",
    "cifar100",
    "convection",
    "digits",
    "fashion-mnist",
    "image-folder",
    "image-parquet",
    "iwslt",
    "memory",
    "mnist",
    "mnist1d",
    "mo",
    "multi30k",
    "parallel",
    "svhn",
    "table",
    "text",
)


def of_user(name: str) -> Any:
    """Return the data set of a user's ``module:function``, with the interface of a module here."""
    from explorer.data.own import OwnDataSet

    return OwnDataSet(name)
