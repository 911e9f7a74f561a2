"""Data set of a user's own table: a CSV or Parquet file with a row for each input."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from explorer.data.base import DataOptions, counts
from explorer.data.dataset import Arrays, checked_arrays, with_reading
from explorer.data.formats import tables
from explorer.data.formats.reading import content_hashes
from explorer.settings import InputError, digest, listed

TASKS = ("classification", "regression")
TEST_SHARE = 0.2


class Options(DataOptions):
    """A ``.csv``, ``.tsv`` or ``.parquet`` file with a column of labels, or columns of numbers to predict."""

    path: str = Field(description="the file, relative to the current folder")
    label: str | None = Field(default=None, description="column of labels: words or whole numbers")
    target: str | tuple[str, ...] | None = Field(
        default=None, description="column or columns of numbers to predict, for task: regression"
    )
    test_path: str | None = Field(default=None, description="file of the test set, with the same columns")
    split: str | None = Field(default=None, description="column that says train or test for each row")
    test_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of the rows (of each class) used for testing; default: 0.2 without test_path and "
        "split",
    )
    split_seed: int = Field(default=0, ge=0, description="seed of the choice of these rows")
    drop: tuple[str, ...] = Field(default=(), description="columns to leave out")
    gaps: Literal["reject", "leave_out"] = Field(
        default="reject", description="leave_out: leave rows with empty values out"
    )


def _files(options: Options) -> list[str]:
    return [options.path] + ([options.test_path] if options.test_path else [])


def fingerprint(options: Options) -> str:
    """Return a hash of the files and of how they are read, not of their names."""
    return with_reading(digest(content_hashes(_files(options))), load(options))


def available(options: Options) -> tuple[int, int]:
    return counts(options, *load(options).sizes, load)


def load(options: Options) -> Arrays:
    """Return the rows as inputs (inputs, numbers), with words as one number for each word.

    Raises:
        InputError: a file cannot be read, a column is missing, or a value is no number, word or label. The
            message has the value and what to do.
    """
    return _read(options.clean(), digest(content_hashes(_files(options))))


@functools.lru_cache(maxsize=2)
def _read(options: Options, content: str) -> Arrays:
    # ``content`` is part of the cache key: it changes with the files.
    path = options.path
    targets = (options.target,) if isinstance(options.target, str) else options.target or ()
    if (options.label is None) == (not targets):
        raise InputError(
            f"{path}: name the column of labels with label, or those of numbers to predict with target, not "
            "both"
        )
    ways = [name for name in ("test_path", "split", "test_share") if getattr(options, name) is not None]
    if len(ways) > 1:
        raise InputError(f"{path}: {' and '.join(ways)} exclude each other; keep one of them")
    table, answers = tables.read_table(path), [options.label] if options.label else [*targets]
    tables.require_columns(path, table, "label" if options.label else "target", answers)
    tables.require_columns(path, table, "drop", options.drop)
    if options.split:
        tables.require_columns(path, table, "split", [options.split])
    if both := {*answers, options.split} & {*options.drop}:
        raise InputError(f"{path}: {min(both)!r} is needed, and also in drop; remove it from drop")
    left_out = len(table)
    parts = [tables.without_gaps(path, table.drop(columns=[*options.drop]), leave_out=_leaves(options))]
    others = [*answers, *([options.split] if options.split else [])]
    if not len(parts[0].columns.difference(others)):
        raise InputError(f"{path} has no column besides {listed(others)}; inputs need at least one")
    if options.test_path:
        test = tables.read_table(options.test_path)
        tables.require_columns(options.test_path, test, "test_path", list(map(str, parts[0])))
        left_out += len(test)
        parts.append(tables.without_gaps(options.test_path, test[list(parts[0])], leave_out=_leaves(options)))
        how = f"test set: {options.test_path}"
    for file, part in zip([path, options.test_path or path], parts, strict=False):
        tables.check_inputs(file, part.drop(columns=others))
    if not options.test_path:
        (rows,) = parts
        share = options.test_share or TEST_SHARE
        if options.split:
            tested = tables.split_rows(path, rows[options.split], options.split)
            how = f"test set: rows with {options.split} test"
        else:
            classes = rows[options.label] if options.label else np.zeros(len(rows))
            tested = tables.seeded_split(classes, share, options.split_seed)
            how = f"test set: {share:.3g} of the rows" + (" of each label" if options.label else "")
            if not tested.any():
                raise InputError(f"{path}: test_share {share} of {len(rows)} rows is no row; give more rows")
        parts = [rows[~tested], rows[tested]]
    left_out -= len(parts[0]) + len(parts[1])
    inputs = [part.drop(columns=others) for part in parts]
    x_train, x_test, said = tables.encode(*inputs)
    y_train, y_test = (
        part[answers[0]].to_numpy() if options.label else part[answers].to_numpy() for part in parts
    )
    given = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    arrays = checked_arrays(path, given)
    remark = "; ".join([said, how, *([f"{left_out} rows with gaps left out"] if left_out else [])])
    problem = arrays.problem
    if targets:
        problem = (
            f"target ({listed(targets)}) is for task: regression; add it to the space, or name the column "
            "of labels with label"
        )
    return replace(arrays, remark=remark, problem=problem)


def _leaves(options: Options) -> bool:
    return options.gaps == "leave_out"
