"""A user's own parallel text."""

from __future__ import annotations

from pydantic import Field

from explorer.data.bitext import read_bitext
from explorer.data.own_text import OwnText
from explorer.data.sequences import hash_content
from explorer.data.translation import (
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
    """Two text files with a sentence a line, or one TSV or Parquet file."""

    path: str | tuple[str, str] = Field(
        description="two text files, [source, target], or one .tsv or .parquet file"
    )
    test_path: str | tuple[str, str] | None = Field(
        default=None,
        description="the test set, in the same form; if left out, test_size of the pairs are kept for it",
    )
    columns: tuple[str | int, str | int] | None = Field(
        default=None,
        description="source and target: columns of a TSV file by number from 1 or by the name in its first "
        "line (1 and 2 if left out), of a Parquet file by name",
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
    """Hash of the files' contents."""
    return hash_content(_files(options))


def _encode(options: Options) -> Encoded:
    title = " and ".join(_files(options))
    found = read_bitext(options.path, options.columns)
    if not found:
        raise InputError(f"{title}: there are no lines")
    pairs, left_out = clean_pairs(found, identical=options.identical)
    if options.test_path is None:
        train, test = split_pairs(pairs, options)
    else:
        test, more = clean_pairs(read_bitext(options.test_path, options.columns), identical=options.identical)
        left_out += more
        train = without(pairs, test, left_out)
    return encode_corpus(Corpus(train, test, left_out), options, title)


_own = OwnText(Options, fingerprint, _encode)
available, describe, load = _own.available, _own.describe, _own.load
