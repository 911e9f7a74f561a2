"""The run folder. The only module that knows a file name.

::

    run.yaml                       the frozen space, versions, machine
    hold.yaml, hold.lock           who works on the run at the moment, and the lock of a local folder
    sessions/<start>.yaml          what each start of the program did, and how long it took
    sessions/<start>.log           its log: what was done when, and by which worker
    profile/trace.json             the last start with --profile, for chrome://tracing or Perfetto
    weights/<stack>.safetensors    trained models of one stack: theta, buffers
    states/<stack>.safetensors     a long training under way; removed when it is done
    records/<kind>/<key>.parquet   what is known, as it is found: the truth
    records/<kind>/fold-*.parquet  many records in one file; their keys are in its metadata
    tables/<table>.parquet         the records joined, sorted and named for people
    damaged/                       files that could not be read, set aside

A record exists whole or not at all, and existing means complete: a resumed run does what has no record.
Works on a local folder and on any file system of :mod:`pyarrow.fs` (``s3://bucket/path``).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from explorer.runs import plainyaml
from explorer.runs.files import Files, join
from explorer.runs.parquet import of_parquet, table_of, to_parquet
from explorer.settings import InputError, digest, suggest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

META = "explorer"  # the entry of a safetensors header that holds what goes with the arrays, as JSON
KINDS = {str: "text", dict: "mapping", list: "list"}
MEND = "Without it, `run` with the space file and this name makes it anew, and keeps what is trained."
FOLD_AT = 500  # records of a kind that lie in files of their own before they are folded into one


class DamagedError(Exception):
    """A file of the run is not what was written (power cut, bad disk). It was set aside."""


class Store:
    """Reads and writes one run folder.

    ``warn`` hears of damaged files, which are set aside, so that what they held is done again; it is told on
    standard error, if left out.
    """

    def __init__(self, location: str | Path, warn: Callable[[str], None] | None = None):
        self.files = Files(location, say=lambda text: self.warn(text))
        self.warn = warn or _to_standard_error
        self.location = self.files.location
        self.warned: list[str] = []  # settings that were told to be ignored

    def exists(self) -> bool:
        """Whether there is a run here."""
        return self.files.exists("run.yaml")

    # run.yaml and sessions ------------------------------------------------------------------------

    def write_info(self, info: dict[str, Any]) -> None:
        """Write ``run.yaml``; the sessions, which have files of their own, are left out."""
        kept = {key: value for key, value in info.items() if key != "sessions"}
        self.files.write("run.yaml", plainyaml.dump(kept))

    def update_info(self, **changes: Any) -> None:
        """Change entries of ``run.yaml``, and keep all others as they are there."""
        self.write_info(self._read_info() | changes)

    def read_info(self) -> dict[str, Any]:
        """``run.yaml``, with the sessions under ``sessions``, oldest first.

        Under ``space`` are the settings that were said and the defaults; those that were said under ``said``.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        info = self._read_info()
        info["said"] = info["space"]
        info["space"] = _joined(info["space"], info.pop("defaults", {}))
        info["sessions"] = []
        for name in self.files.names("sessions", ".yaml"):
            with contextlib.suppress(OSError, ValueError):
                session = plainyaml.load(self.files.read(name))
                if _is_session(session):
                    info["sessions"].append(session)
        return info

    def _read_info(self) -> dict[str, Any]:
        try:
            info = plainyaml.load(self.files.read("run.yaml"))
        except FileNotFoundError:
            raise InputError(f"{self.location} is not a run folder: it has no run.yaml") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.location}: run.yaml cannot be read: {error}. {MEND}") from error
        if wrong := _not_ours(info):
            raise InputError(
                f"{self.location}: run.yaml is not one of Explorer's, or is damaged: {wrong}. {MEND}"
            )
        return info

    def write_session(self, started: str, session: dict[str, Any]) -> None:
        self.files.write(f"sessions/{_plain(started)}.yaml", plainyaml.dump(session))

    def write_trace(self, content: bytes) -> None:
        self.files.write("profile/trace.json", content)

    def write_log(self, started: str, text: str) -> None:
        self.files.write(f"sessions/{_plain(started)}.log", text.encode())

    # Weights and states ---------------------------------------------------------------------------

    def write_weights(self, stack: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> str:
        """Models of one stack: ``theta`` (models, parameters), ``buffers`` (models, numbers).

        ``meta`` says what the rows are (``model_ids``) and how a row is cut (``layers``). Returns the
        SHA-256 of the file, to be kept in the stack's record.
        """
        content = _safetensors(arrays, meta)
        self.files.write(f"weights/{stack}.safetensors", content)
        return hashlib.sha256(content).hexdigest()

    def read_weights(self, stack: str, sha256: str | None = None) -> dict[str, np.ndarray]:
        """The arrays of a stack.

        Raises:
            DamagedError: the file is missing, or differs from the ``sha256`` given; the stack's record
                is then taken back, so that a resumed run trains it again.
        """
        return self._weights(stack, sha256)[0]

    def read_model(self, stack: str, model_id: str, sha256: str) -> tuple[np.ndarray, np.ndarray]:
        """Parameters and buffers of one model of a stack, each (numbers,).

        Raises:
            DamagedError: see :meth:`read_weights`.
        """
        arrays, meta = self._weights(stack, sha256)
        row = meta["model_ids"].index(model_id)
        return arrays["theta"][row], arrays["buffers"][row]

    def _weights(self, stack: str, sha256: str | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        name = f"weights/{stack}.safetensors"
        try:
            content = self.files.read(name)
            if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError("its content is not what was written")
            return load(content), _meta(content)
        except (FileNotFoundError, ValueError, SafetensorError) as error:
            self.damaged(name, error)
            for kind in ("models", "epochs"):
                self.drop_record(kind, stack)
            raise DamagedError(
                f"the weights {name} are damaged ({error}); resume trains them again"
            ) from error

    def write_state(self, stack: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Where a long training is."""
        content = _safetensors(arrays, meta)
        checked = hashlib.sha256(content).digest() + content
        self.files.write(f"states/{stack}.state", checked)

    def read_state(self, stack: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """What :meth:`write_state` wrote last, or None where there is nothing sound."""
        from safetensors import SafetensorError, deserialize
        from safetensors.numpy import load

        name = f"states/{stack}.state"
        try:
            raw = self.files.read(name)
            content = raw[32:]
            if hashlib.sha256(content).digest() != raw[:32]:
                raise ValueError("its content is not what was written")
            deserialize(content)
            return load(content), _meta(content)
        except FileNotFoundError:
            return None
        except (ValueError, SafetensorError) as error:
            self.damaged(name, error)
            return None

    def drop_state(self, stack: str) -> None:
        self.files.delete(f"states/{stack}.state")

    def damaged(self, name: str, error: BaseException) -> None:
        """Set a file aside that cannot be read, and say so; unless somebody else has done so meanwhile."""
        what = f"{self.location}/{name} is damaged ({error})"
        try:
            aside = self.files.set_aside(name)
        except FileNotFoundError:
            return
        except OSError as reason:
            if reason.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            self.warn(f"{what}; it is not used.")  # who only reads the run may not be allowed to change it
        else:
            self.warn(f"{what}; it is kept as {aside}, and resume makes it again.")

    # Records --------------------------------------------------------------------------------------

    def write_record(self, kind: str, key: str, rows: list[dict[str, Any]]) -> None:
        """One record: rows of one kind, in one file that appears whole."""
        self.files.write(f"records/{kind}/{key}.parquet", to_parquet(table_of(rows)))

    def has_record(self, kind: str, key: str) -> bool:
        """Whether there is a record in a file of its own (folded ones are not looked for)."""
        return self.files.exists(f"records/{kind}/{key}.parquet")

    def drop_record(self, kind: str, key: str) -> None:
        """Take one record back, if it is there."""
        self.files.delete(f"records/{kind}/{key}.parquet")
        for name in self._names(kind):
            if os.path.basename(name).startswith("fold-"):
                parts = self._unfold(name)
                if parts and parts.pop(key, None) is not None:
                    self._write_fold(kind, parts)
                    self.files.delete(name)

    def drop_records(self, kind: str) -> None:
        """Take all records of a kind back."""
        for name in self._names(kind):
            self.files.delete(name)

    def read_records(self, kind: str, columns: list[str] | None = None) -> pa.Table:
        """All rows of a kind, in the order of the records' keys. A record that is there twice counts once.

        Raises:
            InputError: they are of no one kind, and not all of Explorer's.
        """
        parts = self.by_key(kind, columns)
        if not parts:
            return pa.table({})
        try:
            return pa.concat_tables([parts[key] for key in sorted(parts)], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"{self.location}: the records of {kind} do not fit together: {error}"
            ) from error

    def by_key(self, kind: str, columns: list[str] | None = None) -> dict[str, pa.Table]:
        """The sound records of a kind, by key."""
        parts: dict[str, pa.Table] = {}
        seen: set[str] = set()
        again = True
        while again:
            names = [name for name in self._names(kind) if name not in seen]
            seen.update(names)
            again = False
            for name in names:
                found = self._unfold(name)
                again |= not found  # it may have been folded meanwhile, into a file that was not there yet
                for key, part in found.items():
                    parts.setdefault(
                        key, part.select([c for c in columns if c in part.column_names]) if columns else part
                    )
        return parts

    def fold(self, kind: str, at: int = FOLD_AT) -> bool:
        """Put the records that lie in files of their own into one, if there are at least ``at``.

        Readers see the same at every moment: the one file is there before the many are gone, and a
        record that is there twice counts once.
        """
        names = [n for n in self._names(kind) if not os.path.basename(n).startswith("fold-")]
        if len(names) < at:
            return False
        parts = {key: part for name in names for key, part in self._unfold(name).items()}
        self._write_fold(kind, parts)
        for name in names:
            self.files.delete(name)
        return True

    def _names(self, kind: str) -> list[str]:
        return self.files.names(f"records/{kind}", ".parquet")

    def _write_fold(self, kind: str, parts: dict[str, pa.Table]) -> None:
        if not parts:
            return
        keys = sorted(parts)
        merged = pa.concat_tables([parts[key] for key in keys], promote_options="permissive")
        sizes = json.dumps([[key, parts[key].num_rows] for key in keys])
        merged = merged.replace_schema_metadata({b"records": sizes.encode()})
        self.files.write(f"records/{kind}/fold-{digest(keys)}.parquet", to_parquet(merged))

    def _unfold(self, name: str) -> dict[str, pa.Table]:
        """The records of a file, by key; none when it is damaged or has gone meanwhile (it was folded)."""
        try:
            table = of_parquet(self.files.read(name))
            sizes = (table.schema.metadata or {}).get(b"records")
            keys = [[_key(name), table.num_rows]] if sizes is None else json.loads(sizes)
            return _parts(table.replace_schema_metadata(None), keys)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            self.damaged(name, error)
            return {}

    # Tables ---------------------------------------------------------------------------------------

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """A table as Parquet, for pandas, Polars, DuckDB."""
        self.files.write(
            f"tables/{name}.parquet", to_parquet(pa.Table.from_pandas(frame, preserve_index=False))
        )


def _to_standard_error(text: str) -> None:
    print(text, file=sys.stderr)


def _key(name: str) -> str:
    """Of the record that has a file of its own."""
    return os.path.basename(name).removesuffix(".parquet")


def _parts(table: pa.Table, keys: Any) -> dict[str, pa.Table]:
    """A table cut into records. Raises ValueError where these are no keys with numbers of rows."""
    parts, start = {}, 0
    try:
        for key, rows in keys:
            parts[str(key)] = table.slice(start, rows)
            start += rows
    except TypeError as error:
        raise ValueError(f"its records are not named: {error}") from error
    return parts


def _joined(said: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The settings that were said, and the defaults of all others."""
    found = dict(said)
    for key, value in defaults.items():
        if key not in found:
            found[key] = value
        elif isinstance(value, dict) and isinstance(found[key], dict):
            found[key] = _joined(found[key], value)
    return found


def _not_ours(info: Any) -> str:
    """What others count on and ``run.yaml`` does not have; nothing if it is as it should be."""
    if not isinstance(info, dict):
        return "it is no mapping"
    said, defaults = (info[k] if isinstance(info.get(k), dict) else {} for k in ("space", "defaults"))
    space = _joined(said, defaults)
    for name, value, kind in (
        ("name", info.get("name"), str),
        ("space.measures", space.get("measures"), dict),
        *((f"space.{name}", space.get(name) or {}, dict) for name in ("load", "temperature")),
        ("sources", info.get("sources", []), list),
        ("space", info.get("space"), dict),
        ("defaults", info.get("defaults", {}), dict),
        *((name, info.get(name, {}), dict) for name in ("stacks", "execution", "memory")),
    ):
        if not isinstance(value, kind):
            return f"{name} is missing, or no {KINDS[kind]}"
    return ""


def _is_session(found: Any) -> bool:
    """Whether this is what a start of the program leaves, as far as others count on it."""
    if not isinstance(found, dict):
        return False
    parts = [found.get(name, {}) for name in ("stages", "workers")]
    if not all(isinstance(part, dict) for part in parts):
        return False
    return all(
        isinstance(seconds, int | float)
        for seconds in (found.get("wall_s", 0), *(s for part in parts for s in part.values()))
    )


def _plain(started: str) -> str:
    return re.sub(r"[^0-9T]", "", started)


def _safetensors(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> bytes:
    from safetensors.numpy import save

    # One entry only: safetensors writes several in an order of its own, and the checksum would change.
    return save(arrays, metadata={META: json.dumps(meta)})


def _meta(content: bytes) -> dict[str, Any]:
    """What goes with the arrays of a safetensors file. Raises ValueError where nothing does."""
    length = int.from_bytes(content[:8], "little")
    try:
        return json.loads(json.loads(content[8 : 8 + length])["__metadata__"][META])
    except (KeyError, TypeError) as error:
        raise ValueError("it is not one of Explorer's") from error


def locate(name_or_folder: str | Path, storage: str = "runs") -> Store:
    """The run of this name below ``storage``, or in this folder or at this URI.

    Raises:
        InputError: there is none; the message lists the runs there are.
    """
    text = str(name_or_folder)
    places = [text] if "://" in text else [text, join(storage, text)]
    for place in places:
        store = Store(place)
        if store.exists():
            return store
    if Path(text).suffix in (".yaml", ".yml") and Path(text).is_file():
        raise InputError(
            f"{text} is a space file, not a run: `run {shlex.quote(text)}` makes one, or goes on with it"
        )
    root = Path(storage)
    there = [p.parent.name for p in root.glob("*/run.yaml")] if root.is_dir() else []
    raise InputError(
        f"there is no run {text!r}: neither {' nor '.join(places)} has a run.yaml; "
        f"runs in {storage}/: {suggest(text, there) or 'none'}"
    )
