"""Subword units: from text to ids and back, and the same from the same."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from explorer.data.formats import subwords
from explorer.settings import InputError

TEXTS = [
    "Die Datei konnte nicht geöffnet werden.",
    "The file could not be opened.",
    "Die Datei ist leer, die Datei ist offen!",
    "The file is empty, the file is open!",
] * 5
LEARN = """
import sys, json
from explorer.data.formats import subwords
sys.stdout.write(subwords.learn(json.load(sys.stdin), 120))
"""


@pytest.mark.parametrize("text", [*TEXTS[:4], "ein Wort", "Datei 2024: (offen) – „leer“"])
def test_text_is_the_same_after_encoding_and_decoding(text: str) -> None:
    vocabulary = subwords.learn([*TEXTS, "0123456789:()–„“ Wort"], 120)
    (ids,) = subwords.encode(vocabulary, [text])
    assert subwords.decode(vocabulary, ids) == text
    assert min(ids) > subwords.UNK


def test_frequent_words_are_one_unit_and_the_number_of_units_is_kept() -> None:
    small, large = (subwords.learn(TEXTS, size) for size in (30, 200))
    assert subwords.size(small) <= 30 < subwords.size(large) <= 200
    words = ["Datei", "file"]
    assert [len(ids) for ids in subwords.encode(large, words)] == [1, 1]
    assert sum(len(ids) for ids in subwords.encode(small, words)) > 2


def test_unknown_characters_are_one_id_and_are_seen_in_the_text() -> None:
    vocabulary = subwords.learn(TEXTS, 120)
    (ids,) = subwords.encode(vocabulary, ["Datei 猫"])
    assert ids.count(subwords.UNK) == 1
    assert subwords.decode(vocabulary, ids) == "Datei <unk>"


def test_rare_characters_do_not_fill_the_vocabulary() -> None:
    many = "".join(chr(0x4E00 + i) for i in range(500))
    assert subwords.size(subwords.learn([*TEXTS, many], 100)) <= 100


def test_the_marks_of_sentences_cannot_come_from_text() -> None:
    vocabulary = subwords.learn([*TEXTS, "<eos> <pad> <bos> <unk>"] * 3, 200)
    (ids,) = subwords.encode(vocabulary, ["a <eos> b <pad> <bos> <unk>"])
    assert not set(ids) & {subwords.PAD, subwords.BOS, subwords.EOS}


def test_decoding_leaves_out_marks_and_stops_at_the_first_end() -> None:
    vocabulary = subwords.learn(TEXTS, 120)
    (ids,) = subwords.encode(vocabulary, ["Die Datei"])
    marked = [subwords.BOS, *ids, subwords.EOS, ids[0], subwords.PAD]
    assert subwords.decode(vocabulary, marked) == "Die Datei"
    assert subwords.decode(vocabulary, [*ids, -100, -100]) == "Die Datei"
    assert subwords.decode(vocabulary, [subwords.EOS]) == ""


def test_characters_are_decoded_one_by_one() -> None:
    vocabulary = json.dumps([subwords.MISSING, "a", "ä", "\n"], ensure_ascii=False)
    assert subwords.decode(vocabulary, [2, 1, 3, 0]) == "äa\n" + subwords.MISSING


def test_the_same_texts_give_the_same_vocabulary_in_any_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", LEARN],
            input=json.dumps(TEXTS + [f"Wort{i} word{i}" for i in range(300)]),
            env={"PATH": "", "PYTHONPATH": ":".join(sys.path), "TOKENIZERS_PARALLELISM": parallel},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for parallel in ("true", "false", "true")
    }
    assert len(found) == 1


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match="pip install tokenizers"):
        subwords.learn(TEXTS, 100)
