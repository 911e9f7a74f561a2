"""Checkpoints of models that were trained elsewhere: their settings, the space of them, and their weights."""

from __future__ import annotations

import csv
import hashlib
import inspect
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from explorer import columns, plainyaml, user_process
from explorer.data.dataset import Arrays
from explorer.data.formats.reading import as_text, read_bytes
from explorer.objects import content_of
from explorer.plan.stacks import shape_of
from explorer.plan.units import Part, Stack, data_source
from explorer.runs.store import Store
from explorer.settings import InputError, digest, in_a_line, plugin, shown
from explorer.space.checking import DEFAULT_MEASURES
from explorer.space.model import PACKAGES, Cell, Space, module_of
from explorer.space.reading import parse, set_value
from explorer.space.training import TrainingOptions
from explorer.users import user_function, users_code

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
HOLDERS = ("state_dict", "model_state_dict", "model")  # keys of a checkpoint that may hold its weights
PREFIX = re.compile(r"^(module|model|_orig_mod)\.")  # of DataParallel, Lightning and torch.compile
SETTING = re.compile(r"(load|temperature|training)\.(\w+)(?:\.\d+)?: (.*)")  # of a message about it
RESULTS = ("train_loss", "train_error_percent", "test_loss", "test_accuracy_percent")
TEMPERATURE = ("batch_size", "learning_rate", "weight_decay", "momentum")  # first in maps
OF_CHECKPOINTS = ("load", "temperature", "seeds", "skip", "imported")  # sections that they decide
TOLD = 20  # wrong files that are told at once
EXACT = 2**53  # floating-point numbers below it may stand for a whole number
PER_STACK = 16  # models of a cell whose weights share a file


class Checkpoint(NamedTuple):
    """A checkpoint: its file, where its settings stand, the settings, its seed, and results to compare."""

    file: Path
    where: str
    settings: dict[str, Any]
    seed: int | None
    results: dict[str, float]


