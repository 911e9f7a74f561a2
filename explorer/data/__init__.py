"""Data sets by name, as arrays. A file of this package is a data set: ``Options`` and ``load``."""

from __future__ import annotations

from typing import Any


def of_user(name: str) -> Any:
    """The data set of a user's ``module:function``, with what a file of this package has."""
    from explorer.data.own import OwnDataSet

    return OwnDataSet(name)
