"""The run folder. The only module that knows a file name.

::

    run.yaml                    the frozen space, versions, machine; written once, at the start
    sessions/<start>.yaml       what each start of the program did, and how long it took
    weights/<stack>.safetensors trained models of one stack: theta, buffers
    records/<kind>/<key>.parquet  what is known, as it is found: the truth
    tables/<table>.parquet      the records joined, sorted and named for people

A record exists whole or not at all, and existing means complete: a resumed run does what has no record.
Works on a local folder and on any file system of :mod:`pyarrow.fs` (``s3://bucket/path``).
"""

from __future__ import annotations

import json
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pyarrow import fs

from explorer import tables
from explorer.settings import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

KINDS = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_()}


class Store:
    """Reads and writes one run folder."""

    def __init__(self, location: str | Path):
        """``location`` is a folder, or a URI such as ``s3://bucket/runs/digits``."""
        self.location = str(location)
        if "://" in self.location:
            self.fs, self.root = fs.FileSystem.from_uri(self.location)
        else:
            self.fs, self.root = fs.LocalFileSystem(), str(Path(location).absolute())
        self.local = isinstance(self.fs, fs.LocalFileSystem)

    # Files: whole or not at all -------------------------------------------------------------------

    def _path(self, *parts: str) -> str:
        return "/".join([self.root, *parts])

    def _write(self, path: str, content: bytes) -> None:
        """Write by renaming (local) or in a single put (object stores)."""
        if not self.local:
            with self.fs.open_output_stream(
                path
            ) as stream:  # content is complete: nothing can fail half-way but the put
                stream.write(content)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)

    def _read(self, path: str) -> bytes:
        with self.fs.open_input_stream(path) as stream:
            return stream.read()

    def _list(self, *folder: str, suffix: str) -> list[str]:
        selector = fs.FileSelector(self._path(*folder), allow_not_found=True)
        return sorted(f.path for f in self.fs.get_file_info(selector) if f.path.endswith(suffix))

    def exists(self) -> bool:
        """Whether there is a run here."""
        return self.fs.get_file_info(self._path("run.yaml")).type == fs.FileType.File

    # run.yaml and sessions ------------------------------------------------------------------------

    def write_info(self, info: dict[str, Any]) -> None:
        self._write(
            self._path("run.yaml"), yaml.safe_dump(info, sort_keys=False, allow_unicode=True).encode()
        )

    def read_info(self) -> dict[str, Any]:
        """``run.yaml``, with the sessions under ``sessions``, oldest first.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        try:
            info = yaml.safe_load(self._read(self._path("run.yaml")))
        except FileNotFoundError:
            raise InputError(f"{self.location} is not a run folder: it has no run.yaml") from None
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"{self.location}: run.yaml cannot be read: {error}") from error
        if not isinstance(info, dict) or "space" not in info:
            raise InputError(f"{self.location}: run.yaml is not one of Explorer's")
        info["sessions"] = [yaml.safe_load(self._read(p)) for p in self._list("sessions", suffix=".yaml")]
        return info

    def write_session(self, started: str, session: dict[str, Any]) -> None:
        name = re.sub(r"[^0-9T]", "", started)
        self._write(self._path("sessions", f"{name}.yaml"), yaml.safe_dump(session, sort_keys=False).encode())

    # Weights --------------------------------------------------------------------------------------

    def write_weights(self, stack: str, theta: np.ndarray, buffers: np.ndarray, meta: dict[str, Any]) -> None:
        """Models of one stack: ``theta`` (models, parameters), ``buffers`` (models, numbers).

        ``meta`` says what the rows are (``model_ids``) and how a row is cut (``layers``).
        """
        from safetensors.numpy import save

        content = save(
            {"theta": theta, "buffers": buffers}, metadata={k: json.dumps(v) for k, v in meta.items()}
        )
        self._write(self._path("weights", f"{stack}.safetensors"), content)

    def read_weights(self, stack: str) -> dict[str, np.ndarray]:
        from safetensors.numpy import load

        return load(self._read(self._path("weights", f"{stack}.safetensors")))

    # Records --------------------------------------------------------------------------------------

    def write_record(self, kind: str, key: str, rows: list[dict[str, Any]]) -> None:
        """One record: rows of one kind, in one file that appears whole."""
        sink = pa.BufferOutputStream()
        pq.write_table(table_of(rows), sink, compression="zstd")
        self._write(self._path("records", kind, f"{key}.parquet"), sink.getvalue().to_pybytes())

    def has_record(self, kind: str, key: str) -> bool:
        path = self._path("records", kind, f"{key}.parquet")
        return self.fs.get_file_info(path).type == fs.FileType.File

    def drop_record(self, kind: str, key: str) -> None:
        if self.has_record(kind, key):
            self.fs.delete_file(self._path("records", kind, f"{key}.parquet"))

    def drop_records(self, kind: str) -> None:
        for key in self.record_keys(kind):
            self.drop_record(kind, key)

    def record_keys(self, kind: str) -> set[str]:
        """Keys of the records of a kind, from the file names alone."""
        return {
            os.path.basename(p).removesuffix(".parquet")
            for p in self._list("records", kind, suffix=".parquet")
        }

    def read_records(self, kind: str, columns: list[str] | None = None) -> pa.Table:
        """All rows of a kind, in the order of the records' keys."""
        parts = [
            pq.read_table(pa.BufferReader(self._read(path)), columns=columns)
            for path in self._list("records", kind, suffix=".parquet")
        ]
        return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})

    # Tables ---------------------------------------------------------------------------------------

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """A table as Parquet, for pandas, Polars, DuckDB."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink, compression="zstd")
        self._write(self._path("tables", f"{name}.parquet"), sink.getvalue().to_pybytes())

    def size_bytes(self) -> int:
        """Bytes of everything in the run folder."""
        selector = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        return sum(f.size or 0 for f in self.fs.get_file_info(selector))


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table, every documented column in its documented type."""
    known = {
        **tables.IDS,
        **tables.SETTINGS,
        **tables.EPOCHS,
        **tables.CURVES,
        **tables.PAIR_IDS,
        **tables.PAIRS,
        **tables.MODELS,
    }
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays = {}
    for name in names:
        values = [row.get(name) for row in rows]
        arrays[name] = pa.array(values, KINDS[known[name].kind]) if name in known else pa.array(values)
    return pa.table(arrays)


def locate(name_or_folder: str | Path, storage: str = "runs") -> Store:
    """The run of this name below ``storage``, or in this folder or at this URI.

    Raises:
        InputError: there is none; the message lists the runs there are.
    """
    text = str(name_or_folder)
    places = [text] if "://" in text else [text, f"{storage}/{text}"]
    for place in places:
        store = Store(place)
        if store.exists():
            return store
    root = Path(storage)
    there = sorted(p.parent.name for p in root.glob("*/run.yaml")) if root.is_dir() else []
    raise InputError(
        f"there is no run {text!r}: neither {' nor '.join(places)} has a run.yaml; "
        f"runs in {storage}/: {', '.join(there) or 'none'}"
    )
