"""Published parallel text, German and English, with its own test set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from explorer.data.dataset import Arrays
from explorer.data.formats.files import Source, locate
from explorer.data.formats.translation import (
    SentencePair,
    TranslationOptions,
    clean_pairs,
    encode_pairs,
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


@dataclass(eq=False)
class PublishedText:
    """Published parallel text and its files.

    ``read`` takes the paths of the files, in the order of ``source``, and returns the training and the test
    pairs (German, English).
    """

    source: Source
    read: Callable[..., tuple[list[SentencePair], list[SentencePair]]]

    def available(self, options: PublishedOptions) -> tuple[int, int]:
        """Return the numbers of training and test pairs."""
        return options.pairs, options.test_pairs

    def load(self, options: PublishedOptions) -> Arrays:
        """Return arrays of tokens (see :func:`explorer.data.formats.translation.encode_pairs`).

        The options give the direction and the number of pairs.

        Raises:
            InputError: a file is missing or damaged, or fewer pairs are left than the options ask for.
        """
        return _load(self, options.clean())


@functools.lru_cache(maxsize=2)
def _load(text: PublishedText, options: PublishedOptions) -> Arrays:
    title, parts = text.source.title, text.read(*locate(text.source))
    if options.into == "german":
        parts = [[(english, german) for german, english in part] for part in parts]
    (train, left_out), (test, left_out_of_test) = map(clean_pairs, parts)
    left_out += left_out_of_test
    arrays = encode_pairs(without(train, test, left_out), test, left_out, options, title)
    pairs, test_pairs = options.pairs, options.test_pairs
    for name, size, count in zip(("pairs", "test_pairs"), arrays.sizes, (pairs, test_pairs), strict=True):
        if size < count:
            raise InputError(f"{title}: {name} asks for {count:,}; there are {arrays.describe()}")
    return replace(
        arrays,
        x_train=arrays.x_train[:pairs],
        y_train=arrays.y_train[:pairs],
        x_test=arrays.x_test[:test_pairs],
        y_test=arrays.y_test[:test_pairs],
    )


def pair_up(german: list[str], english: list[str], archive: Path) -> list[SentencePair]:
    """Return the pairs of the sentences of an archive.

    Raises:
        InputError: the languages have different numbers of sentences.
    """
    if len(german) != len(english):
        raise InputError(f"{archive}: {len(german)} German and {len(english)} English sentences in one part")
    return list(zip(german, english, strict=True))
