"""The run folder. This is the only module that knows its file names.

::

    run.yaml                       the frozen space, versions, machine
    hold.yaml, hold.lock           the driver that works on the run now, and the lock of a local folder
    sessions/<start>.yaml          what each start of the program did, and how long it took
    sessions/<start>.log           its log: what was done when, and by which worker
    profile/trace.json             trace of the last start with --profile, for chrome://tracing or Perfetto
    weights/<stack>.safetensors    trained models of one stack: theta, buffers
    states/<stack>.state           state of a long training in progress; deleted when the training ends
    sources/<module>.py            the user's source files at the start; in sources/2/ after a change, ...
    records/imports/<key>.parquet  the files that the models of a stack were imported from
    records/<kind>/<key>.parquet   results, written as they are computed: the primary data
    records/<kind>/fold-*.parquet  many records in one file; the file's metadata has their keys
    verification.yaml              damage that the last verification found
    tables/<table>.parquet         the records joined, sorted and named for people
    damaged/                       files that could not be read

A record is written atomically, and its existence means that its work is complete. A resumed run does the
work that has no record. The folder is local or on any file system of :mod:`pyarrow.fs`
(``s3://bucket/path``). Once a run has begun, nothing is written without its ``run.yaml``, so a folder that
was moved or deleted does not come back.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import re
import shlex
import socket
import sys
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from explorer import plainyaml
from explorer.data.formats.reading import require_room
from explorer.runs.files import URI, Files, GoneError, join
from explorer.runs.parquet import of_parquet, table_of, to_parquet
from explorer.runs.records import ID, Records, check_records, id_columns
from explorer.settings import InputError, cut, digest, printable, shown, suggest
from explorer.users import sources

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

META = "explorer"  # key of a safetensors header for metadata of the arrays, as JSON
KINDS = {str: "string", dict: "mapping", list: "list"}
WORK = ("records/", "weights/", "states/", "tables/", "damaged/")
REPAIR = (
    "Delete it, then `run` the space file under this name: run.yaml is rewritten and trained models are kept."
)
COMPACT_AT = 500  # number of separate record files of a kind that are merged into one file


class DamagedError(Exception):
    """Damage of a file of the run (power cut, bad disk). The file was moved to ``damaged/``."""


class Verification(BaseModel):
    """Result of a verification that found damage."""

    when: str
    damage: int
    repaired: bool


class Written(NamedTuple):
    """A written file of weights."""

    sha256: str
    bytes: int


class SessionNumbers(BaseModel):
    """The seconds in the record of a session that other code relies on."""

    wall_s: float = 0
    stages: dict[str, float] = {}
    workers: dict[str, float] = {}


class Store:
    """Access to one run folder.

    Args:
        warn: receives a message about each damaged file; by default it is printed to standard error.
        mend: move damaged files aside, and delete records without weights, so that their work is done again.
            Without it, the store only reads.
    """

    def __init__(self, location: str | Path, warn: Callable[[str], None] | None = None, *, mend: bool = True):
        self.mend = mend
        self.models_lost = False  # whether files of models were set aside
        self.files = Files(location, say=lambda text: self.warn(text))
        self.warn = warn or (lambda text: print(printable(text), file=sys.stderr))
        self.location = self.files.location
        self.begun = False  # whether the folder has, or had, a run.yaml
        self._warned: set[str] = set()

    def warn_once(self, message: str) -> None:
        """Warn, unless this store has given the same warning before."""
        if message not in self._warned:
            self._warned.add(message)
            self.warn(message)

    def exists(self) -> bool:
        """Return whether the folder contains a run."""
        found = self.files.exists("run.yaml")
        self.begun |= found
        return found

    def _write(self, name: str, content: bytes) -> None:
        """Write a file of the run atomically.

        Raises:
            GoneError: the run has begun, and its ``run.yaml`` does not exist any more.
        """
        if self.begun and not self.exists():
            raise GoneError(
                f"{self.files.absolute} has no run.yaml: this folder was moved or deleted, or the machine "
                f"{socket.gethostname()} does not see it"
            )
        self.files.write(name, content)

    def has_work(self) -> bool:
        """Return whether the folder contains more than a start that came to nothing leaves behind."""
        return any(name.startswith(WORK) for name in self.files.every())

    # run.yaml and sessions ------------------------------------------------------------------------

    def write_info(self, info: dict[str, Any]) -> None:
        """Write ``run.yaml`` without the sessions, which have their own files."""
        kept = {key: value for key, value in info.items() if key not in ("sessions", "verification")}
        self.files.write("run.yaml", plainyaml.dump(kept))
        self.begun = True

    def update_info(self, **changes: Any) -> None:
        """Change entries of ``run.yaml`` and keep all others."""
        self.write_info(self._read_info() | changes)

    def read_info(self) -> dict[str, Any]:
        """Return ``run.yaml`` with the sessions under ``sessions``, oldest first.

        ``space`` has the given settings and the defaults; ``given_settings`` has the given settings only.
        ``verification``, if it is there, is a sentence about the damage that the last verification found.

        Raises:
            InputError: ``run.yaml`` is missing or cannot be read.
        """
        info = self._read_info()
        for name in ("failed_measures", "verification"):  # found by reading, not kept there
            info.pop(name, None)
        info["given_settings"] = info["space"]
        info["space"] = _joined(info["space"], info.pop("defaults", {}))
        info["sessions"] = []
        for name in self.files.names("sessions", ".yaml"):
            with contextlib.suppress(OSError, ValueError):
                session = plainyaml.load(self.files.read(name))
                SessionNumbers.model_validate(session, strict=True)
                info["sessions"].append(session)
        if damage := self._verification():
            info["verification"] = damage
        return info

    def _verification(self) -> str:
        """Return a sentence about the damage that the last verification found; empty without damage."""
        try:
            found = Verification.model_validate(plainyaml.load(self.files.read("verification.yaml")))
        except (OSError, ValueError):
            return ""
        then = (
            "set aside; `resume` trains and measures again what they had"
            if found.repaired
            else "do not rely on this run before `verify --repair` and `resume`"
        )
        return f"Verification on {found.when[:10]} found damaged files ({found.damage}): {then}."

    def _read_info(self) -> dict[str, Any]:
        try:
            info = plainyaml.load(self.files.read("run.yaml"))
        except FileNotFoundError:
            raise InputError(f"{self.location} is not a run folder: it has no run.yaml") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.location}: run.yaml cannot be read: {error}. {REPAIR}") from error
        if wrong := _damage_of(info):
            raise InputError(
                f"{self.location}: run.yaml is damaged or was not written by Explorer: {wrong}. {REPAIR}"
            )
        return info

    def write_session(self, started: str, session: dict[str, Any]) -> None:
        self._write(f"sessions/{_file_stem(started)}.yaml", plainyaml.dump(session))

    def write_trace(self, content: bytes) -> None:
        self._write("profile/trace.json", content)

    def write_log(self, started: str, text: str) -> None:
        self._write(f"sessions/{_file_stem(started)}.log", text.encode())

    def write_verification(self, found: dict[str, Any]) -> None:
        """Keep what :mod:`explorer.runs.verify` found; delete it if that is empty."""
        if found:
            self._write("verification.yaml", plainyaml.dump(found))
        else:
            self.files.delete("verification.yaml")

    def write_source(self, version: int, path: str, content: bytes) -> None:
        """Keep a source file of the user's; versions of the sources count from 1."""
        self._write(self.source_name(version, path), content)

    def mend_source(self, version: int, path: str, content: bytes) -> None:
        """Keep a source file again if its copy is missing."""
        if not self.files.exists(self.source_name(version, path)):
            self.write_source(version, path, content)

    def read_source(self, version: int, path: str) -> bytes:
        """Return a kept source file; empty if it was deleted."""
        try:
            return self.files.read(self.source_name(version, path))
        except FileNotFoundError:
            return b""

    @staticmethod
    def source_name(version: int, path: str) -> str:
        """Return the name of a kept source file in the run folder."""
        return f"sources/{path}" if version == 1 else f"sources/{version}/{path}"

    def source_location(self, version: int, path: str) -> str:
        """Return where a source file is kept, for messages."""
        return join(self.location, self.source_name(version, path))

    # Weights and states ---------------------------------------------------------------------------

    def write_weights(self, stack: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> Written:
        """Write the models of one stack: ``theta`` (models, parameters), ``buffers`` (models, numbers).

        ``meta`` has the model of each row (``model_ids``) and the split of a row into layers (``layers``).
        Return the SHA-256 and the size of the file, which belong in the stack's record.
        """
        content = _safetensors(arrays, meta)
        self._write(weights_name(stack), content)
        return Written(hashlib.sha256(content).hexdigest(), len(content))

    def read_weights(
        self, stack: str, sha256: str | None = None, matrices: Mapping[str, tuple[int, str]] | None = None
    ) -> dict[str, np.ndarray]:
        """Return the arrays of a stack.

        Args:
            matrices: numbers of a model in each array, and their type (``Rows.matrices``).

        Raises:
            DamagedError: the file is missing, or does not match ``sha256`` or ``matrices``. The stack's
                record is deleted, and a resumed run trains the stack again.
        """
        return self._weights(stack, sha256, matrices)[0]

    def read_model(
        self, stack: str, model_id: str, sha256: str, matrices: Mapping[str, tuple[int, str]] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the parameters and the buffers of one model of a stack, each (numbers,).

        Raises:
            DamagedError: see :meth:`read_weights`.
        """
        arrays, ids = self._weights(stack, sha256, matrices)
        if model_id not in ids:
            raise DamagedError(f"the weights {weights_name(stack)} are not those of model {model_id}")
        row = ids.index(model_id)
        return arrays["theta"][row], arrays["buffers"][row]

    def _weights(
        self, stack: str, sha256: str | None, matrices: Mapping[str, tuple[int, str]] | None
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        name = weights_name(stack)
        try:
            return weights_in(self.files.read(name), sha256, matrices)
        except (FileNotFoundError, ValueError) as error:
            again = self._to_replace(stack)
            self.drop_stack(stack, error)
            raise DamagedError(f"the weights {name} are damaged ({error}); {again}") from error

    def drop_stack(self, stack: str, error: BaseException) -> None:
        """Move the damaged weights of a stack aside and delete its record, so that it is trained again."""
        self.damaged(weights_name(stack), error)
        if not self.mend:
            return
        for kind in ("models", "epochs", "imports"):
            self.drop_record(kind, stack)

    def _to_replace(self, stack: str) -> str:
        """Return how lost weights come back: models that were trained elsewhere are imported again."""
        imported = stack in self.by_key("imports")
        return "import them again" if imported else "resume trains them again"

    def drop_lost_weights(self) -> None:
        """Delete the records of stacks whose weights are missing or do not have the recorded size."""
        rows = self.read_records("models", ["stack", "weights_bytes"]).to_pylist()
        sizes = self.files.sizes("weights")
        for stack, recorded in {row["stack"]: row.get("weights_bytes") for row in rows}.items():
            size = sizes.get(weights_name(stack))
            if size and recorded in (None, size):  # earlier versions recorded no size
                continue
            what = "missing" if size is None else f"{size} bytes long, not {recorded or 'what they were'}"
            self.warn(f"{self.location}/{weights_name(stack)} are {what}; {self._to_replace(stack)}.")
            self.drop_stack(stack, ValueError(f"the weights are {what}"))

    def weights_bytes(self, stack: str) -> int | None:
        """Return the size of the weights of a stack; None if they are missing."""
        return self.files.sizes("weights").get(weights_name(stack))

    def write_state(self, stack: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Write the state of a long training in progress."""
        content = _safetensors(arrays, meta)
        self._write(f"states/{stack}.state", hashlib.sha256(content).digest() + content)

    def read_state(self, stack: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return what :meth:`write_state` wrote last, or None if it is missing or damaged."""
        name = f"states/{stack}.state"
        try:
            content = self.files.read(name)
            return read_arrays(content[32:], content[:32].hex())
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.damaged(name, error)
            return None

    def drop_state(self, stack: str) -> None:
        self.files.delete(f"states/{stack}.state")

    def damaged(self, name: str, error: BaseException) -> None:
        """Warn of an unreadable file, and move it aside unless another process has already moved it."""
        what = f"{self.location}/{name} is damaged ({cut(str(error))})"
        if not self.mend:
            self.warn_once(f"{what}; it is not used. `resume` sets it aside and computes it again.")
            return
        try:
            aside = self.files.set_aside(name)
        except FileNotFoundError:
            return
        except OSError as reason:
            if reason.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            self.warn(f"{what}; it is not used.")  # a reader of the run may have no write permission
        else:
            self.models_lost |= name.startswith(("records/models/", "weights/"))
            self.warn(f"{what}; it is kept as {aside}, and resume computes it again.")

    # Records --------------------------------------------------------------------------------------

    def write_record(self, kind: str, key: str, rows: list[dict[str, Any]]) -> None:
        """Write one record, the rows of one kind, atomically."""
        self._write(f"records/{kind}/{key}.parquet", to_parquet(table_of(rows)))

    def has_record(self, kind: str, key: str) -> bool:
        """Return whether a record has its own file. Records in merged files do not count."""
        return self.files.exists(f"records/{kind}/{key}.parquet")

    def drop_record(self, kind: str, key: str) -> None:
        """Delete one record if it exists."""
        self.files.delete(f"records/{kind}/{key}.parquet")
        for name in self._names(kind):
            if "/fold-" in name:
                records = self._checked_records(name)
                parts = dict(records.parts()) if records else {}
                if parts.pop(key, None) is not None:
                    self._write_fold(kind, parts)
                    self.files.delete(name)

    def drop_records(self, kind: str) -> None:
        """Delete all records of a kind."""
        for name in self._names(kind):
            self.files.delete(name)

    def read_records(self, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows of a kind, sorted by record key. Duplicate records count once.

        Raises:
            InputError: the records have incompatible columns.
        """
        places: dict[str, tuple[int, int, int]] = {}  # file, first row and end of each record
        tables: list[pa.Table] = []
        for records in self._files(kind, columns):
            start = 0
            for key, rows in records.sizes:
                places.setdefault(key, (len(tables), start, start + rows))
                start += rows
            known = records.table.column_names
            tables.append(records.table.select([c for c in columns or known if c in known]))
        if not places:
            return pa.table({})
        ordered = [places[key] for key in sorted(places)]
        used = list(dict.fromkeys(file for file, _, _ in ordered))
        sizes = itertools.accumulate((tables[file].num_rows for file in used), initial=0)
        before = dict(zip(used, sizes, strict=False))
        rows = array("q")
        for file, start, end in ordered:
            rows.extend(range(before[file] + start, before[file] + end))
        # pa.array would import pandas, which takes longer than all else that `status` does.
        order = pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])
        try:
            return pa.concat_tables([tables[file] for file in used], promote_options="permissive").take(order)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"{self.location}: the records of {kind} do not fit together: {error}"
            ) from error

    def by_key(self, kind: str) -> dict[str, pa.Table]:
        """Return the undamaged records of a kind, by key."""
        parts: dict[str, pa.Table] = {}
        for records in self._files(kind):
            for key, part in records.parts():
                parts.setdefault(key, part)
        return parts

    def _files(self, kind: str, columns: Sequence[str] | None = None) -> Iterator[Records]:
        """Yield the records of each undamaged file of a kind: all columns, or at least these.

        Raises:
            InputError: the records need far more memory than their files take on the disk.
        """
        seen: set[str] = set()
        again, needed, stored = True, 0, 0
        while again:
            names = [name for name in self._names(kind) if name not in seen]
            seen.update(names)
            again = False
            for name in names:
                records = self._checked_records(name, columns)
                again |= records is None  # the record may just have been merged into a new file
                if not records:
                    continue
                needed, stored = needed + records.table.nbytes, stored + records.file_bytes
                try:
                    require_room(needed, stored)
                except ValueError as error:
                    raise InputError(f"{self.location}: too many records of {kind}: {error}") from error
                yield records

    def compact(self, kind: str, at: int = COMPACT_AT) -> bool:
        """Merge the separate record files of a kind into one if there are at least ``at``; return whether.

        Readers always see the same records: the merged file exists before the separate files are deleted,
        and a duplicate record counts once.
        """
        names = [name for name in self._names(kind) if "/fold-" not in name]
        if len(names) < at:
            return False
        files = [records for name in names if (records := self._checked_records(name))]
        parts = {key: part for records in files for key, part in records.parts()}
        self._write_fold(kind, parts)
        for name in names:
            self.files.delete(name)
        return True

    def record_names(self) -> list[str]:
        """Return the names of all files with records."""
        names = (name for name in self.files.every() if name.startswith("records/"))
        return sorted(name for name in names if name.endswith(".parquet") and name.count("/") == 2)

    def _names(self, kind: str) -> list[str]:
        return self.files.names(f"records/{kind}", ".parquet")

    def _write_fold(self, kind: str, parts: dict[str, pa.Table]) -> None:
        if not parts:
            return
        keys = sorted(parts)
        merged = pa.concat_tables([parts[key] for key in keys], promote_options="permissive")
        sizes = json.dumps([[key, parts[key].num_rows] for key in keys])
        merged = merged.replace_schema_metadata({b"records": sizes.encode()})
        self._write(f"records/{kind}/fold-{digest(keys)}.parquet", to_parquet(merged))

    def _checked_records(self, name: str, columns: Sequence[str] | None = None) -> Records | None:
        """Return the records of a file; None if it is damaged, or gone because it was merged."""
        kind = name.split("/")[1]
        wanted = None if columns is None or ":" in kind else {*columns, *id_columns(kind)}
        try:
            records = records_in(name, self.files.read(name), wanted)
            check_records(kind, records)
            return records
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.damaged(name, error)
            return None

    # Tables ---------------------------------------------------------------------------------------

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table as Parquet, for pandas, Polars and DuckDB."""
        self._write(f"tables/{name}.parquet", to_parquet(pa.Table.from_pandas(frame, preserve_index=False)))


def records_in(
    name: str, content: bytes, columns: Collection[str] | None = None, *, checksum_needed: bool = False
) -> Records:
    """Return the records of a file. Raise ValueError if it is damaged, or they are not named."""
    table = of_parquet(content, columns, checksum_needed=checksum_needed)
    listed = (table.schema.metadata or {}).get(b"records")
    try:
        sizes = [(Path(name).stem, table.num_rows)] if listed is None else json.loads(listed)
        sizes = [(str(key), range(rows).stop) for key, rows in sizes]
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its records are not named: {error}") from error
    if any(rows < 0 for _, rows in sizes) or sum(rows for _, rows in sizes) != table.num_rows:
        raise ValueError("its records have other numbers of rows than it says")
    return Records(table.replace_schema_metadata(None), sizes, len(content))


def _joined(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the given settings, with the defaults of all others."""
    joined = dict(given)
    for key, value in defaults.items():
        if key not in joined:
            joined[key] = value
        elif isinstance(value, dict) and isinstance(joined[key], dict):
            joined[key] = _joined(joined[key], value)
    return joined


