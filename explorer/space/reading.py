"""Reader of space files: YAML with line numbers, overrides, and one clear message per error."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from explorer import plainyaml
from explorer.columns import ROLES
from explorer.data.base import DataOptions
from explorer.data.formats.reading import as_text
from explorer.settings import InputError, cut, listed, near, shown
from explorer.space import checking
from explorer.space.checking import DEFAULT_MEASURES, Problem, check
from explorer.space.model import PACKAGES, CheckedSpace, DataFacts, module_of, resolve
from explorer.users import sources

MAX_BYTES = 1_000_000
MAX_PROBLEMS = 50  # that are told at once
IMPORTED = "imported: only `explorer import` writes this setting; remove it to train models"
# What is checked in place of an unknown data set or architecture, and of a missing section.
STAND_INS: dict[str, Any] = {"data": {"name": "digits"}, "model": {"name": "mlp"}}
# Options that are checked even if the name is unknown.
SHARED = {"data": DataOptions.model_fields.keys() - {"train_size", "classes"}, "model": ("width",)}
REQUIRED: dict[str, Any] = {"name": "unnamed", **STAND_INS, "training": {"steps": 1}}


def with_refine(overrides: Sequence[str], budget: float | None) -> list[str]:
    """Return overrides and that of ``refine.budget``, if it is given."""
    text = f"{budget:g}" if isinstance(budget, float) else budget
    return [*overrides, *([] if budget is None else [f"refine.budget={text}"])]


def read(path: str | Path, overrides: Sequence[str] | None = None) -> CheckedSpace:
    """Read and check a space file after applying overrides such as ``training.steps=500``.

    Raises:
        InputError: the file is wrong; the message has the file, the line, the error and what is allowed.
    """
    file = Path(path)
    if (file / "run.yaml").is_file():
        command = f"resume {shlex.quote(str(file))}"
        raise InputError(f"{file} is the folder of a run, not a space file; `{command}` resumes it")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file} has more than {MAX_BYTES:,} bytes, the limit for a space file")
        text = as_text(file.read_bytes(), file)
    except FileNotFoundError:
        folders = dict.fromkeys([file.parent, Path("spaces")])
        stems = {str(path): path.stem for folder in folders for path in folder.glob("*.yaml")}
        close = near(file.stem, list(stems.values()))
        ordered = sorted(stems, key=lambda path: ([*close, stems[path]].index(stems[path]), path))
        others = f"; there are: {listed(ordered)}" if ordered else ", and no .yaml file near it"
        raise InputError(f"there is no file {file}{others}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    try:
        raw, node, mistakes = plainyaml.parse(text)
    except plainyaml.NotPlain as error:
        line = f", line {error.line}" if error.line else ""
        raise InputError(f"{file}{line}: {error.problem}") from error
    try:
        space = _overridden(raw, overrides or [])
        problems = []
    except Problem as problem:
        problems = [(_line(node, p.path), p.message) for p in all_problems(raw, problem)]
    if isinstance(raw, dict) and raw.get("imported") is not None:
        problems.append((_line(node, ("imported",)), IMPORTED))
    problems += [(_line(node, p.path), p.message) for p in set_and_swept(raw)]
    if lines := sorted([*mistakes, *problems]):
        raise InputError("\n".join(f"{file}, line {line}: {text}" for line, text in lines))
    return space


def parse(
    raw: dict[str, Any],
    overrides: Sequence[str] = (),
    fingerprint: Callable[[str], str] = sources.fingerprint,
) -> CheckedSpace:
    """Check plain data (from ``run.yaml`` or Python) after applying overrides, and return the space.

    Args:
        fingerprint: returns the part of the ids that stands for a user's ``module:function``.

    Raises:
        InputError: the data or an override is wrong; the message names the setting.
    """
    try:
        return _overridden(raw, overrides, fingerprint)
    except Problem as problem:
        raise InputError("\n".join(map(_with_setting, all_problems(raw, problem)))) from None


def set_and_swept(raw: Any) -> list[Problem]:
    """Return a problem for each setting of plain data that has a value and is an axis, too.

    An option of a user's function needs a value to be known, so it may have one.
    """
    sections = {s: raw.get(s) for s in ("training", *PACKAGES, *ROLES)} if isinstance(raw, dict) else {}
    sections = {section: values for section, values in sections.items() if isinstance(values, dict)}
    return [
        Problem(
            (section, name),
            f"{section}.{name}: {shown(value)} has no effect, because the grid sweeps {role}.{name}; remove "
            "one of them",
        )
        for section in sections.keys() - {*ROLES}
        if ":" not in str(sections[section].get("name"))
        for name, value in sections[section].items()
        for role in ROLES
        if name in sections.get(role, ())
    ]


def restore(raw: dict[str, Any], sources: dict[str, str], data_facts: dict[str, DataFacts]) -> CheckedSpace:
    """Return the space of a run folder for reading; see :func:`explorer.space.checking.restore`.

    Raises:
        InputError: the data are not those of a space; the message names the setting.
    """
    try:
        return checking.restore(raw, sources, data_facts)
    except Problem as problem:
        raise InputError(_with_setting(problem)) from None


def _with_setting(problem: Problem) -> str:
    """Return the message of a problem with the setting that it concerns."""
    where, message = ".".join(cut(str(p)) for p in problem.path), problem.message
    field, _, rest = message.partition(": ")
    if rest and f".{where}".endswith(f".{field}"):  # the message already names the setting
        message = rest
    return f"{where}: {message}" if where else message


def all_problems(raw: Any, first: Problem) -> list[Problem]:
    """Return all problems of plain data, given the first one.

    Leave the setting of each problem out of a copy and check the copy again, until nothing is wrong. A
    problem that only follows from what was left out is not returned.
    """
    raw, problems, left_out, tries = copy.deepcopy(raw), [], [], 0
    result: CheckedSpace | Problem = first
    while isinstance(result, Problem) and (tries := tries + 1) <= MAX_PROBLEMS:
        if not _follows(result, left_out):
            problems.append(result)
        if not _leave_out(raw, result.path):
            break
        left_out.append(result.path)
        result = _checked(raw, [])
    return problems


def _leave_out(raw: Any, path: tuple[Any, ...]) -> bool:
    """Delete the setting at a path, or put a stand-in for a required one; return False if there is none."""
    if path == ("load",) and not raw.get("load"):
        raw["load"] = {"warmup": [0.0]}  # without any axis, no cell would be checked
        return True
    if path in ((section, "name") for section in STAND_INS) or (len(path) == 1 and path[0] in REQUIRED):
        given, raw[path[0]] = raw.get(path[0]), copy.deepcopy(REQUIRED[path[0]])
        if len(path) == 2 and isinstance(given, dict) and isinstance(given.get("name"), str):
            if path[0] == "model" and ":" in given["name"]:
                return True
            if path[0] == "model" and (alike := near(given["name"], PACKAGES["model"][0].NAMES)):
                raw["model"] = {**given, "name": alike[0]}  # a misspelt architecture
            else:
                raw[path[0]] |= {name: given[name] for name in SHARED[path[0]] if name in given}
        return True
    if not path and isinstance(raw, dict) and (missing := [name for name in REQUIRED if name not in raw]):
        raw.update(copy.deepcopy({name: REQUIRED[name] for name in missing[:1]}))
        return True
    *parents, last = path or (None,)
    whole = raw
    for step in parents:
        try:
            raw = raw[step]
        except (KeyError, IndexError, TypeError):
            return False
    if isinstance(raw, dict) and parents and last not in raw:  # a setting that is missing
        return _leave_out(whole, tuple(parents))
    try:
        del raw[last]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _follows(problem: Problem, left_out: list[tuple[Any, ...]]) -> bool:
    """Return whether a problem may follow from what was left out.

    This is so if it concerns a setting or an axis of which a part was left out, the data of an unknown data
    set, or an axis that may be an option of an unknown data set or architecture.
    """
    path = problem.path
    axes = [other[-1:] for other in left_out if len(other) == 2 and other[0] in ("load", "temperature")]
    if path and (
        any(path == other[: len(path)] for other in left_out) or (path[0] == "skip" and path[-1:] in axes)
    ):
        return True
    unknown = [section for section in STAND_INS if (section, "name") in left_out]
    if problem.needs != "names":
        return problem.needs in unknown
    return any((section, path[1]) in left_out for section in STAND_INS) or any(
        path[1] in module_of(section, name).Options.model_fields
        for section in unknown
        for name in PACKAGES[section][0].NAMES
    )


def _overridden(
    raw: Any, overrides: Sequence[str], fingerprint: Callable[[str], str] = sources.fingerprint
) -> CheckedSpace:
    """Return the checked space of a copy of the plain data with the overrides applied.

    Raises:
        InputError: an override is wrong; the message shows it as it was typed.
        Problem: the data are wrong without any override.
    """
    result = _checked(raw, overrides, fingerprint)
    if isinstance(result, CheckedSpace):
        _check_effect(result, overrides)
        return result
    causes = _causes(raw, overrides, result)
    if not causes:
        raise result
    lines = []
    for problem in all_problems(_applied(raw, overrides), result):
        named = causes if problem is result else _setting(problem, overrides) or overrides
        lines.append(f"{', '.join(f'--set {override}' for override in named)}: {problem.message}")
    raise InputError("\n".join(lines))


def _checked(
    raw: Any, overrides: Sequence[str], fingerprint: Callable[[str], str] = sources.fingerprint
) -> CheckedSpace | Problem:
    """Apply the overrides to a copy of the plain data. Return the checked space, or what is wrong with it.

    Raises:
        InputError: an override cannot be applied.
    """
    raw = _applied(raw, overrides)
    try:
        return check(raw, fingerprint)
    except Problem as problem:
        return problem
    except InputError as error:
        return Problem((), str(error))


def _applied(raw: Any, overrides: Sequence[str]) -> Any:
    """Return a copy of the plain data with the overrides."""
    raw = copy.deepcopy(raw)
    of_measures = any(_path(override)[0] == "measures" for override in overrides)
    if of_measures and isinstance(raw, dict) and raw.get("measures") is None:
        raw["measures"] = dict(DEFAULT_MEASURES)  # an added measure must not replace the defaults
    for override in overrides:
        set_value(raw, override)
    return raw


def _check_effect(space: CheckedSpace, overrides: Sequence[str]) -> None:
    """Raise InputError if an override sets a swept setting, because the axis would replace its value."""
    swept: dict[tuple[str, ...], str] = {resolve(axis, space): axis for axis in space.axes}
    paths = [_path(override) for override in overrides]
    for override, path in zip(overrides, paths, strict=True):
        if path not in swept:
            continue
        axis = swept[path]
        kind = "load" if axis in space.load else "temperature"
        if not {(kind,), (kind, axis)} & set(paths):
            raise InputError(
                f"--set {override}: this has no effect because the grid sweeps {axis}; "
                f"to use one value only, write --set {kind}.{axis}=[{override.partition('=')[2].strip()}]"
            )


def _causes(raw: Any, overrides: Sequence[str], problem: Problem) -> Sequence[str]:
    """Return the overrides that cause the problem.

    These are the overrides that each fix the problem when removed. If there are none, it is the last
    override that sets the problem's path. Otherwise, if the data are sound without overrides, it is all.
    """

    def persists(remaining: Sequence[str]) -> bool:
        try:
            result = _checked(raw, remaining)
        except InputError:  # one override needs a section that another one creates
            return False
        return isinstance(result, Problem) and result.args == problem.args

    if not overrides:
        return []
    needed = [o for k, o in enumerate(overrides) if not persists([*overrides[:k], *overrides[k + 1 :]])]
    return needed or _setting(problem, overrides) or ([] if persists([]) else overrides)


def _setting(problem: Problem, overrides: Sequence[str]) -> Sequence[str]:
    """Return the last override that sets the path of a problem, or nothing."""
    return [o for o in overrides if problem.path[: len(_path(o))] == _path(o)][-1:]


def _line(node: Node | None, path: tuple[Any, ...]) -> int:
    """Return the line of the deepest node on the path that exists in the file."""
    line = node.start_mark.line + 1 if node else 1
    for step in path:
        if isinstance(node, MappingNode):
            entry = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if entry is None:
                return line
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1  # pyright: ignore[reportOptionalMemberAccess]
        else:
            return line
    return line


def _path(override: str) -> tuple[str, ...]:
    """Return the path of the setting that ``section.key=value`` sets."""
    path = override.partition("=")[0].strip().split(".")
    if path[0] == "measures" and ":" in override.partition("=")[0]:  # measures.package.module:name.option
        last = next(place for place, part in enumerate(path) if ":" in part)
        path = ["measures", ".".join(path[1 : last + 1]), *path[last + 1 :]]
    return tuple(path)


def set_value(raw: Any, override: str) -> None:
    """Set ``section.key=value`` in plain data."""
    path = _path(override)
    _, equals, text = override.partition("=")
    if not equals or not all(path):
        raise InputError(f"--set {override}: it should be key=value, such as training.steps=500")
    try:
        value, _, wrong = plainyaml.parse(text)
    except plainyaml.NotPlain as error:
        raise InputError(f"--set {override}: {text!r} is not a YAML value") from error
    if wrong:
        raise InputError(f"--set {override}: {wrong[0][1]}")
    mapping = raw
    for step in path[:-1]:
        if not isinstance(mapping, dict):
            raise InputError(f"--set {override}: {step!r} is not inside a mapping")
        if isinstance(mapping.get(step), str):  # data: digits stands for data: {name: digits}
            mapping[step] = {"name": mapping[step]}
        if mapping.get(step) is None:
            mapping[step] = {}
        mapping = mapping[step]
    if not isinstance(mapping, dict):
        raise InputError(f"--set {override}: {path[-2] if len(path) > 1 else 'the file'!r} is not a mapping")
    mapping[path[-1]] = value
