"""A data set that comes from a user's ``module:function``."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
from pydantic import ConfigDict

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import KEYS, Arrays, checked_arrays
from explorer.settings import InputError, digest, source_fingerprint, user_function


class OwnOptions(DataOptions):
    """The settings of any data set; all others are given to the user's function."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=())


class OwnDataSet:
    """``function(**options)`` returns a dict of x_train (inputs, …), y_train (inputs,), x_test and y_test.

    Labels are class numbers from 0, or floats for ``task: regression``. The source file and the options
    are its identity: what else the function reads (files, the network) must not change.
    """

    Options = OwnOptions
    TASKS = ("classification", "regression")

    def __init__(self, name: str):
        self.name = name

    def fingerprint(self, options: OwnOptions) -> str:
        """Hash of the source file and of the options."""
        return digest([source_fingerprint(self.name), options.source()])

    def available(self, options: OwnOptions) -> tuple[int, int]:
        """Numbers of training and test inputs."""
        return counts(options, *self.load(options).sizes, self.load)

    def load(self, options: OwnOptions) -> Arrays:
        """The arrays, inputs as float32.

        Raises:
            InputError: the function fails, or gives something else.
        """
        return _loaded(self.name, json.dumps(options.source(), sort_keys=True))


@functools.lru_cache(maxsize=2)
def _loaded(name: str, options: str) -> Arrays:
    try:
        found: Any = user_function(name)(**json.loads(options))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name!r} failed for {options}: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict) or not set(KEYS) <= set(found):
        raise InputError(f"{name!r} should return a dict of arrays with {', '.join(KEYS)}")
    return checked_arrays(name, {key: np.asarray(found[key]) for key in KEYS})
