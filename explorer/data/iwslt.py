"""IWSLT 2014, German and English: transcripts of talks and their translations (Cettolo et al., 2014).

The archive is the one of fairseq's recipe. Its authors publish no checksum; the MD5 here is from a public
reproduction of that recipe. A file in ``EXPLORER_DATA`` is used unchecked.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from explorer.data.formats.files import Source
from explorer.data.formats.published import Pairs, PublishedOptions, PublishedText, TestPairs, pair_up
from explorer.data.formats.readers import read_members
from explorer.data.formats.reading import lines
from explorer.data.formats.translation import Length, SentencePair, Vocabulary

TASKS = ("translation",)
LANGUAGES = ("de", "en")
TESTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")  # the usual test set
SEGMENT = re.compile(r"<seg id=[^>]*>(.*?)</seg>")


class Options(PublishedOptions):
    """Up to about 160,000 training pairs, and 6,750 test pairs before long ones are removed."""

    length: Length = 64
    vocabulary: Vocabulary = 10_000
    pairs: Pairs = 150_000
    test_pairs: TestPairs = 6_000


def _read(archive: Path) -> tuple[list[SentencePair], list[SentencePair]]:
    trains = [f"train.tags.de-en.{language}" for language in LANGUAGES]
    tests = [f"IWSLT14.{test}.de-en.{language}.xml" for test in TESTS for language in LANGUAGES]
    german, english, *others = map(lines, read_members(archive, [*trains, *tests]), [*trains, *tests])
    train = pair_up(_sentences(german), _sentences(english), archive)
    test = [
        pair
        for german, english in zip(others[::2], others[1::2], strict=True)
        for pair in pair_up(_segments(german), _segments(english), archive)
    ]
    return train, test


def _sentences(lines: list[str]) -> list[str]:
    """Return the lines of a training file, except those that begin with a tag and describe the talk."""
    return [line for line in lines if not line.lstrip().startswith("<")]


def _segments(lines: list[str]) -> list[str]:
    """Return the segments of a test file, which has at most one per line."""
    return [html.unescape(match.group(1)) for match in map(SEGMENT.search, lines) if match]


SOURCE = Source(
    name="iwslt",
    title="IWSLT 2014",
    url="https://dl.fbaipublicfiles.com/fairseq/data/iwslt14/",
    checksums={"de-en.tgz": "md5:10936dfdf616504ddbd844e91b94ef4a"},
    page="https://github.com/facebookresearch/fairseq/blob/main/examples/translation/prepare-iwslt14.sh",
)
TEXT = PublishedText(SOURCE, read=_read)
available, load = TEXT.available, TEXT.load
