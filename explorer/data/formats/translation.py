"""Parallel text: cleaning, splitting and encoding of sentence pairs for an encoder-decoder network."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from explorer.data.base import SubsetOptions
from explorer.data.dataset import Arrays
from explorer.data.formats import subwords
from explorer.data.formats.reading import content_hashes
from explorer.data.targets import IGNORED
from explorer.settings import InputError, digest, seed_for

SentencePair = tuple[str, str]  # source, target
Length = Annotated[
    int,
    Field(
        ge=4,
        le=1024,
        description="maximum number of tokens per sentence, with its end mark; longer pairs are removed",
    ),
]
Vocabulary = Annotated[
    int,
    Field(
        ge=64,
        le=100_000,
        description="number of subword units, shared by both languages, learned from all training pairs",
    ),
]


class TranslationOptions(SubsetOptions):
    """Settings of any data set of parallel text."""

    length: Length = 32
    vocabulary: Vocabulary = 2000


class SplitOptions(TranslationOptions):
    """Settings of parallel text without its own test set."""

    test_size: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="share of the source sentences used for testing, chosen by a hash of their text",
    )
    split_seed: int = Field(default=0, ge=0, description="seed of the choice of test sentences")


@dataclass(frozen=True)
class UserText:
    """A user's parallel text: the functions that its data set needs.

    Args:
        files: returns the files to read, given the options.
        encode: returns the encoded text, given the options of the clean data and a hash of the files. Both
            are the key of its cache.
    """

    files: Callable[[Any], Sequence[Path | str]]
    encode: Callable[[Any, str], Arrays]

    def fingerprint(self, options: Any) -> str:
        """Return a hash of the files' contents."""
        return digest(content_hashes(self.files(options)))

    def available(self, options: Any) -> tuple[int, int]:
        """Return the numbers of training and test pairs after cleaning."""
        return self.load(options).sizes

    def load(self, options: Any) -> Arrays:
        """Return arrays of tokens (see :func:`encode_pairs`).

        Raises:
            InputError: a file is missing or cannot be read, or too few pairs are left.
        """
        return self.encode(options.clean(), self.fingerprint(options))


def _in_words(left_out: Counter[str]) -> str:
    """Return the numbers of removed pairs by reason, the most frequent first."""
    return ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common() if count) or "nothing"


def clean_pairs(
    pairs: Iterable[SentencePair], *, identical: bool = False
) -> tuple[list[SentencePair], Counter[str]]:
    """Normalise spaces and Unicode (NFC); remove empty and duplicate pairs, and count the removed ones.

    Args:
        identical: keep pairs whose two sentences are the same.
    """
    clean: dict[SentencePair, None] = {}
    left_out: Counter[str] = Counter()
    for pair in pairs:
        source, target = (" ".join(unicodedata.normalize("NFC", text).split()) for text in pair)
        if not source or not target:
            left_out["empty"] += 1
        elif source == target and not identical:
            left_out["with the same text on both sides"] += 1
        elif (source, target) in clean:
            left_out["duplicate"] += 1
        else:
            clean[source, target] = None
    return list(clean), left_out


def sentence_key(text: str) -> str:
    """Return a sentence without case, spacing and punctuation. Sentences with the same key count as equal."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip() or text


def split_pairs(
    pairs: Sequence[SentencePair], options: SplitOptions
) -> tuple[list[SentencePair], list[SentencePair]]:
    """Split pairs into training and test pairs, in their order.

    The hash of the source sentence alone decides. Pairs that are added later move no other pair, and no
    source sentence is in both parts, not even with different case or punctuation.
    """
    parts: tuple[list[SentencePair], list[SentencePair]] = [], []
    for pair in pairs:
        share = seed_for("test", options.split_seed, sentence_key(pair[0])) / 2**63
        parts[share < options.test_size].append(pair)
    return parts


def without(
    train: Sequence[SentencePair], test: Sequence[SentencePair], left_out: Counter[str]
) -> list[SentencePair]:
    """Return the training pairs whose source is not among the test pairs; count the others."""
    test_keys = {sentence_key(source) for source, _ in test}
    rest = [pair for pair in train if sentence_key(pair[0]) not in test_keys]
    left_out["with a source that is in the test set"] += len(train) - len(rest)
    return rest


def encode_pairs(
    train: Sequence[SentencePair],
    test: Sequence[SentencePair],
    left_out: Counter[str],
    options: TranslationOptions,
    title: str,
) -> Arrays:
    """Return arrays of tokens: x (pairs, 2, length), y (pairs, length).

    ``x[:, 0]`` is the source and ``x[:, 1]`` the target after a beginning mark, both padded with 0. ``y`` is
    the target followed by an end mark, padded with -100. The units are learned from all training pairs,
    including long ones, and so do not depend on ``train_size`` or ``length``.

    Args:
        left_out: numbers of pairs that were removed before, by reason.

    Raises:
        InputError: fewer than two training pairs or no test pair are left.
    """
    left_out = left_out.copy()
    _check_enough(train, test, left_out, title)
    vocabulary = subwords.learn((text for pair in train for text in pair), options.vocabulary)
    short, short_test = (_encode(vocabulary, pairs, options.length, left_out) for pairs in (train, test))
    _check_enough(short, short_test, left_out, title)
    (x_train, y_train), (x_test, y_test) = (_pad(pairs, options.length) for pairs in (short, short_test))
    units = subwords.size(vocabulary)
    remark = f"left out: {_in_words(left_out)}"
    return Arrays(x_train, y_train, x_test, y_test, units, vocabulary=vocabulary, remark=remark)


TokenPair = tuple[list[int], list[int]]  # of source and target


def _check_enough(
    train: Sequence[object], test: Sequence[object], left_out: Counter[str], title: str
) -> None:
    if len(train) < 2 or not test:
        raise InputError(
            f"{title}: {len(train)} training and {len(test)} test pairs are left; 2 and 1 are needed; "
            f"left out: {_in_words(left_out)}"
        )


def _encode(
    vocabulary: str, pairs: Sequence[SentencePair], length: int, left_out: Counter[str]
) -> list[TokenPair]:
    """Encode the pairs that are not too long; count the others."""
    sources, targets = (subwords.encode(vocabulary, texts) for texts in zip(*pairs, strict=True))
    short = [
        (source, target)
        for source, target in zip(sources, targets, strict=True)
        if len(source) <= length and len(target) < length
    ]
    left_out["too long"] += len(pairs) - len(short)
    return short


def _pad(pairs: Sequence[TokenPair], length: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.full((len(pairs), 2, length), subwords.PAD, np.int64)
    y = np.full((len(pairs), length), IGNORED, np.int64)
    for row, (source, target) in enumerate(pairs):
        x[row, 0, : len(source)] = source
        x[row, 1, : len(target) + 1] = [subwords.BOS, *target]
        y[row, : len(target) + 1] = [*target, subwords.EOS]
    return x, y
