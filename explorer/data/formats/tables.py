"""Tables of a user, CSV or Parquet: gaps, categories and splits. Rejections have the offending value."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from explorer.data.formats.reading import as_text, check_table_size, read_bytes
from explorer.data.targets import as_python
from explorer.settings import InputError, listed, seed_for, suggest

if TYPE_CHECKING:
    import pandas as pd

MOST_CATEGORIES = 100  # of a column; more are an identifier or free text
SHOWN = 4  # names of columns or categories in a description


def read_table(path: str) -> pd.DataFrame:
    """Return the table in a ``.csv``, ``.tsv`` or ``.parquet`` file.

    Raises:
        InputError: the file cannot be read as such a table, is empty, or has two columns of one name.
    """
    if not path.lower().endswith((".csv", ".tsv", ".parquet")):
        raise InputError(f"{path} should be a .csv, .tsv or .parquet file; save the table as one of these")
    table = parse_table(path, read_bytes(path))
    if not len(table):
        raise InputError(f"{path} has no rows; give it a row for each input")
    table.columns = [str(name) for name in table.columns]
    return table


def parse_table(path: str, content: bytes, suffix: str = "") -> pd.DataFrame:
    """Return the table that a CSV, TSV or Parquet file holds.

    Args:
        suffix: of the file, if ``path`` does not end with it (a URI with options).

    Raises:
        InputError: the content is no such table, or has two columns of one name.
    """
    import pandas as pd

    suffix = (suffix or Path(path).suffix).lower()
    try:
        if suffix == ".parquet":
            return with_index(parquet_frame(content))
        text, sep = as_text(content, path), "\t" if suffix == ".tsv" else ","
        first = next(csv.reader(io.StringIO(text), delimiter=sep, skipinitialspace=True), [])
        names = [name.strip() for name in first]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{path} has several columns {twice[0]!r}; rename them, or keep one")
        table = pd.read_csv(io.StringIO(text), sep=sep, skipinitialspace=True)
        if len(table.columns) == 1 and ";" in str(table.columns[0]):
            raise InputError(
                f"{path} has semicolons between its columns; save it with commas, and numbers with points"
            )
        return table
    except InputError:
        raise
    except Exception as error:  # pandas raises many kinds
        first_line = str(error).partition("\n")[0]
        raise InputError(
            f"{path} cannot be read as a table: {first_line}; repair or save it again"
        ) from error


def parquet_frame(content: bytes) -> pd.DataFrame:
    """Return the table of a Parquet file.

    Raises:
        ValueError: the file is damaged, or its table is too large.
    """
    import pandas as pd
    import pyarrow

    check_table_size(pyarrow.BufferReader(content), len(content))
    return pd.read_parquet(io.BytesIO(content))


def with_index(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with rows in order, and the columns that pandas had put into its index."""
    return table.reset_index(drop=all(name is None for name in table.index.names))


def _place(path: str, rows: pd.DataFrame | pd.Series, where: Any) -> str:
    """Return the first of some rows as ``line 7`` of a text file, or ``row 6`` of a Parquet file."""
    number = int(rows.index[int(np.argmax(np.asarray(where)))])
    return f"row {number + 1}" if path.endswith(".parquet") else f"line {number + 2}"


def require_columns(path: str, table: pd.DataFrame, option: str, names: Sequence[str]) -> None:
    """Raise InputError if a table lacks a column that an option names."""
    known = list(map(str, table))
    for name in names:
        if name not in known:
            raise InputError(f"{option}: {path} has no column {name!r}; it has {suggest(name, known)}")


def without_gaps(path: str, table: pd.DataFrame, *, leave_out: bool) -> pd.DataFrame:
    """Return the rows without gaps.

    Raises:
        InputError: there are gaps and they must not be left out, or no row is left.
    """
    gaps = table.isna()
    wrong = gaps.any(axis=1)
    if not wrong.any():
        return table
    counts = gaps.sum()
    described = [
        f"{name} has {int(count)} (first in {_place(path, table, gaps[name])})"
        for name, count in counts[counts > 0].items()
    ]
    some = listed(described, most=SHOWN)
    if not leave_out:
        raise InputError(
            f"{path} has gaps in {int(wrong.sum())} of {len(table)} rows: {some}; fill them, leave such rows "
            "out with gaps: leave_out, or such columns with drop"
        )
    if wrong.all():
        raise InputError(f"{path} has gaps in every row ({some}); drop these columns")
    return table[~wrong].infer_objects()  # truth values with gaps are objects


