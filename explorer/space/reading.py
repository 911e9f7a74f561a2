"""Reads a space file: YAML with line numbers, overrides, one clear message for what is wrong."""

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
    """The space of a file, checked, after overrides such as ``training.steps=500``.

    Raises:
        InputError: with file, line, what is wrong and what is allowed.
    """
    file = Path(path)
    if (file / "run.yaml").is_file():
        command = f"resume {shlex.quote(str(file))}"
        raise InputError(f"{file} is the folder of a run, not a space file; `{command}` goes on with it")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file} has more than {MAX_BYTES:,} bytes; a space file is short")
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = dict.fromkeys([file.parent, Path("spaces")])
        there = {str(p): p.stem for folder in near if folder.is_dir() for p in folder.glob("*.yaml")}
        close = difflib.get_close_matches(file.stem, there.values(), n=3, cutoff=0.5)
        ordered = sorted(there, key=lambda p: ([*close, there[p]].index(there[p]), p))
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
    """The space of plain data (as in ``run.yaml``, or from Python), checked, after overrides.

    Raises:
        InputError: with the place of what is wrong.
    """
    try:
        return _overridden(raw, overrides)
    except Problem as problem:
        where, message = ".".join(str(p) for p in problem.path), problem.message
        field, _, rest = message.partition(": ")
        if rest and f".{where}".endswith(f".{field}"):  # it names the place already
            message = rest
        raise InputError(f"{where}: {message}" if where else message) from None


def _overridden(raw: Any, overrides: Sequence[str]) -> Space:
    """The checked space of plain data, which stay as they are, after overrides.

    Raises:
        InputError: an override is wrong; named as it was typed.
        Problem: the data are, without any override.
    """
    given = copy.deepcopy(raw)
    of_measures = any(override.strip().startswith("measures.") for override in overrides)
    if of_measures and isinstance(given, dict) and given.get("measures") is None:
        given["measures"] = dict(DEFAULT_MEASURES)  # one more measure does not take their place
    paths = [set_value(given, override) for override in overrides]
    found = _checked(given)
    if isinstance(found, Space):
        _effective(found, overrides, paths)
        return found
    guilty = _guilty(raw, overrides, paths, found)
    if not guilty:
        raise found
    raise InputError(f"{', '.join(f'--set {override}' for override in guilty)}: {found.message}")


def _checked(data: Any) -> Space | Problem:
    try:
        return check(data)
    except Problem as problem:
        return problem
    except InputError as error:
        return Problem((), str(error))


def _effective(space: Space, overrides: Sequence[str], paths: Sequence[tuple[str, ...]]) -> None:
    """That no override sets to one value what the grid sweeps, which would change nothing.

    Raises:
        InputError: one does.
    """
    swept: dict[tuple[str, ...], str] = {resolve(axis, space): axis for axis in space.axes}
    for override, path in zip(overrides, paths, strict=True):
        if path not in swept:
            continue
        axis = swept[path]
        kind = "load" if axis in space.load else "temperature"
        if not {(kind,), (kind, axis)} & set(paths):
            raise InputError(
                f"--set {override}: the grid sweeps {axis}, so that this would change nothing; "
                f"for one value of it, --set {kind}.{axis}=[{override.partition('=')[2].strip()}]"
            )


def _guilty(
    raw: Any, overrides: Sequence[str], paths: Sequence[tuple[str, ...]], problem: Problem
) -> Sequence[str]:
    """Those without which, one by one, it would not be wrong; else the last that set its place; else all, if
    it would not be wrong without any.
    """

    def persists(kept: Sequence[str]) -> bool:
        given = copy.deepcopy(raw)
        try:
            for override in kept:
                set_value(given, override)
        except InputError:  # one goes into what another has made
            return False
        found = _checked(given)
        return isinstance(found, Problem) and (found.path, found.message) == (problem.path, problem.message)

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
                raise Problem((line,), "a key is a plain word")
            if key.value in seen:
                raise Problem((line,), f"{key.value!r} is there already, in line {seen[key.value]}")
            seen[key.value] = line
            _unique_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _unique_keys(value)


def _line(node: yaml.Node | None, path: tuple[Any, ...]) -> int:
    """Line of the deepest node on the path that the file has."""
    line = node.start_mark.line + 1 if node else 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1  # pyright: ignore[reportOptionalMemberAccess]
        else:
            return line
    return line


def set_value(raw: Any, override: str) -> tuple[str, ...]:
    """Set ``section.key=value`` in plain data; returns the path."""
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
