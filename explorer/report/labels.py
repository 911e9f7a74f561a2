"""What a reader is told of each axis and measure: title, unit, number format, palette, what to see.

What is said of a measure stands in its own file; an axis needs a line in ``AXES`` only where its plain column
name would not do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from explorer.measures.tables import EVERY
from explorer.phases import spoken
from explorer.tasks import Words


class Measure(NamedTuple):
    """What pages say of a column (:class:`explorer.columns.Column`). The unit is as short as in titles."""

    title: str
    unit: str
    see: str
    log: bool = False
    diverging: bool = False
    digits: int | None = None


class Axis(NamedTuple):
    """``hint`` says which end is hot or loaded. Hot is on top in a map, so batch size counts downwards."""

    title: str
    hint: str = ""
    large_on_top: bool = True


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

UNITS = {"percent": "%", "percentage points": "points"}

AXES: dict[str, Axis] = {
    "width": Axis("Width", "small = high load"),
    "train_size": Axis("Training-set size"),
    "label_noise": Axis("Label noise", "large = high load"),
    "pixel_noise": Axis("Pixel noise", "large = high load"),
    "batch_size": Axis("Batch size", "small = hot", large_on_top=False),
    "learning_rate": Axis("Learning rate", "large = hot"),
    "weight_decay": Axis("Weight decay", "large = hot"),
}


_words: ContextVar[Words] = ContextVar("words", default=Words())  # noqa: B039 (frozen)


@contextmanager
def in_words(words: Words) -> Iterator[None]:
    """Inside, labels and :func:`said` speak of a task in its own words."""
    before = _words.set(words)
    try:
        yield
    finally:
        _words.reset(before)


def said(text: str) -> str:
    """A sentence written for classification, in the words of the task that is drawn."""
    return _words.get().say(text)


def measure(name: str) -> Measure:
    """The label of a measure; one made from its column name where none is written down."""
    known = EVERY.get(name)
    if known is None or not known.title:
        return Measure(said(_sentence(name)), "", "")
    unit = UNITS.get(known.unit, known.unit)
    return Measure(said(known.title), said(unit), said(known.see), known.log, known.diverging, known.digits)


def axis(name: str) -> Axis:
    """The label of an axis; one made from its column name where none is written down."""
    return AXES.get(name, Axis(_sentence(name)))


def measure_title(name: str, exponent: int = 0) -> str:
    """``Training loss (nats)``, with an exponent ``Training loss (10⁻³ nats)``."""
    label = measure(name)
    power = f"10{str(exponent).translate(RAISED)} " if exponent else ""
    unit = f"{power}{label.unit}".strip()
    return f"{label.title} ({unit})" if unit else label.title


def axis_title(name: str) -> str:
    """``Batch size (small = hot)``."""
    label = axis(name)
    return f"{label.title} ({label.hint})" if label.hint else label.title


def _sentence(name: str) -> str:
    words = spoken(name)
    return words[:1].upper() + words[1:]
