"""Data sets by name. Each name is a module, imported on first use, that defines the names below.

``Options``: the settings. ``load(options)``: the arrays. ``available(options)``: the numbers of training and
test inputs of the selected classes, before ``train_size`` applies. Optional: ``fingerprint(options)``, a hash
of the content of a user's files; ``TASKS``, the usual one first; ``SHAPE`` and ``CLASSES``, if they are known
without the data; ``check(cell)``, which raises InputError about a cell.
"""

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
