"""Data set in memory, and validation of a user's arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from explorer.data.targets import NUMBERS, as_python, read_targets
from explorer.settings import InputError, cut, digest, in_a_line, listed
from explorer.units import plural

KEYS = ("x_train", "y_train", "x_test", "y_test")  # names of a user's arrays
Channels = Literal["first", "last"]
CHANNELS_ARE = (
    "whether an image is (channels, height, width) or (height, width, channels); default: by its shape"
)
CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency
COARSE = 1e-3  # of a standard deviation: a step of float32 that is larger loses the differences of inputs
COMPARED = 5000  # inputs at most whose scales are compared
SHOWN = 5  # names of classes in a description


@dataclass(frozen=True)
class Arrays:
    """A data set in memory.

    ``x_train`` and ``x_test`` are float32 (inputs, *shape). For classification, ``y_train`` and ``y_test``
    are int64 (inputs,) from 0 to ``classes`` - 1. For regression they are float32 (inputs, classes), with NaN
    for a missing target. For sequences, all arrays are token ids below ``classes`` (see
    :mod:`explorer.tasks`), and ``vocabulary`` maps them to text.

    Args:
        numbers: the targets as those of a regression, if they can be read as labels and as numbers.
        columns: inputs are rows of a table, so each column is standardised by itself.
        reading: how the arrays of a user were read, where that is not literally.
        stored: type of the inputs in a user's file, such as ``uint8``.
        names: what a user's data call the classes.
        remark: what else :meth:`describe` says: of texts, and of the columns and the split of tables.
        problem: why the targets are not classes, and what to do; empty if they are.
        moved: columns whose mean was subtracted, because float32 cannot hold their differences.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    vocabulary: str = ""
    numbers: tuple[np.ndarray, np.ndarray] | None = None
    columns: bool = False
    reading: tuple[str, ...] = ()
    stored: str = ""
    names: tuple[str, ...] = ()
    remark: str = ""
    problem: str = ""
    moved: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.x_train.shape[1:]

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of training and test inputs."""
        return len(self.x_train), len(self.x_test)

    def describe(self) -> str:
        """Return in one line how the data were understood: inputs, type, shape, range, and targets."""
        x, y, shape = self.x_train, self.y_train, self.shape
        counts = f"{len(x):,} training and {len(self.x_test):,} test"
        if x.dtype.kind == "i":
            what, units = ("pairs", "subword units") if len(shape) == 2 else ("windows", "different tokens")
            text = f"{counts} {what} of {shape[-1]} tokens; {self.classes:,} {units}"
            return f"{text}; {self.remark}" if self.remark else text
        parts = [f"{counts} inputs" + (f" of {self.stored}" if self.stored else "")]
        if len(shape) == 3:
            last = ", which the file has last" if "channels last" in self.reading else ""
            layout = f"images of {shape[1]}×{shape[2]} with {plural(shape[0], 'channel')}{last}"
        elif self.columns:
            layout = f"tables of {plural(shape[0], 'column')}"
            if self.moved:
                columns = listed(self.moved, most=SHOWN)
                layout += f" (less their mean: columns {columns}, too fine for float32)"
        else:
            layout = f"shape {shape}"
        parts.append(f"{layout}, from {x.min():.4g} to {x.max():.4g}")
        if y.dtype.kind == "f":
            span = f"from {np.nanmin(y):.4g} to {np.nanmax(y):.4g}"
            parts.append(f"targets of {plural(self.classes, 'number')}, {span}")
        else:
            names = f": {listed(self.names, most=SHOWN)}" if self.names else ""
            parts.append(f"{self.classes} classes{names}")
        warning = _scales(x, self.x_test, "column" if self.columns else "channel") if self.stored else ""
        return "; ".join(text for text in (*parts, self.remark, warning) if text)

    def for_task(self, task: str, where: str) -> Arrays:
        """Return the data set with targets for a task.

        Raises:
            InputError: the targets are no labels, or these are too few or too many, for a classification; or
                they are words for a regression. The message begins with ``where``.
        """
        if task == "classification" and self.problem:
            raise InputError(f"{where}: {self.problem}")
        if task == "regression" and self.numbers is None and self.names:
            raise InputError(
                f"{where} has words as targets, such as {self.names[0]!r}, and task: regression needs "
                "numbers; give numbers to predict, or set task: classification"
            )
        if task == "regression" and self.numbers is not None:
            y_train, y_test = self.numbers
            return replace(self, y_train=y_train, y_test=y_test, classes=y_train.shape[1], numbers=None)
        if task == "classification" and self.numbers is not None:
            check_classes(where, self.classes, len(self.y_train))
        return self


def as_array(value: Any, what: str) -> np.ndarray:
    """Return an array, a tensor, a sparse matrix, a table or nested lists as an array.

    Args:
        what: begins the message, such as ``data: x_train is a list of 3``.

    Raises:
        InputError: the value is something else, or some of its values are masked.
    """
    if np.ma.is_masked(value):
        raise InputError(f"{what} with masked values; fill them, as in filled(0), or leave these inputs out")
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu().to_dense()
            return np.asarray(value.float() if str(value.dtype) == "torch.bfloat16" else value)
        found = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    except Exception as error:
        raise InputError(
            f"{what}, which is no array of numbers, all inputs of one shape: {in_a_line(error)}"
        ) from error
    if found.dtype == object and not found.ndim:
        raise InputError(f"{what}, which is no array, tensor, table or list; give one of these")
    return found


def checked_arrays(where: str, content: dict[str, np.ndarray], channels: Channels | None = None) -> Arrays:
    """Return a user's arrays, named as in ``KEYS``, with inputs as float32.

    Images with channels last are recognised by their shape, or ``channels`` says ``first`` or ``last``. For
    targets see :func:`explorer.data.targets.read_targets`.

    Raises:
        InputError: shapes do not match, or values are of a wrong kind or not finite. The message begins with
            ``where``, the source of the arrays.
    """
    reading = []
    x_train, x_test = (_inputs(where, part, content[f"x_{part}"]) for part in ("train", "test"))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(
            f"{where}: training inputs have the shape {x_train.shape[1:]} and test inputs "
            f"{x_test.shape[1:]}; both must be the same"
        )
    for part, x in (("train", x_train), ("test", x_test)):
        if len(x) != len(content[f"y_{part}"]):
            raise InputError(
                f"{where}: x_{part} {x.shape} and y_{part} {content[f'y_{part}'].shape} should be "
                "(inputs, …) and (inputs,), with as many inputs"
            )
    targets = read_targets(where, content["y_train"], content["y_test"])
    given = [content["x_train"], content["x_test"]]
    if moved := _too_fine(where, *given):
        mean = given[0][:, moved].mean(0, dtype=np.float64)
        for x, exact in zip((x_train, x_test), given, strict=True):
            x[:, moved] = exact[:, moved] - mean
        reading.append("moved columns")
    if x_train.ndim == 4 and _channels_last(where, x_train.shape[1:], channels):
        x_train, x_test = (np.ascontiguousarray(x.transpose(0, 3, 1, 2)) for x in (x_train, x_test))
        reading.append("channels last")
    if x_train.ndim == 2:
        reading.append("columns")
    if targets.labels is None:
        assert targets.numbers is not None
        y_train, y_test = targets.numbers
        classes = y_train.shape[1]
    else:
        (y_train, y_test), classes = targets.labels, len(targets.names)
        if not targets.literal:
            reading.append("labels")
        if targets.numbers is None:
            check_classes(where, classes, len(y_train))
    return Arrays(
        x_train,
        y_train,
        x_test,
        y_test,
        classes,
        numbers=targets.numbers if targets.labels is not None else None,
        columns=x_train.ndim == 2,
        reading=tuple(reading),
        stored=str(content["x_train"].dtype),
        names=targets.names,
        problem=targets.problem,
        moved=tuple(moved),
    )


def _channels_last(where: str, shape: tuple[int, ...], channels: Channels | None) -> bool:
    """Return whether the shape of an image is (height, width, channels), not (channels, height, width).

    Without ``channels``, images are square, or else have a usual number of channels in one of both places.

    Raises:
        InputError: the shape does not say which. The message begins with ``where``.
    """
    first, second, third = shape
    if channels is not None:
        return channels == "last"
    for one, other in ((second == third, first == second), (first in CHANNELS, third in CHANNELS)):
        if one != other:
            return other
    raise InputError(
        f"{where}: images of shape {shape} may be {first}×{second} with {third} channels, or "
        f"{second}×{third} with {first}; set image_channels to first (the channels are {first}) or last"
    )


def _too_fine(where: str, train: np.ndarray, test: np.ndarray) -> list[int]:
    """Return the columns of tables (inputs, columns) whose differences float32 cannot hold.

    Raises:
        InputError: this is so for inputs that are no table. The message begins with ``where``.
    """
    if max(x.dtype.itemsize * (x.dtype.kind in "fiuO") for x in (train, test)) < 4:
        return []
    if all(x.dtype == np.float32 for x in (train, test)):
        return []
    table = train.ndim == 2
    parts = [x if table else x[:: len(x) // COMPARED + 1].reshape(-1, 1) for x in (train, test)]
    both = np.concatenate(parts).astype(np.float64)
    spread, step = both[: len(parts[0])].std(0), np.spacing(np.abs(both).max(0).astype(np.float32))
    columns = np.flatnonzero((spread > 0) & (step > COARSE * spread)).tolist()
    if columns and not table:
        raise InputError(
            f"{where}: inputs from {both.min():.10g} to {both.max():.10g} with standard deviation "
            f"{spread[0]:.3g} are too fine for float32; subtract their mean"
        )
    return columns


def with_reading(content: str, arrays: Arrays) -> str:
    """Return the hash of a user's data, changed if they are not read literally.

    Models of an earlier version that read them otherwise are then other models.
    """
    return digest([content, *arrays.reading]) if arrays.reading else content


def check_classes(where: str, classes: int, inputs: int) -> None:
    """Raise InputError if ``classes`` is below 2 or above the number of training inputs."""
    if classes < 2:
        raise InputError(f"{where}: there is only one class; at least 2 are needed")
    if classes > inputs:
        raise InputError(
            f"{where}: there are {classes} different labels for {inputs} training inputs; if they are "
            "numbers to predict, set task: regression"
        )


def _inputs(where: str, part: str, x: np.ndarray) -> np.ndarray:
    """Return inputs (inputs, …) as float32."""
    if x.ndim < 2 or not x.size:
        raise InputError(
            f"{where}: x_{part} has the shape {x.shape}; it should be (inputs, …), at least (inputs, 1)"
        )
    if x.dtype.kind not in "buif":
        places = np.ndindex(x.shape)
        if wrong := next((i for i in places if x.dtype.kind != "O" or not isinstance(x[i], NUMBERS)), None):
            raise InputError(
                f"{where}: x_{part}{list(wrong)} is {as_python(x[wrong])!r} ({x.dtype}); numbers are needed"
            )
    with np.errstate(over="ignore"):  # overflow gives infinity, which the next check reports
        try:
            numbers = x.astype(np.float32)
        except OverflowError:  # whole numbers of Python that no float holds
            numbers = np.array([_float(value) for value in x.flat], np.float32).reshape(x.shape)
    finite = np.isfinite(numbers)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(
            f"{where}: x_{part}{list(place)} is {cut(str(as_python(x[place])), 40)}, and "
            f"{int((~finite).sum())} value(s) are not finite in float32; replace them or leave these inputs "
            "out"
        )
    return numbers


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _scales(x_train: np.ndarray, x_test: np.ndarray, what: str) -> str:
    """Return a warning if a column or channel differs in scale between training and test inputs, else "".

    Typically, one of both parts was scaled and the other was not. Pixels are many and alike, so channels
    differ if means do by a standard deviation, or spreads by a factor of 1.8. Columns may have rare values,
    so they differ if means do by three standard deviations, spreads by a factor of ten, or spreads and
    quartiles by a factor of 2.5. Of few inputs, only differences of five and ten count.
    """
    parts = [x[:: len(x) // COMPARED + 1] for x in (x_train, x_test)]
    if what == "channel":
        parts = [np.moveaxis(x, 1, -1) if x.ndim == 4 else x[..., None] for x in parts]
    few = min(map(len, parts)) < 20
    flat = [x.reshape(-1, x.shape[-1]).astype(np.float64) for x in parts]
    means, spreads = (np.array([f(x, 0) for x in flat]) for f in (np.mean, np.std))
    quartiles = np.array([np.subtract(*np.percentile(x, [75, 25], axis=0)) for x in flat])

    def apart(values: np.ndarray, factor: float) -> np.ndarray:
        return values.max(0) > factor * values.min(0) + 1e-6 * np.abs(means).max(0)

    shift, factor = (5, 10) if few else (1, 1.8) if what == "channel" else (3, 10)
    wrong = np.abs(means[0] - means[1]) > shift * spreads[0] + 1e-6 * np.abs(means).max(0)
    wrong |= apart(spreads, factor) & (spreads.min(0) > 0)
    if not few:
        wrong |= apart(spreads, 2.5) & apart(quartiles, 2.5) & (quartiles.min(0) > 0)
    places = np.flatnonzero(wrong)
    if not len(places):
        return ""
    place = places[0]
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return (
        f"WARNING: training and test inputs are on different scales ({what} {place}{more}: means "
        f"{means[0][place]:.3g} and {means[1][place]:.3g}, standard deviations {spreads[0][place]:.3g} and "
        f"{spreads[1][place]:.3g}); was only one of both scaled?"
    )