def _damage_of(info: Any) -> str:
    """Return what is wrong with the content of ``run.yaml``, or an empty text."""
    if not isinstance(info, dict):
        return "it is not a mapping"
    given, defaults = (info[k] if isinstance(info.get(k), dict) else {} for k in ("space", "defaults"))
    space = _joined(given, defaults)
    for name, value, kind in (
        ("name", info.get("name"), str),
        ("space.measures", space.get("measures"), dict),
        *((f"space.{name}", space.get(name) or {}, dict) for name in ("load", "temperature")),
        ("sources", info.get("sources", []), list),
        ("space", info.get("space"), dict),
        ("defaults", info.get("defaults", {}), dict),
        *((name, info.get(name, {}), dict) for name in ("stacks", "execution", "memory", "cards")),
    ):
        if not isinstance(value, kind):
            return f"{name} is missing or not a {KINDS[kind]}"
    if not ID.fullmatch(info["name"]):  # it becomes the name of a folder
        return f"name should be letters, digits, '.', '_' and '-', not {shown(info['name'])}"
    try:
        sources.versions(info)
    except (TypeError, ValidationError):
        return "kept_sources does not list source files"
    return ""


def weights_name(stack: str) -> str:
    """Return the name of the file with a stack's weights."""
    return f"weights/{stack}.safetensors"