# Files and their settings -----------------------------------------------------------------------------


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
    found = [*_of_tune(folder), *_of_lightning(folder)]
    if not found:
        raise InputError(
            f"{folder} holds no results of Ray Tune (params.json) or Lightning (hparams.yaml); give the "
            "settings of each checkpoint with --settings settings.csv, or in file names with "
            "--files 'w{width}/seed{seed}.pt'"
        )
    return found


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the values of each row of a CSV file."""
    if path.is_dir():
        raise InputError(f"--settings {path} is a folder; name the CSV file with the settings")
    text = as_text(read_bytes(path), path)
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
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
            f"{', '.join(row)}"
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
        if found := expression.fullmatch(path := file.relative_to(folder).as_posix()):
            rows.append((path, {**{n: _value(v) for n, v in found.groupdict().items()}, "file": path}))
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
                f"{settings}: {place} holds {', '.join(sorted(file.name for file in files))}, of which "
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
        found = _flat(value, file) if isinstance(value, dict) else {str(name): value}
        for twice in flat.keys() & found.keys():
            if flat[twice] != found[twice]:
                raise InputError(
                    f"{file}: {twice!r} has two values, {shown(flat[twice])} and {shown(found[twice])}; give "
                    "the settings with --settings settings.csv"
                )
        flat |= found
    return flat


# The space ----------------------------------------------------------------------------------------


def data_section(data: str | dict[str, Any]) -> dict[str, Any]:
    """Return the section ``data`` of a space for a file, a folder, a data set's name or a function.

    A section itself gets its default.

    Inputs are not standardised, because a model is measured on the inputs that it was trained on.
    """
    path = Path("" if isinstance(data, dict) else data)
    kinds = {".npz": "arrays", ".csv": "table", ".tsv": "table", ".parquet": "table"}
    if isinstance(data, dict):
        section = dict(data)
    elif path.suffix in kinds or path.is_dir():
        section = {"name": kinds.get(path.suffix, "image-folder"), "path": data}
    elif ":" in data or data in PACKAGES["data"][0].NAMES:
        section = {"name": data}
    else:
        plugin(PACKAGES["data"][0], data, "file, folder or data set")
        raise AssertionError("unreachable")
    plain = "standardise" in module_of("data", section["name"]).Options.model_fields
    return ({"standardise": False} if plain else {}) | section


def checkpoints_of(
    rows: Sequence[tuple[str, dict[str, Any]]],
    folder: Path,
    raw: dict[str, Any],
    renamed: Mapping[str, str],
) -> tuple[list[Checkpoint], dict[str, str]]:
    """Return the checkpoints, and the section of the space that each of their settings belongs to.

    Args:
        raw: plain data of the space, with ``data`` and ``model``.
        renamed: our names of columns by theirs; see :func:`explorer.columns.renames`.

    Raises:
        InputError: a column is no setting, or a value is missing; the message lists all such columns.
    """
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    if unknown := [name for name in renamed if name not in names]:
        raise InputError(f"--columns {unknown[0]}=…: there is no such column; there are {', '.join(names)}")
    ours = {name: renamed.get(name, name) for name in names}
    if twice := [name for name, new in renamed.items() if new in names and ours[new] == new != name]:
        new = ours[twice[0]]
        raise InputError(
            f"--columns {twice[0]}={new}: there is a column {new!r} already; leave it out with {new}="
        )
    known, takes_others = _known_settings(raw)
    other = [n for n, o in ours.items() if o and o not in {"file", "seed", *RESULTS, *known}]
    if takes_others:  # a column that is near a setting is one only if the user has named it
        choices = [*known, "seed", *RESULTS]
        free = [n for n in other if n in renamed or not columns.nearest(n, choices)]
        free = [n for n in free if ours[n].isidentifier()]
        known |= {ours[n]: "model" for n in free}
        other = [n for n in other if n not in free]
    if other:
        hints = [(name, columns.nearest(name, [*known, "seed", *RESULTS])) for name in other]
        described = [f"{name!r}{f' (perhaps {hint})' if hint else ''}" for name, hint in hints]
        shown_as = [f"{name}={hint}" for name, hint in hints]
        raise InputError(
            f"{rows[0][0].partition(', line')[0]}: {', '.join(described)}: no setting of this data set, "
            f"architecture or training. Rename columns, or leave them out with an empty name: "
            f"--columns {','.join(shown_as)}"
        )
    found = []
    for where, row in rows:
        values = {ours[name]: _whole(row.get(name)) for name in names if ours[name]}
        for name, value in values.items():
            if name not in RESULTS and (value is None or value == ""):
                raise InputError(f"{where}: {name} has no value; give it one, or leave the column out")
            if not isinstance(value, bool | int | float | str | None):
                raise InputError(f"{where}: {name} is {shown(value)}; a setting is a number or a word")
        seed = values.get("seed")
        if seed is not None and (not isinstance(seed, int) or seed < 0):
            raise InputError(f"{where}: seed is {seed!r}; it should be a whole number from 0")
        results = {n: v for n, v in values.items() if n in RESULTS and v not in (None, "")}
        if wrong := [name for name, v in results.items() if isinstance(v, str | bool)]:
            raise InputError(f"{where}: {wrong[0]} is {shown(results[wrong[0]])}; it should be a number")
        settings = {name: value for name, value in values.items() if name in known}
        found.append(Checkpoint(folder / str(values["file"]), where, settings, seed, results))
    at: dict[Path, str] = {}
    for one in found:
        if (other := at.setdefault(one.file.absolute(), one.where)) != one.where:
            raise InputError(
                f"{other} and {one.where} name the same file {one.file}; give each model once, or two models "
                "would be compared that are one"
            )
    return found, known


def _whole(value: Any) -> Any:
    """Return a number such as 4.0 as the whole number that it is; anything else as it is."""
    whole = isinstance(value, float) and abs(value) < EXACT and value.is_integer()
    return int(value) if whole else value


def _known_settings(raw: dict[str, Any]) -> tuple[dict[str, str], bool]:
    """Return the settings that a checkpoint may have, with their sections.

    The second result says whether the architecture takes arguments of any name.
    """
    data, model = raw["data"]["name"], raw["model"]["name"]
    takes_others = False
    if ":" in model:
        what = f"the import of {model!r}"
        named, takes_others = user_process.call(f"{__name__}:options_of", model, what=what)
        of_model = [*named, *raw["model"]]
    else:
        of_model = list(module_of("model", model).Options.model_fields)
    known = dict.fromkeys(TrainingOptions.model_fields, "training")
    known |= dict.fromkeys(of_model, "model")
    known |= dict.fromkeys([*module_of("data", data).Options.model_fields, *raw["data"]], "data")
    return {n: section for n, section in known.items() if n not in ("name", "loss")}, takes_others


def options_of(reference: str) -> tuple[list[str], bool]:
    """Return the names of the arguments of a user's architecture, besides ``shape`` and ``classes``.

    The second result says whether it has ``**kwargs``.
    """
    function = user_function(reference)
    with users_code(reference, "has no signature"):
        parameters = list(inspect.signature(function).parameters.values())
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_others = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return [name for name in named if name not in ("shape", "classes")], takes_others


def space_of(
    checkpoints: Sequence[Checkpoint], known: Mapping[str, str], raw: dict[str, Any], overrides: Sequence[str]
) -> tuple[Space, dict[str, Checkpoint]]:
    """Return the checked space of some checkpoints, and the checkpoints by ``model_id``.

    A setting with several values is an axis. A setting of the training is a temperature, any other a load.

    Raises:
        InputError: two checkpoints have the same settings and seed, there is no setting, or a value is wrong.
    """
    names = list(dict.fromkeys(name for one in checkpoints for name in one.settings))
    if not names:
        raise InputError(
            f"{checkpoints[0].where}: there is no setting besides file and seed; give at least one, such as "
            "width or batch_size, or a map has no axis"
        )
    values = {name: _in_order(one.settings[name] for one in checkpoints) for name in names}
    axes = [name for name in names if len(values[name]) > 1] or names[:1]
    axes.sort(key=lambda name: TEMPERATURE.index(name) if name in TEMPERATURE else len(TEMPERATURE))
    raw = {**raw, "load": {}, "temperature": {}, "training": {**raw.get("training", {})}}
    for name in names:
        section = known[name]
        if name in axes:
            raw["temperature" if section == "training" else "load"][name] = values[name]
        if name not in axes or section == "model":
            raw[section] = {**raw[section], name: values[name][0]}
    cells: dict[str, dict[int, Checkpoint]] = {}
    at: dict[str, dict[str, Any]] = {}
    for one in checkpoints:
        place = {name: one.settings[name] for name in axes}
        key = json.dumps([float(v) if isinstance(v, int) else v for v in place.values()])
        seeds = cells.setdefault(key, {})
        at.setdefault(key, place)
        seed = len(seeds) if one.seed is None else one.seed
        if seed in seeds:
            same = ", ".join(f"{name} {value}" for name, value in place.items())
            raise InputError(
                f"{seeds[seed].where} and {one.where} are two models with {same} and seed {seed}; give them "
                "different seeds, or a column for the setting in which they differ"
            )
        seeds[seed] = one
    raw["seeds"] = sorted({seed for seeds in cells.values() for seed in seeds})
    raw["imported"] = [{"at": at[key], "seeds": sorted(seeds)} for key, seeds in cells.items()]
    try:
        space = parse(raw, overrides)
    except InputError as error:
        raise InputError(_of_settings(str(error), checkpoints[0].where)) from None
    if space.refine is not None:
        raise InputError("refine chooses cells to train, and imported models are trained; leave refine out")
    by_id = {
        cell.model_id(seed): one
        for cell, seeds in zip(space.cells, cells.values(), strict=True)
        for seed, one in seeds.items()
    }
    return space, by_id


def _of_settings(problems: str, where: str) -> str:
    """Return what is wrong with a space, in terms of the settings that it was made of."""
    source, lines = where.partition(", line")[0], problems.splitlines()
    causes = [line for line in lines if not line.startswith("imported")] or lines
    found = []
    for line in causes:
        if setting := SETTING.match(line):
            section, name, rest = setting.groups()
            line = f"{source}: {name}: {rest.removeprefix(f'{name}: ')}"
            if section == "training" or name in TrainingOptions.model_fields:
                line += f"; or leave it out: --columns {name}="
        found.append(line)
    return "\n".join(found)


def _in_order(values: Iterable[Any]) -> list[Any]:
    """Return the distinct values: numbers ascending, others as they come."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct) if all(isinstance(v, int | float) for v in distinct) else distinct


