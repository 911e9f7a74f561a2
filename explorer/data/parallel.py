"""Data set of a user's own parallel text."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import Field

from explorer.data.dataset import Arrays
from explorer.data.formats.reading import lines, open_parquet, read_bytes
from explorer.data.formats.translation import (
    SentencePair,
    SplitOptions,
    UserText,
    clean_pairs,
    encode_pairs,
    split_pairs,
    without,
)
from explorer.settings import InputError, listed

TASKS = ("translation",)
ColumnPair = tuple[str | int, str | int]


class Options(SplitOptions):
    """Two text files with one sentence per line, or one TSV or Parquet file."""

    path: str | tuple[str, str] = Field(
        description="two text files, [source, target], or one .tsv or .parquet file"
    )
    test_path: str | tuple[str, str] | None = Field(
        default=None,
        description="test set in the same form; default: a share test_size of the pairs",
    )
    columns: ColumnPair | None = Field(
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


@functools.lru_cache(maxsize=2)
def _encode(options: Options, content: str) -> Arrays:
    # ``content`` is part of the cache key: it changes with the files.
    title = " and ".join(_files(options))
    lines_read = read_pairs(options.path, options.columns)
    if not lines_read:
        raise InputError(f"{title}: there are no lines")
    pairs, left_out = clean_pairs(lines_read, identical=options.identical)
    if options.test_path is None:
        train, test = split_pairs(pairs, options)
    else:
        test, more = clean_pairs(read_pairs(options.test_path, options.columns), identical=options.identical)
        left_out += more
        train = without(pairs, test, left_out)
    return encode_pairs(train, test, left_out, options, title)


TEXT = UserText(_files, _encode)
fingerprint, available, load = TEXT.fingerprint, TEXT.available, TEXT.load


def read_pairs(path: str | tuple[str, str], columns: ColumnPair | None) -> list[SentencePair]:
    """Return the pairs (source, target) unchanged, in the order of the files.

    Raises:
        InputError: a file is missing, damaged or not UTF-8, the two files do not have the same number of
            lines, or a column is missing.
    """
    if isinstance(path, tuple):
        if columns is not None:
            raise InputError(
                "columns is for a .tsv or .parquet file; two text files have none. Remove columns"
            )
        return _two_files(*path)
    kind = Path(path).suffix.casefold()
    if kind == ".tsv":
        return _table(path, columns or (1, 2))
    if kind == ".parquet":
        return _parquet(path, columns)
    raise InputError(f"{path}: give two text files, [source, target], or one .tsv or .parquet file")


def _two_files(source: str, target: str) -> list[SentencePair]:
    both = [lines(read_bytes(path), path) for path in (source, target)]
    if len(both[0]) != len(both[1]):
        raise InputError(
            f"{source} has {len(both[0])} lines, {target} has {len(both[1])}; each line should be the "
            f"translation of the same line of the other file"
        )
    return list(zip(*both, strict=True))


def _table(path: str, columns: ColumnPair) -> list[SentencePair]:
    """Read two columns of a TSV file, by number from 1 or by name in the first line."""
    rows = [line.split("\t") for line in lines(read_bytes(path), path)]
    places, first = [], 0
    for column in columns:
        if isinstance(column, str):
            first = 1
            if not rows or column not in rows[0]:
                has = listed(rows[0]) if rows else "nothing"
                raise InputError(f"{path} has no column {column!r} in its first line; it has {has}")
            places.append(rows[0].index(column))
        elif column < 1:
            raise InputError(f"{path}: columns are numbered from 1; there is no column {column}")
        else:
            places.append(column - 1)
    for number, row in enumerate(rows[first:], first + 1):
        if len(row) <= max(places):
            raise InputError(f"{path}, line {number}: {len(row)} columns; column {max(places) + 1} is needed")
    return [(row[places[0]], row[places[1]]) for row in rows[first:]]


def _parquet(path: str, columns: ColumnPair | None) -> list[SentencePair]:
    """Read two text columns of a Parquet file, or two fields of a column ``translation``."""
    from pyarrow import types

    with open_parquet(path) as parquet:
        table = parquet.read()
    column = table.schema.field("translation").type if "translation" in table.column_names else None
    if column is not None and types.is_struct(column):
        table = table.select(["translation"]).flatten().rename_columns([field.name for field in column])
    texts = [
        field.name
        for field in table.schema
        if types.is_string(field.type) or types.is_large_string(field.type)
    ]
    wanted = [str(column) for column in columns] if columns else texts[:2]
    if len(wanted) < 2 or not set(wanted) <= set(texts):
        raise InputError(
            f"{path} lacks columns of text {', '.join(wanted)}; set columns to two of: {listed(texts)}"
        )
    source, target = (table.column(name).to_pylist() for name in wanted)
    return [(a or "", b or "") for a, b in zip(source, target, strict=True)]  # null becomes an empty text
