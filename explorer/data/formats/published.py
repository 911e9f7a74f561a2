"""Published parallel text, German and English, with its own test set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from explorer.data.formats.translation import (
    Corpus,
    Encoded,
    Pair,
    TranslationOptions,
    clean_pairs,
    encode_corpus,
    without,
)
from explorer.settings import InputError

Pairs = Annotated[int, Field(ge=2, description="number of training pairs: the first after cleaning")]
TestPairs = Annotated[int, Field(ge=1, description="number of test pairs: the first after cleaning")]


class PublishedOptions(TranslationOptions):
    """Settings of published parallel text.

    The number of pairs after cleaning is known only when the files are present. It is a setting because a
    space must be checkable without the files.
    """

    pairs: Pairs
    test_pairs: TestPairs
    into: Literal["english", "german"] = Field(default="english", description="target language")


def encode_published(
    train: Sequence[Pair], test: Sequence[Pair], options: PublishedOptions, title: str
) -> Encoded:
    """Return the arrays of pairs (German, English), in the direction and number that the options give.

    Raises:
        InputError: fewer pairs are left than the options ask for.
    """
    parts: list[list[Pair]] = []
    left_out: Counter[str] = Counter()
    for part in (train, test):
        turned = part if options.into == "english" else [(english, german) for german, english in part]
        clean, more = clean_pairs(turned)
        parts.append(clean)
        left_out += more
    train, test = parts
    encoded = encode_corpus(Corpus(without(train, test, left_out), test, left_out), options, title)
    arrays, asked = encoded.arrays, (options.pairs, options.test_pairs)
    for name, x, count in zip(("pairs", "test_pairs"), (arrays.x_train, arrays.x_test), asked, strict=True):
        if len(x) < count:
            raise InputError(f"{title}: {name} asks for {count:,}; there are {encoded.describe()}")
    train_end, test_end = asked
    cut = replace(
        arrays,
        x_train=arrays.x_train[:train_end],
        y_train=arrays.y_train[:train_end],
        x_test=arrays.x_test[:test_end],
        y_test=arrays.y_test[:test_end],
    )
    return Encoded(cut, encoded.left_out)
