"""Multi30k: captions of photographs in German and English (Elliott et al., 2016).

The files come from a mirror, because the authors' server is gone. The checksums are those of torchtext.
"""

from __future__ import annotations

import functools
import json

from explorer.data.dataset import Arrays
from explorer.data.formats.archives import read_members
from explorer.data.formats.files import Source, locate
from explorer.data.formats.published import Pairs, PublishedOptions, TestPairs, encode_published
from explorer.data.formats.sequences import lines
from explorer.data.formats.translation import Encoded, Length, Pair, Vocabulary
from explorer.settings import InputError

TASKS = ("translation",)
FILES = {"training.tar.gz": "train", "mmt16_task1_test.tar.gz": "test"}  # archive: stem of its files' names
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


class Options(PublishedOptions):
    """29,000 training and 1,000 test pairs before duplicate and long ones are removed."""

    length: Length = 48
    vocabulary: Vocabulary = 8_000
    pairs: Pairs = 28_000
    test_pairs: TestPairs = 950


def available(options: Options) -> tuple[int, int]:
    """Return the numbers of training and test pairs."""
    return options.pairs, options.test_pairs


def load(options: Options) -> Arrays:
    """Return the pairs as arrays of tokens (see :func:`explorer.data.formats.translation.encode_corpus`)."""
    return _encoded(json.dumps(options.source())).arrays


@functools.lru_cache(maxsize=2)
def _encoded(source: str) -> Encoded:
    archives = locate(SOURCE)
    parts: list[list[Pair]] = []
    for archive, name in FILES.items():
        names = [f"{name}.de", f"{name}.en"]
        german, english = map(lines, read_members(archives[archive], names), names)
        if len(german) != len(english):
            raise InputError(
                f"{archives[archive]}: {len(german)} German and {len(english)} English sentences"
            )
        parts.append(list(zip(german, english, strict=True)))
    return encode_published(parts[0], parts[1], Options.model_validate(json.loads(source)), SOURCE.title)