def plain_space(
    name: str, model: str, data: str | dict[str, Any], overrides: Sequence[str]
) -> dict[str, Any]:
    """Return plain data of a space without axes, with the overrides of its data and architecture.

    Raises:
        InputError: an override concerns what the checkpoints decide.
    """
    raw: dict[str, Any] = {"name": name, "data": data_section(data), "model": {"name": model}}
    raw |= {"training": {}, "measures": {k: dict(v) for k, v in DEFAULT_MEASURES.items()}}
    for override in overrides:
        if override.partition("=")[0].partition(".")[0] in OF_CHECKPOINTS:
            raise InputError(f"--set {override}: axes and seeds are those of the checkpoints; leave it out")
        if override.startswith(("data.", "model.")):
            set_value(raw, override)
    return raw


# Weights ------------------------------------------------------------------------------------------


def check_files(space: Space, files: Mapping[str, Checkpoint]) -> list[str]:
    """Check that each checkpoint holds the weights of its network. Runs in the process for users' code.

    Returns sentences about weights that are left out, and about files with the same weights.

    Raises:
        InputError: some do not; the message has a line for each, with the file's name.
    """
    readings: dict[str, Reading] = {}
    clean: dict[str, Arrays] = {}
    for cell in space.cells:
        source = data_source(cell)
        if source not in clean:
            clean = {source: cell.load_data()}
        paths = [str(files[cell.model_id(seed)].file) for seed in cell.seeds]
        arguments = (cell, *shape_of(clean[source], cell), paths)
        found = user_process.call(f"{__name__}:readings_of", *arguments, what="the check of checkpoints")
        readings |= dict(zip(paths, found, strict=True))
    if problems := [one.problem for one in readings.values() if one.problem]:
        more = [f"… and {len(problems) - TOLD} more files"] if problems[TOLD:] else []
        raise InputError("\n".join([*problems[:TOLD], *more]))
    remarks = []
    if beside := {path: one.left_out for path, one in readings.items() if one.left_out}:
        first = next(iter(beside))
        remarks.append(
            f"WARNING: {len(beside)} of {len(readings)} checkpoints have weights beside those of the "
            f"network, which are left out; in {first}: {_some(beside[first])}."
        )
    of_weights: dict[str, str] = {}
    same = [
        (other, path)
        for path, one in readings.items()
        if (other := of_weights.setdefault(one.content, path)) != path
    ]
    if same:
        more = f", and so do {len(same) - 1} more pairs" if len(same) > 1 else ""
        remarks.append(
            f"WARNING: {' and '.join(same[0])} hold the same weights{more}; if one is a copy, two models are "
            "compared that are one."
        )
    return remarks


