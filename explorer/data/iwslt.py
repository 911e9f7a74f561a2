"""IWSLT 2014, German and English: transcripts of talks and their translations (Cettolo et al., 2014).

The archive is the one of fairseq's recipe. Its authors publish no checksum; the MD5 here is from a public
reproduction of that recipe. A file in ``EXPLORER_DATA`` is used unchecked.
"""

from __future__ import annotations

import functools
import html
import json
import re
from pathlib import Path

from explorer.data.dataset import Arrays
from explorer.data.formats.archives import read_members
from explorer.data.formats.files import Source, locate
from explorer.data.formats.published import Pairs, PublishedOptions, TestPairs, encode_published
from explorer.data.formats.sequences import lines
from explorer.data.formats.translation import Encoded, Length, Pair, Vocabulary
from explorer.settings import InputError

TASKS = ("translation",)
ARCHIVE = "de-en.tgz"
SOURCE = Source(
    name="iwslt",
    title="IWSLT 2014",
    url="https://dl.fbaipublicfiles.com/fairseq/data/iwslt14/",
    checksums={ARCHIVE: "md5:10936dfdf616504ddbd844e91b94ef4a"},
    page="https://github.com/facebookresearch/fairseq/blob/main/examples/translation/prepare-iwslt14.sh",
)
TESTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")  # the usual test set
SEGMENT = re.compile(r"<seg id=[^>]*>(.*?)</seg>")


class Options(PublishedOptions):
    """Up to about 160,000 training pairs, and 6,750 test pairs before long ones are removed."""

    length: Length = 64
    vocabulary: Vocabulary = 10_000
    pairs: Pairs = 150_000
    test_pairs: TestPairs = 6_000


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test pairs."""
    return options.pairs, options.test_pairs


def load(options: Options) -> Arrays:
    """Return the pairs as arrays of tokens (see :func:`explorer.data.formats.translation.encode_corpus`)."""
    return _encoded(json.dumps(options.source())).arrays


@functools.lru_cache(maxsize=2)
def _encoded(source: str) -> Encoded:
    archive = locate(SOURCE)[ARCHIVE]
    trains = [f"train.tags.de-en.{language}" for language in ("de", "en")]
    tests = [f"IWSLT14.{test}.de-en.{language}.xml" for test in TESTS for language in ("de", "en")]
    raw = dict(zip([*trains, *tests], read_members(archive, [*trains, *tests]), strict=True))
    german, english = (_plain(raw[name], name) for name in trains)
    train = _together(german, english, archive)
    test = [
        pair
        for german, english in zip(tests[::2], tests[1::2], strict=True)
        for pair in _together(_segments(raw[german], german), _segments(raw[english], english), archive)
    ]
    return encode_published(train, test, Options.model_validate(json.loads(source)), SOURCE.title)


def _plain(raw: bytes, name: str) -> list[str]:
    """Return the sentences, without the lines that begin with a tag and describe the talk."""
    return [line for line in lines(raw, name) if not line.lstrip().startswith("<")]


def _segments(raw: bytes, name: str) -> list[str]:
    """Return the segments of a test file, which has one per line."""
    found = (SEGMENT.search(line) for line in lines(raw, name))
    return [html.unescape(match.group(1)) for match in found if match]


def _together(german: list[str], english: list[str], archive: Path) -> list[Pair]:
    if len(german) != len(english):
        raise InputError(f"{archive}: {len(german)} German and {len(english)} English sentences in one part")
    return list(zip(german, english, strict=True))
