"""Data set of a user's own parallel text."""

from __future__ import annotations

from pydantic import Field

from explorer.data.formats.bitext import read_bitext
from explorer.data.formats.own_text import OwnText
from explorer.data.formats.sequences import hash_content
from explorer.data.formats.translation import (
    Corpus,
    Encoded,
    SplitOptions,
    clean_pairs,
    encode_corpus,
    split_pairs,
    without,
)
from explorer.settings import InputError

TASKS = ("translation",)


class Options(SplitOptions):
    """Two text files with one sentence per line, or one TSV or Parquet file."""

    path: str | tuple[str, str] = Field(
        description="two text files, [source, target], or one .tsv or .parquet file"
    )
    test_path: str | tuple[str, str] | None = Field(
        default=None,
        description="test set in the same form; default: a share test_size of the pairs",
    )
    columns: tuple[str | int, str | int] | None = Field(
        default=None,
        description="columns of source and target: in a TSV file by number from 1 or by name in line 1 "
        "(default: 1 and 2), in a Parquet file by name",
    )
    identical: bool = Field(default=False, description="keep pairs whose two sentences are the same")


def _files(options: Options) -> list[str]:
    return [
        file
        for path in (options.path, options.test_path)
        if path is not None
        for file in (path if isinstance(path, tuple) else (path,))
    ]


def fingerprint(options: Options) -> str:
    """Return a hash of the files' contents."""
    return hash_content(_files(options))


def _encode(options: Options) -> Encoded:
    title = " and ".join(_files(options))
    lines = read_bitext(options.path, options.columns)
    if not lines:
        raise InputError(f"{title}: there are no lines")
    pairs, left_out = clean_pairs(lines, identical=options.identical)
    if options.test_path is None:
        train, test = split_pairs(pairs, options)
    else:
        test, more = clean_pairs(read_bitext(options.test_path, options.columns), identical=options.identical)
        left_out += more
        train = without(pairs, test, left_out)
    return encode_corpus(Corpus(train, test, left_out), options, title)


_own = OwnText(Options, fingerprint, _encode)
available, describe, load = _own.available, _own.describe, _own.load