def _file_stem(started: str) -> str:
    return re.sub(r"[^0-9T]", "", started)


def _safetensors(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> bytes:
    from safetensors.numpy import save

    # One entry only: safetensors writes several entries in varying order, which would change the checksum.
    return save(arrays, metadata={META: json.dumps(meta)})


def weights_in(
    content: bytes, sha256: str | None, matrices: Mapping[str, tuple[int, str]] | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays of a file of weights, and the model of each row.

    Raises:
        ValueError: the file is damaged, or its arrays are not such ``matrices``.
    """
    arrays, meta = read_arrays(content, sha256)
    ids = meta.get("model_ids") if isinstance(meta, dict) else None
    if not isinstance(ids, list) or (matrices and arrays.keys() != matrices.keys()) or "theta" not in arrays:
        raise ValueError("it does not have the parameters of its models")
    for name, matrix in arrays.items():
        if matrix.dtype.kind != "f" or matrix.ndim != 2 or len(matrix) != len(ids):
            raise ValueError(f"{name} is no matrix with a row of numbers for each of its {len(ids)} models")
        found = matrix.shape[1], matrix.dtype.name
        if matrices and found != (needed := matrices[name]) and found[0] + needed[0]:
            raise ValueError(
                f"{name} has {found[0]} numbers ({found[1]}) for each model, "
                f"and this architecture has {needed[0]} ({needed[1]})"
            )
    return arrays, ids


def read_arrays(content: bytes, sha256: str | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the metadata of a safetensors file.

    Raises:
        ValueError: the content does not match ``sha256``, or was not written by Explorer.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("its content is not what was written")
    length = int.from_bytes(content[:8], "little")
    try:
        meta = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][META])
        return load(content), meta
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("it was not written by Explorer") from error


def locate(name_or_folder: str | Path, storage: str | Path = "runs", *, mend: bool = False) -> Store:
    """Return the store of a run, given by its name below ``storage``, its folder or its URI.

    Args:
        mend: see :class:`Store`.

    Raises:
        InputError: no such run exists; the message lists the existing runs.
    """
    text = str(name_or_folder)
    places = [text] if URI.match(text) else [text, join(storage, text)]
    for place in places:
        store = Store(place, mend=mend)
        if store.exists():
            return store
    if Path(text).suffix in (".yaml", ".yml") and Path(text).is_file():
        raise InputError(
            f"{text} is a space file, not a run: `run {shlex.quote(text)}` starts or resumes its run"
        )
    names = Files(storage).folders_with("run.yaml")
    looked = f"{places[0]} has no" if URI.match(text) else f"neither {' nor '.join(places)} has a"
    raise InputError(
        f"there is no run {text!r}: {looked} run.yaml; "
        f"runs in {join(storage, '')}: {suggest(text, names) or 'none'}"
    )
