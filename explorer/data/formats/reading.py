"""Reading of a user's files: bytes, UTF-8 text, Parquet, and hashes of contents."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from explorer.settings import InputError
from explorer.units import size

if TYPE_CHECKING:
    from pyarrow import Array, NativeFile
    from pyarrow.parquet import FileMetaData, ParquetFile

# A table may take so many bytes, and so many more for each byte of its file. A file of a kilobyte can hold
# a table of many gigabytes.
TABLE_BYTES, TABLE_GROWTH = 2**28, 64


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: the file cannot be read, or it is a pipe or the like, which may never end.
    """
    if (file := Path(path)).exists() and not (file.is_file() or file.is_dir()):
        raise InputError(f"{path} is no file; name a file")
    try:
        return file.read_bytes()
    except IsADirectoryError as error:
        raise InputError(
            f"{path} is a folder, and this data set is read from a file; "
            "the data sets image-folder and image-parquet are read from folders"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def as_text(raw: bytes, name: Path | str) -> str:
    """Return the content of a file as text, without a byte-order mark at its start.

    Raises:
        InputError: the content is not UTF-8; the message gives the position.
    """
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name} is not UTF-8: byte 0x{raw[error.start]:02x} in line {line} (byte {error.start} of the "
            f"file); convert it, for example with iconv -f latin1 -t utf-8"
        ) from error


def lines(raw: bytes, name: Path | str) -> list[str]:
    """Return the lines of a file. A line ends with a line feed, optionally after a carriage return."""
    text = as_text(raw, name)
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


@contextlib.contextmanager
def open_parquet(path: Path | str) -> Iterator[ParquetFile]:
    """Open a Parquet file for the statements of a ``with`` block.

    Raises:
        InputError: the file cannot be opened or read.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def check_table_size(source: NativeFile | Path | str, file_bytes: int) -> FileMetaData:
    """Check that the table in a Parquet file is not far larger than the file; return the file's footer.

    Little memory is needed: the size of numbers follows from the footer. Texts may repeat a long one, and the
    footer need not tell the truth about their length: they are read as numbers that refer to the different
    texts.

    Raises:
        ValueError: the table is too large.
    """
    from pyarrow.parquet import ParquetFile

    most, stated, texts = most_bytes(file_bytes), 0, set[str]()
    footer = ParquetFile(source).metadata
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for place in range(footer.num_columns):
            chunk, column = group.column(place), footer.schema.column(place)
            stated += max(8, column.length) * chunk.num_values + chunk.total_uncompressed_size
            surely = chunk.compression == "UNCOMPRESSED"  # no text is longer than this part of the file
            short = surely and chunk.num_values * chunk.total_compressed_size <= most // footer.num_columns
            if chunk.physical_type == "BYTE_ARRAY" and not short:
                texts.add(column.path)
    require_room(max(stated, 8 * footer.num_rows), file_bytes)
    if texts:
        file = ParquetFile(source, metadata=footer, read_dictionary=[*texts])
        groups = (file.read_row_group(group, use_threads=False) for group in range(footer.num_row_groups))
        arrays = (chunk for table in groups for column in table.columns for chunk in column.chunks)
        for total in itertools.accumulate(map(_decoded_bytes, arrays)):
            require_room(total, file_bytes)
    return footer


def _decoded_bytes(array: Array) -> int:
    """Return how many bytes an array takes whose texts are read as numbers, when they are texts again."""
    import pyarrow
    from pyarrow.compute import call_function

    if isinstance(array, pyarrow.DictionaryArray):
        lengths = call_function("binary_length", [array.dictionary])
        return 8 * len(array) + (call_function("sum", [lengths.take(array.indices)]).as_py() or 0)
    if isinstance(array, pyarrow.StructArray):
        return sum(map(_decoded_bytes, array.flatten()))
    if isinstance(array, pyarrow.ListArray):  # a map is one, too
        return 8 * len(array) + _decoded_bytes(array.values)
    return array.nbytes


def most_bytes(file_bytes: int) -> int:
    """Return how many bytes of memory the tables in files of so many bytes may take."""
    return TABLE_BYTES + TABLE_GROWTH * file_bytes


def require_room(table_bytes: int, file_bytes: int) -> None:
    """Raise ValueError if tables take more memory than files of so many bytes may."""
    if table_bytes > (most := most_bytes(file_bytes)):
        raise ValueError(
            f"its table would take {size(table_bytes)} or more; at most {size(most)} are allowed for "
            f"{size(file_bytes)} on disk"
        )


def content_hashes(files: Sequence[Path | str]) -> list[str]:
    """Return the SHA-256 of each file. A file is read again only if its size or modification time changes.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        states = [Path(file).stat() for file in files]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    return [_sha256(str(f), s.st_size, s.st_mtime_ns) for f, s in zip(files, states, strict=True)]


@functools.cache
def _sha256(file: str, size: int, changed: int) -> str:
    return hashlib.sha256(read_bytes(file)).hexdigest()
