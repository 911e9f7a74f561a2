"""Data set from a user's ``module:function``."""

from __future__ import annotations

import functools
import json
from typing import Any

from pydantic import ConfigDict, Field

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import CHANNELS_ARE, KEYS, Arrays, Channels, as_array, checked_arrays, with_reading
from explorer.settings import InputError, digest
from explorer.users import given, user_process
from explorer.users.functions import user_function, users_code

KEPT = 8  # data sets that stay in memory: the cells of a space may use several


class OwnDataOptions(DataOptions):
    """The settings of any data set. All other settings are passed to the user's function."""

    model_config = ConfigDict(extra="allow")

    image_channels: Channels | None = Field(default=None, description=CHANNELS_ARE)


class OwnDataSet:
    """Data set of a function that returns a dict of x_train (inputs, …), y_train (inputs,), x_test, y_test.

    For labels and targets see :func:`explorer.data.targets.read_targets`. The source files and the options
    identify the data set: anything else that the function reads (files, the network) must not change.
    """

    Options = OwnDataOptions
    TASKS = ("classification", "regression")

    def __init__(self, name: str):
        self.name = name

    def fingerprint(self, options: OwnDataOptions, source: str) -> str:
        """Return a hash of the function's fingerprint, the options, and how the arrays are read."""
        return with_reading(digest([source, _given(options)]), self.load(options))

    def available(self, options: OwnDataOptions) -> tuple[int, int]:
        return counts(options, *self.load(options).sizes, self.load)

    def load(self, options: OwnDataOptions) -> Arrays:
        """Return the arrays, with inputs as float32.

        Raises:
            InputError: the function fails, or returns something else.
        """
        return _loaded(self.name, json.dumps(_given(options), sort_keys=True), options.image_channels)


def _given(options: OwnDataOptions) -> dict[str, Any]:
    """Return the settings that the user's function gets."""
    return {name: value for name, value in options.source().items() if name != "image_channels"}


@functools.lru_cache(maxsize=KEPT)
def _loaded(name: str, options: str, channels: Channels | None) -> Arrays:
    what = f"{name!r}, called with {options}"
    return user_process.call("explorer.data.own:called", name, options, channels, what=what)


@functools.lru_cache(maxsize=KEPT)
def called(name: str, options: str, channels: Channels | None) -> Arrays:
    """Call the user's function with options in JSON, and return its checked arrays."""
    settings = json.loads(options)
    with users_code(name, f"failed for {settings}"):
        returned: Any = user_function(name)(**settings)
    lacking = [key for key in KEYS if key not in returned] if isinstance(returned, dict) else ()
    if lacking or not isinstance(returned, dict):
        what = f"a dict without {', '.join(lacking)}" if lacking else type(returned).__name__
        raise InputError(
            f"{name!r} returned {what}; it should return a dict of arrays with {', '.join(KEYS)}"
        )
    arrays = {
        key: as_array(returned[key], f"{name!r} returned {type(returned[key]).__name__} as {key}")
        for key in KEYS
    }
    return checked_arrays(name, arrays, channels)


given.caches += [_loaded, called]
