"""Pairs of sentences: cleaned, split by their own text, encoded as the task wants them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from explorer.data.base import prepare
from explorer.data.formats import subwords
from explorer.data.formats.translation import (
    SplitOptions,
    TranslationOptions,
    clean_pairs,
    encode_pairs,
    sentence_key,
    split_pairs,
    without,
)
from explorer.settings import InputError

NUMBERS = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def plural(count: int) -> list[tuple[str, str]]:
    """Numbers, digit by digit, in German and English."""
    digits = [[int(d) for d in str(i)] for i in range(count)]
    return [(" ".join(NUMBERS[d] for d in row), " ".join(ENGLISH[d] for d in row)) for row in digits]


def test_pairs_are_cleaned_and_what_is_left_out_is_counted() -> None:
    pairs = [
        ("  Das   ist\tgut ", "That is\u00a0good"),
        ("Das ist gut", "That is good"),
        ("", "nothing"),
        ("nichts", "  "),
        ("Name", "Name"),
        ("Cafe\u0301", "coffee house"),
    ]
    kept, left_out = clean_pairs(pairs)
    assert kept == [("Das ist gut", "That is good"), ("Caf\u00e9", "coffee house")]
    assert left_out == {"duplicate": 1, "empty": 2, "with the same text on both sides": 1}
    assert ("Name", "Name") in clean_pairs(pairs, identical=True)[0]


def test_the_split_does_not_move_when_pairs_are_added_or_sorted_otherwise() -> None:
    options = SplitOptions(test_size=0.3)
    train, test = split_pairs(plural(300), options)
    assert 60 < len(test) < 120
    assert sorted(train + test) == sorted(plural(300))
    more_train, more_test = split_pairs(plural(600)[::-1], options)
    assert set(train) <= set(more_train)
    assert set(test) <= set(more_test)
    assert set(split_pairs(plural(300), SplitOptions(test_size=0.3, split_seed=1))[1]) != set(test)


def test_no_source_sentence_is_in_both_parts() -> None:
    pairs = [
        (form, f"{target} {number}")
        for number, (source, target) in enumerate(plural(200))
        for form in (source, source.upper(), f"{source}!")
    ]
    train, test = split_pairs(pairs, SplitOptions(test_size=0.5))
    assert not {sentence_key(source) for source, _ in train} & {sentence_key(source) for source, _ in test}
    left_out: Counter[str] = Counter()
    assert without([("A b.", "x"), ("c", "y")], [("a B", "z")], left_out) == [("c", "y")]
    assert left_out == {"with a source that is in the test set": 1}


def test_arrays_have_the_tasks_shape_and_marks() -> None:
    train, test = plural(200)[:150], plural(200)[150:]
    options = TranslationOptions(length=6, vocabulary=150)
    encoded = encode_pairs(train, test, Counter(), options, "numbers")
    arrays = encoded
    assert arrays.x_train.shape == (150, 2, 6)
    assert arrays.y_train.shape == (150, 6)
    assert arrays.x_train.dtype == arrays.y_train.dtype == np.int64
    assert arrays.classes == subwords.size(arrays.vocabulary) <= 150
    for x, y, (source, target) in zip(arrays.x_test, arrays.y_test, test, strict=True):
        assert subwords.decode(arrays.vocabulary, x[0]) == source
        assert subwords.decode(arrays.vocabulary, x[1]) == subwords.decode(arrays.vocabulary, y) == target
        end = int((y >= 0).sum()) - 1
        assert y[end] == subwords.EOS
        assert (y[end + 1 :] == -100).all()
        assert x[1, 0] == subwords.BOS
        assert np.array_equal(x[1, 1 : end + 1], y[:end])
        assert (x[1, end + 1 :] == subwords.PAD).all()


def test_long_pairs_are_left_out_and_counted_and_do_not_change_the_vocabulary() -> None:
    train, test = plural(1200)[:1100], plural(1200)[1100:]
    long, short = (
        encode_pairs(
            train,
            [*test, ("eins", "one")],
            Counter(),
            TranslationOptions(length=length, vocabulary=150),
            "",
        )
        for length in (8, 4)
    )
    assert "too long" not in long.describe()
    assert len(short.x_train) == 1000
    assert short.vocabulary == long.vocabulary
    assert "1,000 training and 1 test pairs" in short.describe()
    assert "200 too long" in short.describe()  # four words and an end


def test_a_subset_is_drawn_and_nothing_else_is_changed() -> None:
    options = TranslationOptions(length=6, vocabulary=150)
    clean = encode_pairs(plural(200)[:150], plural(200)[150:], Counter(), options, "")
    half, tenth = (
        prepare(clean, TranslationOptions(length=6, vocabulary=150, train_size=n), "numbers")
        for n in (75, 15)
    )
    assert half.vocabulary == clean.vocabulary
    assert np.array_equal(half.x_train[:15], tenth.x_train)
    assert np.array_equal(half.x_test, clean.x_test)
    rows = {row.tobytes() for row in clean.x_train}
    assert {row.tobytes() for row in half.x_train} < rows
    both = {(x.tobytes(), y.tobytes()) for x, y in zip(clean.x_train, clean.y_train, strict=True)}
    assert {(x.tobytes(), y.tobytes()) for x, y in zip(half.x_train, half.y_train, strict=True)} < both
    first = TranslationOptions(length=6, vocabulary=150, train_size=20, subset="first")
    assert np.array_equal(prepare(clean, first, "numbers").x_train, clean.x_train[:20])


def test_settings_of_other_tasks_are_refused() -> None:
    assert not {"label_noise", "pixel_noise", "classes", "balanced", "standardise"} & set(
        TranslationOptions.model_fields
    )
    assert set(TranslationOptions(train_size=5).source()) == {"length", "vocabulary"}


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ([], [], "0 training and 0 test pairs are left; .*left out: 7 duplicate"),
        ([("a b", "c d")] * 2, [], "2 training and 0 test pairs"),
        ([("eins zwei drei vier fünf", "one")] * 2, [("a", "b")], "0 training.*2 too long"),
    ],
)
def test_a_corpus_of_which_too_little_is_left_is_refused(
    train: list[tuple[str, str]], test: list[tuple[str, str]], said: str
) -> None:
    with pytest.raises(InputError, match=f"mine: {said}"):
        encode_pairs(train, test, Counter({"duplicate": 7}), TranslationOptions(length=4), "mine")
