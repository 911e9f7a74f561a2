"""Data set in memory, and validation of a user's arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from explorer.data.targets import read_targets
from explorer.settings import InputError, digest
from explorer.units import plural

KEYS = ("x_train", "y_train", "x_test", "y_test")  # names of a user's arrays
CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency
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
        remark: what else :meth:`describe` says of texts.
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
        else:
            layout = f"shape {shape}"
        parts.append(f"{layout}, from {x.min():.4g} to {x.max():.4g}")
        if y.dtype.kind == "f":
            span = f"from {np.nanmin(y):.4g} to {np.nanmax(y):.4g}"
            parts.append(f"targets of {plural(self.classes, 'number')}, {span}")
        else:
            names = ", ".join(self.names[:SHOWN]) + (", …" if len(self.names) > SHOWN else "")
            parts.append(f"{self.classes} classes" + (f": {names}" if names else ""))
        warning = _scales(x, self.x_test) if self.stored else ""
        return "; ".join([*parts, warning] if warning else parts)

    def for_task(self, task: str, where: str) -> Arrays:
        """Return the data set with targets for a task.

        Raises:
            InputError: labels are too few or too many for a classification. The message begins with
                ``where``.
        """
        if task == "regression" and self.numbers is not None:
            y_train, y_test = self.numbers
            return replace(self, y_train=y_train, y_test=y_test, classes=y_train.shape[1], numbers=None)
        if task == "classification" and self.numbers is not None:
            check_classes(where, self.classes, len(self.y_train))
        return self


def checked_arrays(where: str, content: dict[str, np.ndarray]) -> Arrays:
    """Return a user's arrays, named as in ``KEYS``, with inputs as float32.

    Images with channels last are recognised by their shape. For targets see
    :func:`explorer.data.targets.read_targets`.

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
    if x_train.ndim == 4 and _channels_last(*x_train.shape[1:]):
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
    )


def _channels_last(first: int, second: int, third: int) -> bool:
    """Return whether the shape of an image is (height, width, channels), not (channels, height, width).

    If both are possible, images are taken to be square, or else to have their channels first.
    """
    if third not in CHANNELS or first not in CHANNELS:
        return third in CHANNELS
    return first == second != third


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
    wrong = (
        [v for v in x.flat if not isinstance(v, bool | int | float | np.number)] if x.dtype == "O" else x.flat
    )
    if x.dtype.kind not in "buif" and len(wrong):
        raise InputError(f"{where}: x_{part} holds {x.dtype}, such as {wrong[0]!r}; numbers are needed")
    with np.errstate(over="ignore"):  # overflow gives infinity, which the next check reports
        x = x.astype(np.float32)
    finite = np.isfinite(x)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(
            f"{where}: x_{part}{list(place)} is {x[place]}, and {int((~finite).sum())} value(s) are not "
            "finite in float32; replace them or leave these inputs out"
        )
    return x


def _scales(x_train: np.ndarray, x_test: np.ndarray) -> str:
    """Return a warning if training and test inputs differ in scale, else an empty text.

    They do if means differ by more than five standard deviations, or spreads by more than a factor of ten:
    typically, one of both was scaled and the other was not.
    """
    means, spreads = ([float(f(x)) for x in (x_train, x_test)] for f in (np.mean, np.std))
    large, small = max(spreads), min(spreads)
    if abs(means[0] - means[1]) <= 5 * spreads[0] and large <= 10 * small + 1e-12:
        return ""
    return (
        f"WARNING: training and test inputs are on different scales (means {means[0]:.3g} and "
        f"{means[1]:.3g}, standard deviations {spreads[0]:.3g} and {spreads[1]:.3g}); was only "
        "one of both scaled?"
    )
