"""Data set of arrays or Dataset objects that a Python program gives: ``explorer.Space(data=...)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from pydantic import Field

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import KEYS, Arrays, Channels, as_array, checked_arrays, with_reading
from explorer.settings import InputError, digest, in_a_line
from explorer.users import user_process
from explorer.users.objects import content_of

TASKS = ("classification", "regression")
FORMS = (
    "a dict of arrays x_train, y_train, x_test and y_test, those four in a tuple, or (train, test), each a "
    "Dataset or (inputs, targets)"
)
READ_TWICE = 4  # items of a Dataset that are read twice, to see whether they are random

_kept: WeakValueDictionary[str, Arrays] = WeakValueDictionary()  # by content; a Space holds them


class Options(DataOptions):
    """Arrays in the memory of a Python program."""

    content: str = Field(description="hash of the arrays; explorer.Space writes it")
    inputs: tuple[int, int] = Field(description="numbers of training and test inputs")


def keep(given: Any, channels: Channels | None) -> tuple[dict[str, Any], Arrays]:
    """Return the settings that stand for arrays in one of the ``FORMS``, and the checked arrays.

    Arrays live as long as the caller keeps them.

    Raises:
        InputError: they have another form, or are no data to learn from.
    """
    parts = _parts(given)
    _check_columns(parts)
    content = {
        f"{name}_{part}": values
        for part, pair in parts.items()
        for name, values in zip("xy", _pair(part, pair), strict=True)
    }
    arrays = checked_arrays("data", content, channels)
    name = with_reading(digest([*map(content_of, content.values()), *filter(None, [channels])]), arrays)
    return {"name": "memory", "content": name, "inputs": list(arrays.sizes)}, _kept.setdefault(name, arrays)


def fingerprint(options: Options) -> str:
    """Return the hash of the arrays and of how they are read: it identifies the data set."""
    return options.content


def available(options: Options) -> tuple[int, int]:
    return counts(options, *options.inputs, load)


def check(cell: Any) -> None:
    """Raise InputError if this program does not have the arrays of a cell."""
    load(cell.data)


def load(options: Options) -> Arrays:
    """Return the arrays.

    Raises:
        InputError: this program has not given them.
    """
    if options.content not in _kept:
        raise InputError(
            "the data of this space are arrays in the memory of a notebook or script, which only that "
            "program can give: execute it again with the same explorer.Space and explorer.run(space), which "
            "continues the run"
        )
    return _kept[options.content]


def _parts(given: Any) -> dict[str, Any]:
    """Return inputs and targets, or a Dataset, for ``train`` and ``test``."""
    if isinstance(given, Mapping) and {"train", "test"} <= given.keys():
        return {part: given[part] for part in ("train", "test")}
    if isinstance(given, Mapping):
        if lacking := [key for key in KEYS if key not in given]:
            raise InputError(f"data lacks {', '.join(lacking)}; it should be {FORMS}")
        return {part: (given[f"x_{part}"], given[f"y_{part}"]) for part in ("train", "test")}
    if isinstance(given, tuple | list) and len(given) == 4:
        if _split_of_sklearn(given):
            raise InputError(
                "data has its four arrays in the order of train_test_split; give them as x_train, y_train, "
                "x_test, y_test"
            )
        return {"train": given[:2], "test": given[2:]}
    if isinstance(given, tuple | list) and len(given) == 2:
        if all(hasattr(one, "dtype") for one in given):
            raise InputError(f"data is two arrays, without a test part; it should be {FORMS}")
        return dict(zip(("train", "test"), given, strict=True))
    raise InputError(f"data is {_kind(given)}, without a test part; it should be {FORMS}")


def _check_columns(parts: dict[str, Any]) -> None:
    """Raise InputError if the inputs of both parts are tables with other columns, or in another order."""
    pairs = [given for given in parts.values() if isinstance(given, tuple | list) and len(given) == 2]
    names = [list(inputs.columns) for inputs, _ in pairs if hasattr(inputs, "columns")]
    if len(names) == 2 and names[0] != names[1]:
        one, other = next((a, b) for a, b in zip_longest(*names) if a != b)
        raise InputError(
            f"data: x_train has a column {one!r} where x_test has {other!r}; give both the same columns in "
            "the same order, as in x_test[x_train.columns]"
        )


def _split_of_sklearn(given: Sequence[Any]) -> bool:
    """Return whether four arrays are x_train, x_test, y_train and y_test, as scikit-learn returns them."""
    shapes = [tuple(getattr(one, "shape", ())) for one in given]
    if not all(shapes):
        return False
    x_train, x_test, y_train, y_test = shapes
    return (
        x_train[:1] == y_train[:1] and x_test[:1] == y_test[:1] and x_train[1:] == x_test[1:] != y_train[1:]
    )


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"a {name} of {len(value)}" if isinstance(value, tuple | list) else f"a {name}"


def _pair(part: str, given: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs and the targets of a part."""
    if isinstance(given, tuple | list) and len(given) == 2:
        return _array(f"x_{part}", given[0]), _array(f"y_{part}", given[1])
    tensors = getattr(given, "tensors", ())  # of a TensorDataset
    if type(given).__module__.startswith("torch.utils.data") and len(tensors) == 2:
        return _array(f"x_{part}", tensors[0]), _array(f"y_{part}", tensors[1])
    if not (hasattr(given, "__getitem__") and hasattr(given, "__len__")) or hasattr(given, "dtype"):
        how = "; make a list of its items first" if hasattr(given, "__iter__") else ""
        how = "; give its dataset, loader.dataset" if hasattr(given, "dataset") else how
        raise InputError(
            f"data: the {part} part is {_kind(given)}, which has no items by number{how}; it should be a "
            "Dataset with __len__ and __getitem__, or (inputs, targets)"
        )
    import cloudpickle

    try:
        pickled = cloudpickle.dumps(given)
    except Exception as error:
        raise InputError(
            f"data: the {part} part cannot be sent to the process that reads it: {in_a_line(error)}; give "
            "arrays"
        ) from error
    return user_process.call(
        f"{__name__}:items_of", pickled, part, what=f"reading the {part} part of the data"
    )


