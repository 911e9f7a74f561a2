"""Verification of a run folder: compares files with checksums, and records with their names and weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from explorer.runs.parquet import of_parquet
from explorer.runs.records import check_records
from explorer.runs.store import Store, read_arrays, records_in, weights_in, weights_name
from explorer.settings import cut
from explorer.units import timestamp
from explorer.users import sources


class Damage(NamedTuple):
    """A damaged or missing file of a run folder, by its name there, and what is wrong with it."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def verify(store: Store) -> tuple[int, list[Damage]]:
    """Return how many files were read, and what is damaged. Changes nothing.

    Records, tables, states and weights have checksums, and ``run.yaml`` has those of the kept sources.
    ``run.yaml`` itself, sessions and logs have none.

    Raises:
        InputError: ``run.yaml`` is missing or damaged.
    """
    checks: dict[str, Callable[[bytes], object]] = {}
    for number, version in enumerate(sources.versions(store.read_info()), start=1):
        for path, sha256 in version.files.items():
            checks[store.source_name(number, path)] = lambda content, sha256=sha256: _require(
                sources.sha256(content) == sha256, "its content is not what was written"
            )
    weights: dict[str, tuple[str, list[str]]] = {}  # checksum and models by stack
    for name in store.record_names():
        checks[name] = lambda content, name=name: _check_records(name, content, weights)
    for name in store.files.names("tables", ".parquet"):
        checks[name] = lambda content: of_parquet(content, checksum_needed=True)
    for name in store.files.names("states", ".state"):
        checks[name] = lambda content: read_arrays(content[32:], content[:32].hex())
    damages = [_damage(store, name, check) for name, check in checks.items()]
    for stack, (sha256, ids) in weights.items():
        check = partial(_check_weights, sha256=sha256, ids=ids)
        damages.append(_damage(store, weights_name(stack), check))
    return len(damages), [damage for damage in damages if damage]


def repair(store: Store, damages: list[Damage]) -> None:
    """Set damaged files aside, so that ``resume`` trains and measures again what they had."""
    for file, what in damages:
        if file.startswith("weights/"):
            store.drop_stack(Path(file).stem, ValueError(what))
        else:
            store.damaged(file, ValueError(what))


def keep_result(store: Store, damages: list[Damage], *, repaired: bool) -> None:
    """Note how much is damaged, for ``status`` and pages. Without damage, delete the note."""
    now = timestamp()
    store.write_verification({"when": now, "damage": len(damages), "repaired": repaired} if damages else {})


def _damage(store: Store, name: str, check: Callable[[bytes], object]) -> Damage | None:
    """Return what is wrong with a file, or None. A record that was merged meanwhile is in another file."""
    try:
        check(store.files.read(name))
    except FileNotFoundError:
        return None if name.startswith("records/") else Damage(name, "it is missing")
    except (ValueError, KeyError, TypeError) as error:
        return Damage(name, cut(str(error)))
    return None


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _check_weights(content: bytes, sha256: str, ids: list[str]) -> None:
    _require(weights_in(content, sha256)[1] == ids, "it has other models than its record")


def _check_records(name: str, content: bytes, weights: dict[str, tuple[str, list[str]]]) -> None:
    """Check the records in a file, and add the checksums and models of their weights to ``weights``."""
    kind = name.split("/")[1]
    records = records_in(name, content, checksum_needed=True)
    check_records(kind, records)
    if kind == "models":
        for key, record in records.parts():
            rows = record.select(["model_id", "weights_sha256"]).to_pylist()
            weights[key] = rows[0]["weights_sha256"], [row["model_id"] for row in rows]
