"""Reader of space files: YAML with line numbers, overrides, and one clear message per error."""

from __future__ import annotations

import copy
import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from explorer.settings import InputError
from explorer.space.checking import DEFAULT_MEASURES, Problem, check
from explorer.space.model import Space, resolve

MAX_BYTES = 1_000_000


def read(path: str | Path, overrides: Sequence[str] | None = None) -> Space:
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
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = dict.fromkeys([file.parent, Path("spaces")])
        candidates = {str(p): p.stem for folder in near if folder.is_dir() for p in folder.glob("*.yaml")}
        close = difflib.get_close_matches(file.stem, candidates.values(), n=3, cutoff=0.5)
        ordered = sorted(candidates, key=lambda p: ([*close, candidates[p]].index(candidates[p]), p))
        raise InputError(
            f"there is no file {file}; there are: {', '.join(ordered) or 'no .yaml files near it'}"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} cannot be read: it should be saved as UTF-8 ({error})") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    try:
        node = _compose(text)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{file}{line}: not valid YAML: {getattr(error, 'problem', None) or error}"
        ) from error
    except (ValueError, RecursionError) as error:  # e.g. a date with month 13, endless nesting
        raise InputError(f"{file}: not valid YAML: {error}") from error
    except Problem as problem:
        raise InputError(f"{file}, line {problem.path[0]}: {problem.message}") from None
    try:
        return _overridden(raw, overrides or [])
    except Problem as problem:
        raise InputError(f"{file}, line {_line(node, problem.path)}: {problem.message}") from None


def parse(raw: dict[str, Any], overrides: Sequence[str] = ()) -> Space:
    """Check plain data (from ``run.yaml`` or Python) after applying overrides, and return the space.

    Raises:
        InputError: the data or an override is wrong; the message names the setting.
    """
    try:
        return _overridden(raw, overrides)
    except Problem as problem:
        where, message = ".".join(str(p) for p in problem.path), problem.message
        field, _, rest = message.partition(": ")
        if rest and f".{where}".endswith(f".{field}"):  # the message already names the setting
            message = rest
        raise InputError(f"{where}: {message}" if where else message) from None


def _overridden(raw: Any, overrides: Sequence[str]) -> Space:
    """Return the checked space of a copy of the plain data with the overrides applied.

    Raises:
        InputError: an override is wrong; the message shows it as it was typed.
        Problem: the data are wrong without any override.
    """
    given = copy.deepcopy(raw)
    of_measures = any(override.strip().startswith("measures.") for override in overrides)
    if of_measures and isinstance(given, dict) and given.get("measures") is None:
        given["measures"] = dict(DEFAULT_MEASURES)  # an added measure must not replace the defaults
    paths = [set_value(given, override) for override in overrides]
    checked = _checked(given)
    if isinstance(checked, Space):
        _effective(checked, overrides, paths)
        return checked
    guilty = _guilty(raw, overrides, paths, checked)
    if not guilty:
        raise checked
    raise InputError(f"{', '.join(f'--set {override}' for override in guilty)}: {checked.message}")


def _checked(data: Any) -> Space | Problem:
    try:
        return check(data)
    except Problem as problem:
        return problem
    except InputError as error:
        return Problem((), str(error))


def _effective(space: Space, overrides: Sequence[str], paths: Sequence[tuple[str, ...]]) -> None:
    """Check that no override sets a swept setting, because the axis would replace its value.

    Raises:
        InputError: an override sets a swept setting.
    """
    swept: dict[tuple[str, ...], str] = {resolve(axis, space): axis for axis in space.axes}
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


def _guilty(
    raw: Any, overrides: Sequence[str], paths: Sequence[tuple[str, ...]], problem: Problem
) -> Sequence[str]:
    """Return the overrides that cause the problem.

    These are the overrides that each fix the problem when removed. If there are none, it is the last
    override that sets the problem's path. Otherwise, if the data are sound without overrides, it is all.
    """

    def persists(kept: Sequence[str]) -> bool:
        given = copy.deepcopy(raw)
        try:
            for override in kept:
                set_value(given, override)
        except InputError:  # one override needs a section that another one creates
            return False
        checked = _checked(given)
        return isinstance(checked, Problem) and (checked.path, checked.message) == (
            problem.path,
            problem.message,
        )

    needed = [o for k, o in enumerate(overrides) if not persists([*overrides[:k], *overrides[k + 1 :]])]
    placed = [o for o, path in zip(overrides, paths, strict=True) if problem.path[: len(path)] == path]
    return needed or placed[-1:] or ([] if persists([]) else overrides)


def _compose(text: str) -> yaml.Node | None:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise Problem((line,), "aliases (*name) are not allowed; write the value out")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    _unique_keys(node)
    return node


def _unique_keys(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise Problem((line,), "a key must be a plain word")
            if key.value in seen:
                raise Problem((line,), f"{key.value!r} is already defined in line {seen[key.value]}")
            seen[key.value] = line
            _unique_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _unique_keys(value)


def _line(node: yaml.Node | None, path: tuple[Any, ...]) -> int:
    """Return the line of the deepest node on the path that exists in the file."""
    line = node.start_mark.line + 1 if node else 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            entry = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if entry is None:
                return line
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1  # pyright: ignore[reportOptionalMemberAccess]
        else:
            return line
    return line


def set_value(raw: Any, override: str) -> tuple[str, ...]:
    """Set ``section.key=value`` in plain data and return the path."""
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise InputError(f"--set {override}: it should be key=value, such as training.steps=500")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: {text!r} is not a YAML value") from error
    here = raw
    for step in path[:-1]:
        if not isinstance(here, dict):
            raise InputError(f"--set {override}: {step!r} is not inside a mapping")
        if isinstance(here.get(step), str):  # data: digits stands for data: {name: digits}
            here[step] = {"name": here[step]}
        if here.get(step) is None:
            here[step] = {}
        here = here[step]
    if not isinstance(here, dict):
        raise InputError(f"--set {override}: {path[-2] if len(path) > 1 else 'the file'!r} is not a mapping")
    here[path[-1]] = value
    return path