def _array(name: str, value: Any) -> np.ndarray:
    return as_array(value, f"data: {name} is {_kind(value)}")


def items_of(pickled: bytes, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets of a Dataset's items. Runs the user's code.

    Raises:
        InputError: an item cannot be read, is no pair, or is random.
    """
    import pickle

    from explorer.users.functions import place_of, progress

    dataset = pickle.loads(pickled)

    def item(number: int) -> tuple[np.ndarray, np.ndarray]:
        progress()
        try:
            pair = dataset[number]
        except Exception as error:
            where = f" ({at})" if (at := place_of(error)) else ""
            raise InputError(f"data: item {number} of the {part} part: {in_a_line(error)}{where}") from error
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(
                f"data: item {number} of the {part} part is {_kind(pair)}; it should be (input, target)"
            )
        return _array(f"x_{part}[{number}]", pair[0]), _array(f"y_{part}[{number}]", pair[1])

    if not len(dataset):
        raise InputError(f"data: the {part} part has no items")
    for number in range(min(READ_TWICE, len(dataset))):
        one, other = item(number), item(number)
        if any(content_of(a) != content_of(b) for a, b in zip(one, other, strict=True)):
            raise InputError(
                f"data: item {number} of the {part} part differs each time that it is read; leave out "
                "random transforms (training: {'augment': True} shifts and mirrors images)"
            )
    inputs, targets = zip(*map(item, range(len(dataset))), strict=True)
    shapes = {x.shape for x in inputs}
    if len(shapes) > 1:
        raise InputError(
            f"data: inputs of the {part} part have different shapes, such as "
            f"{' and '.join(map(str, sorted(shapes)[:2]))}; all should have the same"
        )
    return np.stack(inputs), np.stack(targets)
