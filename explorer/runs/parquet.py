"""Tables as Parquet files that know whether they are what was written."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from explorer.measures import tables

KINDS = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "numbers": pa.list_(pa.float64()),
    "flag": pa.bool_(),
}
MARK = b"explorer-sha256:"  # before the checksum of a file, among its metadata
# Bytes up to which a table is written plainly, which takes a quarter of the time and often less room, and a
# file is read by one thread.
SMALL = 2**16
PLAINLY = {"compression": "none", "use_dictionary": False, "write_statistics": False}


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table, every documented column in its documented type."""
    known = tables.EVERY
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays = {}
    for name in names:
        values = [row.get(name) for row in rows]
        arrays[name] = pa.array(values, KINDS[known[name].kind]) if name in known else pa.array(values)
    return pa.table(arrays)


def to_parquet(table: pa.Table) -> bytes:
    """The table as a file that holds its own checksum, for Parquet has none of the names and sizes in it."""
    sink = pa.BufferOutputStream()
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), b"checksum": MARK + b"0" * 64})
    how: dict[str, Any] = PLAINLY if table.nbytes <= SMALL else {"compression": "zstd"}
    pq.write_table(marked, sink, write_page_checksum=True, **how)
    content = bytearray(sink.getvalue().to_pybytes())
    _set_checksum(content, hashlib.sha256(content).hexdigest().encode())
    return bytes(content)


def _set_checksum(content: bytearray, checksum: bytes) -> bytes:
    """Put it into the last place that is marked for it; returns what was there, nothing if there is none."""
    place = content.rfind(MARK) + len(MARK)
    if place < len(MARK):
        return b""
    before = bytes(content[place : place + 64])
    content[place : place + 64] = checksum
    return before


def of_parquet(content: bytes) -> pa.Table:
    """The table of a file, every documented column in its documented type.

    One without a checksum, of an earlier version, is taken as it is otherwise.

    Raises:
        ValueError: it is not what was written, or nothing that :func:`table_of` makes.
    """
    checked = bytearray(content)
    checksum = _set_checksum(checked, b"0" * 64)
    if checksum and hashlib.sha256(checked).hexdigest().encode() != checksum:
        raise ValueError("its content is not what was written")
    try:
        # Not pq.read_table: that imports pyarrow.dataset, and with it pandas, in half a second.
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        return _typed(file.read(use_threads=len(content) > SMALL))
    except MemoryError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise ValueError(str(error)) from error


def _typed(table: pa.Table) -> pa.Table:
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError("it has a column twice")
    for place, name in enumerate(names):
        column, known = table.column(place), tables.EVERY.get(name)
        if known and column.type not in (KINDS[known.kind], pa.null()):
            table = table.set_column(place, name, column.cast(KINDS[known.kind]))
    return table
