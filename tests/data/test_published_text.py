"""IWSLT and Multi30k: downloaded from a server of this test, in small files of the real formats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from serving import Server, serving
from small_sets import archive
from test_translation import plural

from explorer.data import iwslt, multi30k
from explorer.data.formats import published, subwords
from explorer.settings import InputError

PAIRS = plural(400)
TRAIN, TEST = PAIRS[:300], [*PAIRS[300:350], PAIRS[0]]  # one source is in both


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


def text(sentences: list[str]) -> bytes:
    return "".join(sentence + "\n" for sentence in sentences).encode()


def made_multi30k() -> dict[str, bytes]:
    files = {}
    for name, part, pairs in (("training", "train", TRAIN), ("mmt16_task1_test", "test", TEST)):
        german, english = zip(*pairs, strict=True)
        members = {
            f"{part}.de": text(list(german)),
            f"{part}.en": text(list(english)),
            f"._{part}.de": b"\0",  # as the real archives have them
        }
        files[f"{name}.tar.gz"] = archive(members)
    return files


def made_iwslt() -> dict[str, bytes]:
    members = {"de-en/README": b"..."}
    for place, language in enumerate(("de", "en")):
        talk = ["<url>http://x</url>", "<keywords>a, b</keywords>", "<title>Zahlen &amp; mehr</title>"]
        sentences = [f" {pair[place]} " for pair in TRAIN]
        members[f"de-en/train.tags.de-en.{language}"] = text(
            [*talk, *sentences[:100], *talk, *sentences[100:]]
        )
        for number, name in enumerate(iwslt.TESTS):
            part = TEST[number * 11 : (number + 1) * 11]
            segments = [f'<seg id="{i + 1}"> {pair[place]} </seg>' for i, pair in enumerate(part)]
            body = ['<?xml version="1.0"?>', '<doc docid="1">', "<title>Zahlen</title>", *segments, "</doc>"]
            members[f"de-en/IWSLT14.{name}.de-en.{language}.xml"] = text(body)
    return {"de-en.tgz": archive(members)}


SETS = {"iwslt": (iwslt, made_iwslt), "multi30k": (multi30k, made_multi30k)}
SMALL = {"vocabulary": 150, "length": 8, "pairs": 290, "test_pairs": 51}


def serve(
    module: ModuleType, content: dict[str, bytes], server: Server, patch: pytest.MonkeyPatch, cache: Path
) -> None:
    import pooch

    server.content.update(content)
    sums = {name: "sha256:" + hashlib.sha256(raw).hexdigest() for name, raw in content.items()}
    patch.setattr(module.TEXT, "source", replace(module.SOURCE, url=server.url, checksums=sums))
    patch.setattr(pooch, "os_cache", lambda project: cache / project)
    patch.delenv("EXPLORER_DATA", raising=False)
    published._load.cache_clear()


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_downloaded_once_and_read_exactly(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, make = SETS[name]
    serve(module, make(), server, monkeypatch, tmp_path)
    options = module.Options(**SMALL)
    arrays = module.load(options)
    decoded = [
        [subwords.decode(arrays.vocabulary, row) for row in rows]
        for rows in (arrays.x_train[:, 0], arrays.y_train, arrays.x_test[:, 0], arrays.y_test)
    ]
    train = TRAIN[1:291]  # the first one's source is tested
    assert decoded[0] == [german for german, _ in train]
    assert decoded[1] == [english for _, english in train]
    assert list(zip(*decoded[2:], strict=True)) == TEST
    assert module.available(options) == (290, 51) == (len(arrays.x_train), len(arrays.x_test))
    assert len(server.asked) == len(module.SOURCE.checksums)
    published._load.cache_clear()
    module.load(options)
    assert len(server.asked) == len(module.SOURCE.checksums)


@pytest.mark.parametrize("name", SETS)
def test_the_direction_turns(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, make = SETS[name]
    serve(module, make(), server, monkeypatch, tmp_path)
    arrays = module.load(module.Options(**SMALL, into="german"))
    assert subwords.decode(arrays.vocabulary, arrays.x_test[0, 0]) == TEST[0][1]
    assert subwords.decode(arrays.vocabulary, arrays.y_test[0]) == TEST[0][0]


@pytest.mark.parametrize("name", SETS)
def test_more_pairs_than_are_left_are_refused(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, make = SETS[name]
    serve(module, make(), server, monkeypatch, tmp_path)
    with pytest.raises(
        InputError,
        match=r"pairs asks for 300; there are 299 training and 51 test pairs.*1 with a source that is in the test",
    ):
        module.load(module.Options(**{**SMALL, "pairs": 300}))
    with pytest.raises(InputError, match=r"test_pairs asks for 52"):
        module.load(module.Options(**{**SMALL, "test_pairs": 52}))


@pytest.mark.parametrize("name", SETS)
def test_a_space_can_be_checked_without_the_files(name: str) -> None:
    module, _ = SETS[name]
    options = module.Options()
    assert module.available(options) == (options.pairs, options.test_pairs)


@pytest.mark.parametrize("name", SETS)
def test_without_a_network_the_message_gives_the_manual_way(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, make = SETS[name]
    content = make()
    serve(module, content, server, monkeypatch, tmp_path)
    monkeypatch.setattr(module.TEXT, "source", replace(module.TEXT.source, url="http://127.0.0.1:9/"))
    with pytest.raises(InputError) as caught:
        module.load(module.Options(**SMALL))
    for part in (module.SOURCE.title, *content, module.SOURCE.page, "EXPLORER_DATA"):
        assert part in str(caught.value)
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path / "own"))
    (tmp_path / "own" / name).mkdir(parents=True)
    for file, raw in content.items():
        (tmp_path / "own" / name / file).write_bytes(raw)
    assert len(module.load(module.Options(**SMALL)).x_train) == 290


def test_archives_whose_two_languages_do_not_go_together_are_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = made_multi30k()
    content["training.tar.gz"] = archive({"train.de": b"eins\nzwei\n", "train.en": b"one\n"})
    serve(multi30k, content, server, monkeypatch, tmp_path)
    with pytest.raises(InputError, match="2 German and 1 English sentences"):
        multi30k.load(multi30k.Options(**SMALL))
    content["training.tar.gz"] = archive({"train.de": b"eins\n"})
    serve(multi30k, content, server, monkeypatch, tmp_path)
    with pytest.raises(InputError, match=r"lacks train\.en"):
        multi30k.load(multi30k.Options(**SMALL))
