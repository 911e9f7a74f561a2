"""Windows of characters: each is predicted from those before it; the end of the text is for testing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from explorer.data import text
from explorer.data.base import prepare
from explorer.data.formats import subwords
from explorer.settings import InputError

TEXT = "Es war einmal ein kleines Mädchen.\n" * 10 + "Ω" * 36


def written(folder: Path, content: bytes = TEXT.encode(), **settings: object) -> text.Options:
    path = folder / "own.txt"
    path.write_bytes(content)
    return text.Options.model_validate({"path": str(path), "length": 5, **settings})


def test_windows_do_not_overlap_and_targets_are_the_next_characters(tmp_path: Path) -> None:
    options = written(tmp_path)
    arrays = text.load(options)
    cut = round(len(TEXT) * 0.9)
    decoded = subwords.decode(arrays.vocabulary, arrays.x_train.ravel().tolist())
    assert decoded == TEXT[: len(decoded)]
    assert 0 < cut - len(decoded) <= 5
    following = subwords.decode(arrays.vocabulary, arrays.y_train.ravel().tolist())
    assert following == TEXT[1 : len(decoded) + 1]
    assert arrays.x_train.shape == arrays.y_train.shape == (len(decoded) // 5, 5)
    assert arrays.x_train.dtype == np.int64
    assert text.available(options) == (len(arrays.x_train), len(arrays.x_test))


def test_characters_of_the_end_alone_are_unknown(tmp_path: Path) -> None:
    arrays = text.load(written(tmp_path))
    characters = json.loads(arrays.vocabulary)
    assert "Ω" not in characters
    assert characters == [subwords.MISSING, *sorted(set(TEXT) - {"Ω"})]
    assert arrays.classes == len(characters)
    assert set(arrays.y_test[1:].ravel()) == {0}
    assert 0 not in arrays.y_train


def test_a_subset_is_nested_and_keeps_the_vocabulary(tmp_path: Path) -> None:
    clean = text.load(written(tmp_path))
    large, small = (prepare(clean, written(tmp_path, train_size=n), "text") for n in (30, 10))
    assert np.array_equal(large.x_train[:10], small.x_train)
    assert (large.vocabulary, len(large.x_test)) == (clean.vocabulary, len(clean.x_test))


def test_the_text_is_the_identity_not_its_name(tmp_path: Path) -> None:
    first = text.fingerprint(written(tmp_path))
    assert text.fingerprint(written(tmp_path, TEXT.replace("\n", "\r\n").encode())) == first
    assert text.fingerprint(written(tmp_path, b"\xef\xbb\xbf" + TEXT.encode())) == first
    assert text.fingerprint(written(tmp_path, (TEXT + "x").encode())) != first


def test_python_has_a_text_with_it() -> None:
    options = text.Options()
    arrays = text.load(options)
    assert len(arrays.x_train) > 3000
    assert 60 < arrays.classes < 300
    assert "statement" in subwords.decode(arrays.vocabulary, arrays.x_train[:200].ravel().tolist())
    assert text.fingerprint(options) == text.fingerprint(text.Options(length=9))


def test_without_it_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match="set path to a text"):
        text.available(text.Options())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 characters give 0 training and 0 test windows of length 5"),
        (b"short", "5 characters give 0 training"),
        (b"a" * 40, "7 training and 0 test"),
        (TEXT.encode("latin-1", "replace"), "is not UTF-8: byte 0xe4 in line 1"),
    ],
)
def test_a_file_that_will_not_do_is_told(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        text.available(written(tmp_path, content))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt cannot be read: No such file"):
        text.available(text.Options(path=str(tmp_path / "none.txt")))