class Reading(NamedTuple):
    """What a checkpoint holds: what is wrong with it, weights that are left out, and a hash of the others."""

    problem: str
    left_out: list[str]
    content: str


def readings_of(cell: Cell, shape: tuple[int, ...], classes: int, paths: list[str]) -> list[Reading]:
    """Return what each checkpoint of a cell holds."""
    try:
        module = _module(cell, shape, classes)
    except InputError as error:
        return [Reading(f"{path}: {error}", [], "") for path in paths]
    found = []
    for path in paths:
        try:
            left_out = load_weights(module, Path(path), f"the network with {_options(cell)}")
        except InputError as error:
            found.append(Reading(str(error), [], ""))
        else:
            content = {name: content_of(value) for name, value in module.state_dict().items()}
            found.append(Reading("", left_out, digest(content)))
    return found


def write(space: Space, store: Store, files: Mapping[str, Checkpoint], folder: Path) -> int:
    """Write the weights of models that the run does not have yet, and return their number.

    Raises:
        InputError: the checkpoint of a model that the run has is another one now.
    """
    kept = {row["model_id"]: row for row in store.read_records("imports").to_pylist()}
    count = 0
    for cell in space.cells:
        ids = {seed: cell.model_id(seed) for seed in cell.seeds}
        for seed, model_id in ids.items():
            path = files[model_id].file
            if model_id in kept and _sha256(path) != kept[model_id]["file_sha256"]:
                raise InputError(
                    f"{path} has changed since the model of seed {seed} at {cell.at} was imported; import "
                    "under another --name"
                )
        left = [seed for seed, model_id in ids.items() if model_id not in kept]
        size = 1 if cell.data_per_seed else PER_STACK
        shape = shape_of(cell.load_data(), cell) if left else ((), 0)
        for start in range(0, len(left), size):
            stack = Stack([Part([cell], left[start : start + size])])
            paths = [str(files[model_id].file) for model_id in stack.model_ids]
            arguments = (store.files.absolute, stack, *shape, paths, str(folder))
            user_process.call(f"{__name__}:write_stack", *arguments, what="the import of checkpoints")
            count += stack.size
    return count


