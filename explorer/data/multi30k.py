"""Multi30k: captions of photographs in German and English (Elliott et al., 2016).

The files come from a mirror, because the authors' server is gone. The checksums are those of torchtext.
"""

from __future__ import annotations

from pathlib import Path

from explorer.data.formats.files import Source
from explorer.data.formats.published import Pairs, PublishedOptions, PublishedText, TestPairs, pair_up
from explorer.data.formats.readers import read_members
from explorer.data.formats.reading import lines
from explorer.data.formats.translation import Length, SentencePair, Vocabulary

TASKS = ("translation",)


class Options(PublishedOptions):
    """29,000 training and 1,000 test pairs before duplicate and long ones are removed."""

    length: Length = 48
    vocabulary: Vocabulary = 8_000
    pairs: Pairs = 28_000
    test_pairs: TestPairs = 950


def _read(train: Path, test: Path) -> tuple[list[SentencePair], list[SentencePair]]:
    return _read_part(train, ["train.de", "train.en"]), _read_part(test, ["test.de", "test.en"])


def _read_part(archive: Path, names: list[str]) -> list[SentencePair]:
    german, english = map(lines, read_members(archive, names), names)
    return pair_up(german, english, archive)


SOURCE = Source(
    name="multi30k",
    title="Multi30k",
    url="https://raw.githubusercontent.com/neychev/small_DL_repo/master/datasets/Multi30k/",
    checksums={
        "training.tar.gz": "sha256:20140d013d05dd9a72dfde46478663ba05737ce983f478f960c1123c6671be5e",
        "mmt16_task1_test.tar.gz": "sha256:6d1ca1dba99e2c5dd54cae1226ff11c2551e6ce63527ebb072a1f70f72a5cd36",
    },
    page="https://github.com/neychev/small_DL_repo/tree/master/datasets/Multi30k",
)
TEXT = PublishedText(SOURCE, read=_read)
available, load = TEXT.available, TEXT.load
