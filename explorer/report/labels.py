"""Labels of axes and measures: title, unit, number format, palette and caption.

Texts of a measure are in its own file. An axis needs a line in ``AXES`` only if its column name is not clear
enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import NamedTuple

from explorer.columns import Column
from explorer.measures.tables import EVERY
from explorer.phases import words_of
from explorer.tasks import Words


class AxisLabel(NamedTuple):
    """Label of an axis; ``hint`` says which end is hot or has high load.

    In maps the hot end is on top, so batch size decreases upwards (``large_on_top`` is false).
    """

    title: str
    hint: str = ""
    large_on_top: bool = True


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

UNITS = {"percent": "%", "percentage points": "points"}

AXES: dict[str, AxisLabel] = {
    "width": AxisLabel("Width", "small = high load"),
    "train_size": AxisLabel("Training-set size"),
    "label_noise": AxisLabel("Label noise", "large = high load"),
    "pixel_noise": AxisLabel("Pixel noise", "large = high load"),
    "batch_size": AxisLabel("Batch size", "small = hot", large_on_top=False),
    "learning_rate": AxisLabel("Learning rate", "large = hot"),
    "linear_scaling": AxisLabel("Learning rate is for batch size", "none = for all"),
    "weight_decay": AxisLabel("Weight decay", "large = hot"),
}


_words: ContextVar[Words] = ContextVar("words", default=Words())  # noqa: B039 (frozen)


@contextmanager
def in_words(words: Words) -> Iterator[None]:
    """Use the terms of a task in labels and in :func:`reword` within this block."""
    before = _words.set(words)
    try:
        yield
    finally:
        _words.reset(before)


def reword(text: str) -> str:
    """Return a sentence that was written for classification in the terms of the current task."""
    return _words.get().reword(text)


def measure(name: str) -> Column:
    """Return the column of a measure with its texts in the terms of the current task, and a short unit.

    If the column has no title, its title is made from its name.
    """
    return _measure(name, EVERY.get(name), _words.get())


@cache  # pages ask for every number that they show
def _measure(name: str, column: Column | None, words: Words) -> Column:
    if column is None or not column.title:
        return Column("", "", "", title=words.reword(_sentence(name)))
    unit = words.reword(UNITS.get(column.unit, column.unit))
    return column._replace(title=words.reword(column.title), unit=unit, caption=words.reword(column.caption))


def axis(name: str) -> AxisLabel:
    """Return the label of an axis; if none is defined, one made from its column name."""
    return AXES.get(name, AxisLabel(_sentence(name)))


def measure_title(name: str, exponent: int = 0) -> str:
    """Return a title such as ``Training loss (nats)``, with an exponent ``Training loss (10⁻³ nats)``."""
    label = measure(name)
    power = f"10{str(exponent).translate(RAISED)} " if exponent else ""
    unit = f"{power}{label.unit}".strip()
    return f"{label.title} ({unit})" if unit else label.title


def axis_title(name: str) -> str:
    """Return a title such as ``Batch size (small = hot)``."""
    label = axis(name)
    return f"{label.title} ({label.hint})" if label.hint else label.title


def _sentence(name: str) -> str:
    words = words_of(name)
    return words[:1].upper() + words[1:]