def write_stack(
    location: str, stack: Stack, shape: tuple[int, ...], classes: int, paths: list[str], folder: str
) -> None:
    """Write the weights of a stack and the record of its files."""
    import torch

    from explorer.models.base import network

    store, cell = Store(location), stack.cell
    store.begun = True
    _, rows = network(cell.model_name, cell.model, shape, classes, task=cell.task)
    models = []
    for path in paths:
        module = _module(cell, shape, classes)
        load_weights(module, Path(path), f"the network with {_options(cell)}")
        models.append(rows.row(module))
    arrays = {
        name: torch.stack([model[place] for model in models]).numpy()
        for place, name in enumerate(("theta", "buffers"))
    }
    layers = [[name, list(shape)] for name, shape in rows.layers]
    written = store.write_weights(stack.id, arrays, {"model_ids": stack.model_ids, "layers": layers})
    records = [
        {
            "model_id": model.id,
            "cell_id": cell.id,
            "seed": model.seed,
            "stack": stack.id,
            "file": _below(Path(path), Path(folder)),
            "file_sha256": _sha256(Path(path)),
            "sha256": written.sha256,
        }
        for model, path in zip(stack.models, paths, strict=True)
    ]
    store.write_record("imports", stack.id, records)


def _below(path: Path, folder: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _module(cell: Cell, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a new module of a cell, with parameters of no model."""
    from explorer.models.base import builder
    from explorer.models.rows import seeded

    with seeded(0):
        return builder(cell.model_name, cell.model, shape, classes)()


def _options(cell: Cell) -> dict[str, Any]:
    """Return the options of a cell's network that a message names."""
    return cell.model if isinstance(cell.model, dict) else cell.model.model_dump(exclude_defaults=True)


def load_weights(module: nn.Module, path: Path, network: str) -> list[str]:
    """Give a module the weights in a file. A prefix in front of all their names does not matter.

    Returns the names of weights beside those with the prefix, which are left out.

    Args:
        network: what messages call the module.

    Raises:
        InputError: the file is missing, cannot be read, or has other weights. The message begins with its
            name.
    """
    from torch import no_grad

    target, given = module.state_dict(), read_state(path)
    found: dict[str, Tensor] = {}
    names = _names_in(target, given)
    for key, name in names.items():
        value = given[key]
        if name in found:
            raise InputError(f"{path} has {name!r} under two names, {key!r} is one; save one of them alone")
        if name in target:
            if value.dtype.is_floating_point != target[name].dtype.is_floating_point or value.is_complex():
                raise InputError(
                    f"{path}: {key} is of type {value.dtype}, and {network} has {target[name].dtype}; save "
                    "it as floating-point numbers, before it is quantised"
                )
            if value.shape != target[name].shape:
                raise InputError(
                    f"{path}: {key} has the shape {tuple(value.shape)}, and {network} has "
                    f"{tuple(target[name].shape)}; check the settings of this file, and --model"
                )
            found[name] = value
        elif not name.endswith("num_batches_tracked"):
            raise InputError(
                f"{path} has {key!r}, which {network} does not have; it has {_some(target)}. Check --model"
            )
    shared = {target[name].data_ptr() for name in found}  # of tied weights, a file may have one name only
    for name, value in target.items():
        if name not in found and value.data_ptr() not in shared and "num_batches_tracked" not in name:
            raise InputError(
                f"{path} lacks {name!r}, which {network} has; it has {_some(given)}. Check --model"
            )
    with no_grad():
        for name, value in found.items():
            target[name].copy_(value)
    return [key for key in given if key not in names]


def _some(names: Iterable[str]) -> str:
    some = list(names)
    return ", ".join(some[:5]) + ", …" * (len(some) > 5)


def _names_in(target: Mapping[str, Any], given: Iterable[str]) -> dict[str, str]:
    """Return the name in a module of each weight of a file, without those that are left out.

    These stand beside a prefix, such as that of a Lightning module's network, which has all others. The
    prefix is the one with which most names are in the module, if there is a single such prefix.
    """
    names = {key: _name_in(target, key) for key in given}
    if all(name in target for name in names.values()):
        return names
    plain = {key: key.replace("_orig_mod.", "") for key in names}
    prefixes = Counter(
        name[:end]
        for name in plain.values()
        for end in [0, *(place.end() for place in re.finditer(r"\.", name))]
        if name[end:] in target
    )
    most = [prefix for prefix, count in prefixes.items() if count == max(prefixes.values())]
    if len(most) != 1 or not most[0]:
        return names
    (prefix,) = most
    levels = [name.split(".") for name in plain.values()]
    shared = next((n for n, parts in enumerate(zip(*levels, strict=False)) if len(set(parts)) > 1), 0)
    part = "".join(f"{one}." for one in prefix.split(".")[: shared + 1] if one)
    return {key: name.removeprefix(prefix) for key, name in plain.items() if name.startswith(part)}


def _name_in(target: Mapping[str, Any], key: str) -> str:
    """Return the name in a module of a weight of a file: without prefixes that the module does not have."""
    name = key
    while name not in target and (prefix := PREFIX.match(name)):
        name = name[prefix.end() :]
    return name if name in target else name.replace("_orig_mod.", "")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the weights by name of a ``.safetensors`` file, or of a file that ``torch.save`` has written.

    Nothing is unpickled but tensors and plain values.

    Raises:
        InputError: the file is missing, or holds something else. The message begins with its name.
    """
    import torch

    if path.is_dir():
        raise InputError(f"{path} is a folder; name the checkpoint in it ({', '.join(SUFFIXES)})")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} should be one of {', '.join(SUFFIXES)}; save weights with torch.save")
    content = read_bytes(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(content)
        except SafetensorError as error:
            raise InputError(f"{path} cannot be read as safetensors: {error}; save it again") from error
    if not content.startswith((b"PK", b"\x80")):  # a zip file, or a pickle of an older version
        what = f"begins with {shown(content[:20])}" if content else "is empty"
        raise InputError(f"{path} {what}, so torch.save has not written it; fetch or save it again")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise InputError(
                f"{path} is a pickle of Python objects, which would run code when read; save the weights "
                "alone: torch.save(model.state_dict(), path)"
            ) from error
        raise InputError(
            f"{path} cannot be read: {in_a_line(error)}; save it again with torch.save"
        ) from error
    for key in HOLDERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path} holds {type(state).__name__}, no weights by name; save model.state_dict()")
    if wrong := [key for key, value in state.items() if not isinstance(value, torch.Tensor)]:
        raise InputError(
            f"{path} holds {wrong[0]!r}, which is no tensor; save model.state_dict(), or keep it under "
            f"{' or '.join(map(repr, HOLDERS))}"
        )
    return state
