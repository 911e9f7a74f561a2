"""A data set that comes from a user's ``module:function``."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
from pydantic import ConfigDict

from explorer.data.base import Arrays, DataOptions
from explorer.settings import InputError, digest, source_fingerprint, user_function


class OwnOptions(DataOptions):
    """The settings of any data set; all others are given to the user's function."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=())


class OwnDataSet:
    """``function(**options)`` returns a dict of x_train (inputs, …), y_train (inputs,), x_test and y_test.

    Labels are class numbers from 0. The source file and the options are its identity: what else the
    function reads (files, the network) must not change.
    """

    Options = OwnOptions

    def __init__(self, name: str):
        self.name = name

    def fingerprint(self, options: OwnOptions) -> str:
        """Hash of the source file and of the options."""
        return digest([source_fingerprint(self.name), options.source()])

    def available(self, options: OwnOptions) -> tuple[int, int]:
        """Numbers of training and test inputs."""
        arrays = self.load(options)
        return len(arrays.x_train), len(arrays.x_test)

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
    keys = ("x_train", "y_train", "x_test", "y_test")
    if not isinstance(found, dict) or not set(keys) <= set(found):
        raise InputError(f"{name!r} should return a dict of arrays with {', '.join(keys)}")
    x_train, y_train, x_test, y_test = (np.asarray(found[key]) for key in keys)
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if y.ndim != 1 or len(x) != len(y) or x.ndim < 2 or not len(x):
            raise InputError(
                f"{name!r}: x_{part} {x.shape}, y_{part} {y.shape} should be (inputs, …), (inputs,)"
            )
        if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
            raise InputError(f"{name!r}: y_{part} should hold class numbers from 0")
    classes = int(max(y_train.max(), y_test.max())) + 1
    return Arrays(
        x_train.astype(np.float32),
        y_train.astype(np.int64),
        x_test.astype(np.float32),
        y_test.astype(np.int64),
        classes,
    )
