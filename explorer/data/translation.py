"""Parallel text: pairs of sentences, cleaned, split, and encoded for an encoder-decoder network."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from explorer.data import subwords
from explorer.data.dataset import Arrays
from explorer.data.sequences import SequenceOptions
from explorer.settings import InputError, seed_for

Pair = tuple[str, str]  # source, target
IGNORED = -100  # target of a place that is not scored


Length = Annotated[
    int,
    Field(
        ge=4,
        le=1024,
        description="most tokens of a sentence with its end; a pair with a longer one is left out",
    ),
]
Vocabulary = Annotated[
    int,
    Field(
        ge=64,
        le=100_000,
        description="subword units of both languages together, learned from all training pairs",
    ),
]


class TranslationOptions(SequenceOptions):
    """Settings of any data set of parallel text."""

    length: Length = 32
    vocabulary: Vocabulary = 2000


class SplitOptions(TranslationOptions):
    """Settings of parallel text that has no test set of its own."""

    test_size: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="share of the source sentences kept for testing; which ones, their text decides",
    )
    split_seed: int = Field(default=0, ge=0, description="another number keeps other sentences for testing")


@dataclass(frozen=True)
class Corpus:
    """Pairs to train on and to test on, and how many were left out for which reason."""

    train: list[Pair]
    test: list[Pair]
    left_out: Counter[str]


@dataclass(frozen=True)
class Encoded:
    """The arrays of a corpus, and how many pairs were left out for which reason."""

    arrays: Arrays
    left_out: Counter[str]

    def describe(self) -> str:
        """Numbers of pairs and of units, and what was left out, in one line."""
        arrays = self.arrays
        return (
            f"{len(arrays.x_train):,} training and {len(arrays.x_test):,} test pairs, "
            f"{arrays.classes:,} subword units; left out: {told(self.left_out)}"
        )


def told(left_out: Counter[str]) -> str:
    """Numbers of pairs left out, by reason, the most frequent first."""
    return ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common() if count) or "nothing"


def clean_pairs(pairs: Iterable[Pair], *, identical: bool = False) -> tuple[list[Pair], Counter[str]]:
    """Pairs with single spaces, in Unicode's composed form; none of them empty, none there twice.

    Args:
        identical: keep pairs whose two sentences are the same.
    """
    kept: dict[Pair, None] = {}
    left_out: Counter[str] = Counter()
    for pair in pairs:
        source, target = (" ".join(unicodedata.normalize("NFC", text).split()) for text in pair)
        if not source or not target:
            left_out["empty"] += 1
        elif source == target and not identical:
            left_out["with the same text on both sides"] += 1
        elif (source, target) in kept:
            left_out["there already"] += 1
        else:
            kept[source, target] = None
    return list(kept), left_out


def sentence_key(text: str) -> str:
    """A sentence without case, spaces and punctuation: sentences that differ in no more are one."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip() or text


def split_pairs(pairs: Sequence[Pair], options: SplitOptions) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training and for testing, each in their order.

    The source sentence alone decides, by its hash: pairs added later move none, and no source sentence is
    in both, even in other case or punctuation.
    """
    parts: tuple[list[Pair], list[Pair]] = [], []
    for pair in pairs:
        drawn = seed_for("test", options.split_seed, sentence_key(pair[0])) / 2**63
        parts[drawn < options.test_size].append(pair)
    return parts


def without(train: Sequence[Pair], test: Sequence[Pair], left_out: Counter[str]) -> list[Pair]:
    """Training pairs whose source sentence is not among the test pairs; the others are counted."""
    tested = {sentence_key(source) for source, _ in test}
    kept = [pair for pair in train if sentence_key(pair[0]) not in tested]
    left_out["with a source that is in the test set"] += len(train) - len(kept)
    return kept


def encode_corpus(corpus: Corpus, options: TranslationOptions, title: str) -> Encoded:
    """Arrays of tokens: x (pairs, 2, length), y (pairs, length).

    ``x[:, 0]`` is the source, ``x[:, 1]`` the target after a beginning mark, both padded with 0; ``y`` is the
    target before its end mark, padded with -100. The units are learned from the training pairs, long ones
    too, so that they do not depend on ``train_size`` or ``length``.

    Raises:
        InputError: fewer than two training pairs or no test pair are left.
    """
    left_out = Counter(corpus.left_out)
    _enough(corpus.train, corpus.test, left_out, title)
    vocabulary = subwords.learn((text for pair in corpus.train for text in pair), options.vocabulary)
    train, test = (
        _short(vocabulary, pairs, options.length, left_out) for pairs in (corpus.train, corpus.test)
    )
    _enough(train, test, left_out, title)
    (x_train, y_train), (x_test, y_test) = (_padded(pairs, options.length) for pairs in (train, test))
    units = subwords.size(vocabulary)
    return Encoded(Arrays(x_train, y_train, x_test, y_test, classes=units, vocabulary=vocabulary), left_out)


Tokens = tuple[list[int], list[int]]  # of source and target


def _enough(train: Sequence[object], test: Sequence[object], left_out: Counter[str], title: str) -> None:
    if len(train) < 2 or not test:
        raise InputError(
            f"{title}: {len(train)} training and {len(test)} test pairs are left; 2 and 1 are needed; "
            f"left out: {told(left_out)}"
        )


def _short(vocabulary: str, pairs: Sequence[Pair], length: int, left_out: Counter[str]) -> list[Tokens]:
    sources, targets = (subwords.encode(vocabulary, texts) for texts in zip(*pairs, strict=True))
    kept = [
        (source, target)
        for source, target in zip(sources, targets, strict=True)
        if len(source) <= length and len(target) < length
    ]
    left_out["too long"] += len(pairs) - len(kept)
    return kept


def _padded(pairs: Sequence[Tokens], length: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.full((len(pairs), 2, length), subwords.PAD, np.int64)
    y = np.full((len(pairs), length), IGNORED, np.int64)
    for row, (source, target) in enumerate(pairs):
        x[row, 0, : len(source)] = source
        x[row, 1, : len(target) + 1] = [subwords.BOS, *target]
        y[row, : len(target) + 1] = [*target, subwords.EOS]
    return x, y