def check_inputs(path: str, table: pd.DataFrame) -> None:
    """Check that each column holds numbers, truth values or categories.

    Raises:
        InputError: a column holds something else; the message has its value and line, and what to do.
    """
    from pandas.api import types

    for name in table:
        column = table[name]
        if types.is_bool_dtype(column) or isinstance(column.dtype, types.CategoricalDtype):
            continue
        if types.is_numeric_dtype(column) and not types.is_complex_dtype(column):
            infinite = ~np.isfinite(column.to_numpy(dtype=float))
            if infinite.any():
                raise InputError(
                    f"{path}, {_place(path, table, infinite)}: {name} is {column[infinite].iloc[0]}; numbers "
                    f"must be finite: replace it, or leave the column out with drop: [{name}]"
                )
            continue
        if not all(isinstance(value, str) for value in column):
            other = next(value for value in column if not isinstance(value, str))
            raise InputError(
                f"{path}: {name} holds {type(other).__name__}, such as {other!s:.40}; give numbers or words, "
                f"or leave the column out with drop: [{name}]"
            )
        _check_words(path, str(name), column)


def _check_words(path: str, name: str, column: pd.Series) -> None:
    """Raise InputError if a column of words is one of numbers with exceptions, or has too many words."""
    import pandas as pd

    number = pd.to_numeric(column, errors="coerce").notna()
    if 0.5 < number.mean() < 1:
        raise InputError(
            f"{path}, {_place(path, column, ~number)}: {name} is {column[~number].iloc[0]!r}, and most of "
            f"its values are numbers; replace it, or leave the column out with drop: [{name}]"
        )
    if (many := column.nunique()) > MOST_CATEGORIES:
        raise InputError(
            f"{path}: {name} has {many} different words, such as {column.iloc[0]!r}; at most "
            f"{MOST_CATEGORIES} become categories. Leave the column out with drop: [{name}]"
        )


def encode(train: pd.DataFrame, test: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, str]:
    """Return inputs (inputs, numbers) of both parts, and what became of the columns, in words.

    Numbers and truth values are one number each. A column of words becomes a number for each of its words.
    """
    import pandas as pd
    from pandas.api import types

    parts: list[list[np.ndarray]] = [[], []]
    numbers, categories = [], []
    for name in train:
        columns = [train[name], test[name]]
        if all(types.is_numeric_dtype(c) or types.is_bool_dtype(c) for c in columns):
            numbers.append(str(name))
            for part, column in zip(parts, columns, strict=True):
                part.append(column.to_numpy(dtype=np.float64)[:, None])
            continue
        words = sorted({str(word) for column in columns for word in column})
        categories.append(f"{name} ({listed(words, most=SHOWN)})")
        for part, column in zip(parts, columns, strict=True):
            codes = pd.Categorical(column.astype(str), categories=words).codes
            part.append(np.eye(len(words))[np.asarray(codes)])
    said = []
    if numbers:
        said.append(f"numbers: {listed(numbers, most=SHOWN)}")
    if categories:
        said.append(f"categories, one-hot: {listed(categories)}")
    x_train, x_test = (np.concatenate(part, axis=1) for part in parts)
    return x_train, x_test, "; ".join(said)


def split_rows(path: str, values: pd.Series, column: str) -> np.ndarray:
    """Return for each row whether a split column says that it is of the test set.

    Raises:
        InputError: a value is neither ``train`` nor ``test``, or one of both parts is empty.
    """
    words = values.astype(str).str.strip().str.lower()
    wrong = ~words.isin(["train", "test"]).to_numpy()
    if wrong.any():
        raise InputError(
            f"{path}, {_place(path, values, wrong)}: {column} is {as_python(values[wrong].iloc[0])!r}; a "
            "split column holds train and test. Rename this value, or leave its rows out of the file"
        )
    test = words.eq("test").to_numpy()
    if test.all() or not test.any():
        part = "train" if test.all() else "test"
        raise InputError(f"{path}: {column} names no row as {part}; name some, or use test_share instead")
    return test


def seeded_split(classes: Any, share: float, seed: int) -> np.ndarray:
    """Return for each input whether it is of the test set: a share of each class, drawn by a seed.

    ``classes`` is (inputs,), of any type; each class keeps at least one training input. If all classes are
    too small for that, the share is drawn from all inputs.
    """
    _, codes = np.unique(np.asarray(classes).astype(str), return_inverse=True)
    test = np.zeros(len(codes), dtype=bool)
    order = np.random.default_rng(seed_for("test split", seed)).permutation(len(codes))
    for code in range(codes.max() + 1):
        mine = order[codes[order] == code]
        test[mine[: min(round(share * len(mine)), len(mine) - 1)]] = True
    if not test.any():
        test[order[: round(share * len(order))]] = True
    return test
