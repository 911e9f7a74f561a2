"""Data sets by name, as arrays. Each name is a file with ``Options`` and ``load``, imported on use."""

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
    "mnist",
    "mnist1d",
    "mo",
    "multi30k",
    "parallel",
    "svhn",
    "text",
)


def of_user(name: str) -> Any:
    """The data set of a user's ``module:function``, with what a file of this package has."""
    from explorer.data.own import OwnDataSet

    return OwnDataSet(name)
