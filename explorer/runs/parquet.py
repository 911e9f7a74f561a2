"""Tables as Parquet files with a checksum of the whole file."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from explorer.data.formats.reading import check_table_size
from explorer.measures import tables

KINDS = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "numbers": pa.list_(pa.float64()),
    "flag": pa.bool_(),
}
PREFIX = b"explorer-sha256:"  # prefix of a file's checksum in its metadata
# Up to this many bytes, a table is written without compression, which takes a quarter of the time and often
# less space, and a file is read by one thread.
SMALL = 2**16
UNCOMPRESSED = {"compression": "none", "use_dictionary": False, "write_statistics": False}


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as an Arrow table. Documented columns get their documented types."""
    names = dict.fromkeys(name for row in rows for name in row)
    types = {name: KINDS[tables.BUILT_IN[name].kind] if name in tables.BUILT_IN else None for name in names}
    return pa.table({name: pa.array([row.get(name) for row in rows], types[name]) for name in names})


def to_parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file with a checksum, because Parquet's own do not cover its metadata."""
    sink = pa.BufferOutputStream()
    prepared = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), b"checksum": PREFIX + b"0" * 64}
    )
    how: dict[str, Any] = UNCOMPRESSED if table.nbytes <= SMALL else {"compression": "zstd"}
    pq.write_table(prepared, sink, write_page_checksum=True, **how)
    content = bytearray(sink.getvalue().to_pybytes())
    _set_checksum(content, hashlib.sha256(content).hexdigest().encode())
    return bytes(content)


def _set_checksum(content: bytearray, checksum: bytes) -> bytes:
    """Overwrite the checksum after the last ``PREFIX`` and return the old one; empty if there is none."""
    start = content.rfind(PREFIX) + len(PREFIX)
    if start < len(PREFIX):
        return b""
    old = bytes(content[start : start + 64])
    content[start : start + 64] = checksum
    return old


def of_parquet(
    content: bytes, columns: Collection[str] | None = None, *, checksum_needed: bool = False
) -> pa.Table:
    """Return the table of a Parquet file. Documented columns get their documented types.

    Args:
        columns: columns to return, if the file has them; without a checksum, all are returned.
        checksum_needed: a file without a checksum, from an earlier version or damaged there, is an error.

    Raises:
        ValueError: the checksum is wrong or missing, or the file does not contain such a table.
    """
    checked = bytearray(content)
    checksum = _set_checksum(checked, b"0" * 64)
    if checksum_needed and not checksum:
        raise ValueError("it has no checksum")
    if checksum and hashlib.sha256(checked).hexdigest().encode() != checksum:
        raise ValueError("its content is not what was written")
    try:
        footer = check_table_size(pa.BufferReader(content), len(content))
        # pq.read_table would import pyarrow.dataset and pandas, which takes half a second.
        file = pq.ParquetFile(pa.BufferReader(content), metadata=footer, page_checksum_verification=True)
        wanted = None if columns is None or not checksum else list(columns)
        return _typed(file.read(wanted, use_threads=len(content) > SMALL))
    except MemoryError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise ValueError(str(error)) from error


def _typed(table: pa.Table) -> pa.Table:
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError("it has two columns of the same name")
    for place, name in enumerate(names):
        column, documented = table.column(place), tables.BUILT_IN.get(name)
        if documented and column.type not in (KINDS[documented.kind], pa.null()):
            table = table.set_column(place, name, column.cast(KINDS[documented.kind]))
    return table
