"""A user's own parallel text: each form is read, each mistake is said before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from test_translation import plural

from explorer.data import parallel
from explorer.data.formats import subwords
from explorer.data.parallel import read_pairs
from explorer.settings import InputError

PAIRS = [("Guten Tag!", "Good day!"), ("Die Datei ist leer", "The file is empty"), ("Ja", "Yes")]


def write(folder: Path, kind: str, pairs: list[tuple[str, str]], name: str = "own") -> dict[str, Any]:
    """Pairs as files of a form, and the options that read them."""
    path = folder / f"{name}.{kind}"
    if kind == "txt":
        both = [folder / f"{name}.{language}" for language in ("de", "en")]
        for place, file in enumerate(both):
            file.write_text("".join(pair[place] + "\n" for pair in pairs), encoding="utf-8")
        return {"path": tuple(map(str, both))}
    if kind == "tsv":
        path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
        return {"path": str(path)}
    german, english = map(list, zip(*pairs, strict=True))
    number = list(range(len(pairs)))
    pyarrow.parquet.write_table(pa.table({"id": number, "de": german, "en": english}), path)
    return {"path": str(path), "columns": ("de", "en")}


@pytest.mark.parametrize("kind", ["txt", "tsv", "parquet"])
def test_each_form_is_read_and_gives_the_same_data(kind: str, tmp_path: Path) -> None:
    found = write(tmp_path, kind, PAIRS)
    assert read_pairs(found["path"], found.get("columns")) == PAIRS
    options = parallel.Options(**write(tmp_path, kind, plural(300)), vocabulary=150, length=8)
    arrays = parallel.load(options)
    same = parallel.load(parallel.Options(**write(tmp_path, "txt", plural(300)), vocabulary=150, length=8))
    assert arrays.vocabulary == same.vocabulary
    assert arrays.x_train.tobytes() == same.x_train.tobytes()
    assert parallel.available(options) == (len(arrays.x_train), len(arrays.x_test))
    assert "91 subword units; left out: nothing" in arrays.describe()


def test_columns_are_chosen_by_number_or_name(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("nr\ten\tde\n1\tGood day\tGuten Tag\n", encoding="utf-8")
    assert read_pairs(str(table), (3, 2)) == [("de", "en"), ("Guten Tag", "Good day")]
    assert read_pairs(str(table), ("de", "en")) == [("Guten Tag", "Good day")]


def test_parquet_as_data_hubs_have_it(tmp_path: Path) -> None:
    path = tmp_path / "hub.parquet"
    rows = [{"de": a, "en": b} for a, b in PAIRS]
    pyarrow.parquet.write_table(pa.table({"translation": rows}), path)
    assert read_pairs(str(path), ("en", "de")) == [(b, a) for a, b in PAIRS]
    pyarrow.parquet.write_table(pa.table({"de": ["Ja", None], "en": ["Yes", "No"]}), path)
    assert read_pairs(str(path), None) == [("Ja", "Yes"), ("", "No")]


def test_lines_end_with_a_line_feed_and_nothing_else(tmp_path: Path) -> None:
    german, english = tmp_path / "a", tmp_path / "b"
    german.write_bytes("\ufeffeins\u2028zwei\x0bdrei\r\nJa".encode())
    english.write_bytes(b"one two three\nYes\n")
    assert read_pairs((str(german), str(english)), None) == [
        ("eins\u2028zwei\x0bdrei", "one two three"),
        ("Ja", "Yes"),
    ]


def test_a_test_set_of_its_own_is_used_and_kept_out_of_the_training(tmp_path: Path) -> None:
    test = plural(40)[20:]
    options = parallel.Options(
        **write(tmp_path, "tsv", plural(300)),
        test_path=write(tmp_path, "tsv", test, "test")["path"],
        vocabulary=150,
        length=8,
    )
    arrays = parallel.load(options)
    assert [subwords.decode(arrays.vocabulary, row) for row in arrays.y_test] == [b for _, b in test]
    assert parallel.available(options) == (280, 20)
    assert "20 with a source that is in the test set" in arrays.describe()


def test_the_fingerprint_follows_the_content_not_the_name(tmp_path: Path) -> None:
    first = parallel.fingerprint(parallel.Options(**write(tmp_path, "tsv", plural(30))))
    other_name = parallel.Options(**write(tmp_path, "tsv", plural(30), "other"))
    assert parallel.fingerprint(other_name) == first
    write(tmp_path, "tsv", plural(31), "other")
    assert parallel.fingerprint(other_name) != first


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (b"a\nb\n", b"c\n", "s has 2 lines, .*t has 1"),
        (b"", b"", "there are no lines"),
        (b"a\n\n", b"\nb\n", "0 training and 0 test pairs are left.*2 empty"),
        (b"a b\n" * 9, b"c d\n" * 9, "are left.*8 duplicate"),
        (b"same\n" * 3, b"same\n" * 3, "3 with the same text on both sides"),
        ("gut\nschön\n".encode("latin-1"), b"good\nnice\n", r"s is not UTF-8: byte 0xf6 in line 2 \(byte 7"),
        ("gut\n".encode("utf-16"), b"good\n", "byte 0xff in line 1"),
        (None, b"c\n", "s cannot be read: No such file"),
    ],
)
def test_a_bad_corpus_is_told_when_a_space_is_checked(
    source: bytes | None, target: bytes, said: str, tmp_path: Path
) -> None:
    for name, content in (("s", source), ("t", target)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    options = parallel.Options(path=(str(tmp_path / "s"), str(tmp_path / "t")))
    with pytest.raises(InputError, match=said):
        parallel.available(options)


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("a.tsv", "x\ty\nz\n", None, "line 2: 1 columns; column 2 is needed"),
        ("a.tsv", "x\ty\n", ("de", "en"), "no column 'de' in its first line; it has x, y"),
        ("a.tsv", "x\ty\n", (0, 1), "numbered from 1"),
        ("a.parquet", "no Parquet", None, "cannot be read as Parquet"),
        ("a.doc", "x", None, "two text files, .* or one .tsv or .parquet"),
    ],
)
def test_a_wrong_file_is_named(name: str, content: str, columns: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        parallel.available(parallel.Options(path=str(tmp_path / name), columns=columns))
    assert name in str(caught.value)


def test_columns_that_are_not_there_or_no_text_are_told(tmp_path: Path) -> None:
    found = write(tmp_path, "parquet", PAIRS)
    with pytest.raises(InputError, match="lacks columns of text id, en; set columns to two of: de, en"):
        read_pairs(found["path"], ("id", "en"))
    with pytest.raises(InputError, match="two text files have none"):
        read_pairs(write(tmp_path, "txt", PAIRS)["path"], (1, 2))
