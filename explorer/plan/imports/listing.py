"""Checkpoints in a folder, with the settings of each: from a CSV file, file names, Ray Tune or Lightning."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from explorer import plainyaml
from explorer.data.formats.reading import as_text, read_bytes
from explorer.plan.imports.reading import SUFFIXES, read_state
from explorer.settings import InputError, in_a_line, listed, shown


def rows_of_folder(
    folder: Path,
    settings: Path | None = None,
    pattern: str | None = None,
    renamed: Mapping[str, str] | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """Return for each checkpoint where its settings stand, and the settings with its path as ``file``.

    Settings come from a CSV file with a column ``file``, from a CSV file and a pattern of file names, from
    the file names alone, or from the layouts of Ray Tune (``params.json``) and Lightning (``hparams.yaml``).

    Args:
        renamed: our names of columns by theirs; one may be that of the files.

    Raises:
        InputError: the folder or the CSV file is not there or not of this form.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the folder that holds the checkpoints")
    if settings is not None:
        rows = list(_csv_rows(settings))
        if pattern is not None:
            rows = [(where, {**row, "file": _filled(pattern, row, where)}) for where, row in rows]
        column = next((theirs for theirs, ours in (renamed or {}).items() if ours == "file"), "file")
        if lacking := next((where for where, row in rows if not row.get(column)), None):
            raise InputError(
                f"{lacking}: there is no file; give the CSV file a column file with paths below {folder} (or "
                "name it with --columns path=file), or a pattern such as --files 'w{width}/seed{seed}.pt'"
            )
        return rows
    if pattern is not None:
        return _matching(folder, pattern)
    rows = [*_of_tune(folder), *_of_lightning(folder)]
    if not rows:
        raise InputError(
            f"{folder} holds no results of Ray Tune (params.json) or Lightning (hparams.yaml); give the "
            "settings of each checkpoint with --settings settings.csv, or in file names with "
            "--files 'w{width}/seed{seed}.pt'"
        )
    return rows


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the values of each row of a CSV file."""
    if path.is_dir():
        raise InputError(f"--settings {path} is a folder; name the CSV file with the settings")
    text = as_text(read_bytes(path), path)
    if "\0" in text:
        raise InputError(f"{path} has a zero byte, so it is no CSV file; save it as one")
    reader = csv.DictReader(io.StringIO(text, newline=None), skipinitialspace=True)
    try:
        yield from _rows_of(reader, path)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; save it as a CSV file again") from None


def _rows_of(reader: csv.DictReader[str], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    names = list(reader.fieldnames or [])
    if len(names) == 1 and ";" in names[0]:
        raise InputError(f"{path} has semicolons between its columns; save it with commas")
    if len(names) == 1 and "\t" in names[0]:
        raise InputError(f"{path} has tabs between its columns; save it with commas")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path} has several columns {twice[0]!r}; rename them, or delete all but one")
    empty = True
    for row in reader:
        empty, where = False, f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise InputError(f"{where}: it should have {len(names)} values, as line 1 has")
        yield where, {name: _value(text) for name, text in row.items()}
    if empty:
        raise InputError(f"{path} has no row; give it a row for each checkpoint")


def _value(text: str) -> Any:
    """Return a number or truth value that a text means, else the text."""
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _filled(pattern: str, row: Mapping[str, Any], where: str) -> str:
    """Return the path that a pattern means for the settings of a row."""
    try:
        return pattern.format_map(row)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"--files {pattern}: {where} has no value for it ({in_a_line(error)}); its columns are "
            f"{listed(row)}"
        ) from None


def _matching(folder: Path, pattern: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the files below a folder whose path fits a pattern, with the settings in it."""
    parts = re.split(r"\{(\w+)\}", pattern)
    names = parts[1::2]
    if not names or len(set(names)) < len(names) or {"{", "}"} & set("".join(parts[::2])):
        raise InputError(
            f"--files {pattern}: it should name each setting once, such as 'w{{width}}/seed{{seed}}.pt'"
        )
    words = [f"(?P<{part}>[^/]+?)" if place % 2 else re.escape(part) for place, part in enumerate(parts)]
    expression = re.compile("".join(words))
    rows = []
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        if match := expression.fullmatch(path := file.relative_to(folder).as_posix()):
            rows.append((path, {**{n: _value(v) for n, v in match.groupdict().items()}, "file": path}))
    if not rows:
        raise InputError(f"--files {pattern}: no file below {folder} has such a name")
    return rows


def _of_tune(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the trials of Ray Tune below a folder, each with the file of its last checkpoint."""
    for file in sorted(folder.rglob("params.json")):
        try:
            params = json.loads(as_text(read_bytes(file), file))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} cannot be read as JSON: {error}; repair it") from None
        if not isinstance(params, dict):
            raise InputError(f"{file} holds no settings by name; give them with --settings settings.csv")
        places = [place for place in file.parent.glob("checkpoint*") if place.is_dir()]
        last = max(places, key=lambda place: _numbers(place.name), default=file.parent)
        yield str(file), {**_flat(params, file), "file": _only_checkpoint(last, folder, file, parts=True)}


def _of_lightning(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the versions of Lightning below a folder, each with its last checkpoint."""
    for file in sorted(folder.rglob("hparams.yaml")):
        try:
            params = plainyaml.load(read_bytes(file))
        except ValueError as error:
            raise InputError(f"{file} cannot be read as plain YAML: {error}; use --settings") from None
        if not isinstance(params, dict):
            raise InputError(f"{file} holds no hyperparameters; give them with --settings settings.csv")
        place = file.parent / "checkpoints"
        yield str(file), {**_flat(params, file), "file": _only_checkpoint(place, folder, file)}


def _only_checkpoint(place: Path, folder: Path, settings: Path, parts: bool = False) -> str:
    """Return the last checkpoint in ``place``, relative to ``folder``: ``last.*``, or by its numbers.

    Args:
        parts: files whose names differ in more than numbers are parts of one checkpoint, such as
            ``optimizer.pt``; only one of them may hold weights by name.
    """
    files = [f for f in (place.iterdir() if place.is_dir() else ()) if f.suffix in SUFFIXES]
    if not files:
        raise InputError(
            f"{settings}: {place} holds no checkpoint ({', '.join(SUFFIXES)}); delete this folder, or name "
            "the files with --settings"
        )
    if parts and len({re.sub(r"\d+", "", file.name) for file in files}) > 1:
        weights = [file for file in files if _holds_weights(file)]
        if len(weights) != 1:
            raise InputError(
                f"{settings}: {place} holds {listed(sorted(file.name for file in files))}, of which "
                f"{len(weights) or 'none'} have weights by name; name the file of each model with --settings "
                "settings.csv, in a column file"
            )
        files = weights
    last = max(files, key=lambda file: (file.stem == "last", _numbers(file.stem), file.name))
    return last.relative_to(folder).as_posix()


def _holds_weights(path: Path) -> bool:
    try:
        return bool(read_state(path))
    except InputError:
        return False


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _flat(values: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the values of nested mappings by their own names.

    Raises:
        InputError: a name has two values.
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        added = _flat(value, file) if isinstance(value, dict) else {str(name): value}
        for twice in flat.keys() & added.keys():
            if flat[twice] != added[twice]:
                raise InputError(
                    f"{file}: {twice!r} has two values, {shown(flat[twice])} and {shown(added[twice])}; give "
                    "the settings with --settings settings.csv"
                )
        flat |= added
    return flat
