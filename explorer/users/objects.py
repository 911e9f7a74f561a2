"""Python objects in place of ``module:function``: their name, their source text, and what they refer to.

A function is known by its source, and by the functions, classes and values of the program that it refers to.
Explorer writes all of them as one Python text, which the run folder keeps as it keeps the user's files. The
same text gives the same models.
"""

from __future__ import annotations

import ast
import dataclasses
import dis
import functools
import hashlib
import json
import linecache
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from explorer.settings import InputError, in_a_line
from explorer.users import sources
from explorer.users.given import MODULE, Given

HEAD = "# The source of a Python object, and of what it refers to. Explorer wrote this file from them.\n"
GENERATED = ("<string>", sysconfig.get_path("stdlib"))  # files of the functions that dataclass writes


def refer(value: Any, role: str, objects: dict[str, Given]) -> str:
    """Return the ``module:function`` of a callable. Add it to ``objects`` if no module has it under its name.

    Args:
        role: what it is for, such as ``model``; it is the name of an object without one.

    Raises:
        InputError: it has no source text, refers to something that has no content to compare, or cannot be
            sent to another process.
    """
    if reference := _importable(value):
        return reference
    name = getattr(value, "__name__", "")
    name = name if name.isidentifier() and name not in ("_", MODULE) else role
    found, number = _given(value, name), 2
    while objects.get(name, found) != found:
        name, number = f"{name.rstrip('0123456789').rstrip('_')}_{number}", number + 1
        found = _given(value, name)
    objects[name] = found
    return f"{MODULE}:{name}"


def _importable(value: Any) -> str:
    """Return the ``module:function`` by which another process can import a value; empty if none."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", "")
    if module in (None, MODULE) or not name.isidentifier():
        return ""
    loaded = sys.modules.get(module)
    there = getattr(loaded, name, None) is value and getattr(loaded, "__file__", None)
    return f"{module}:{name}" if there else ""


def _given(value: Any, name: str) -> Given:
    import cloudpickle

    text = _Text(name)
    text.add(name, value)
    try:
        return Given(text.files(), cloudpickle.dumps(value), value)
    except Exception as error:
        raise InputError(
            f"{name!r} cannot be sent to the process that trains: {in_a_line(error)}; create what it refers "
            "to inside of it"
        ) from error


class _Text:
    """The text of an object: statements by name, in the order in which they refer to each other."""

    def __init__(self, name: str):
        self.name = name
        self._lines: dict[str, str] = {}
        self._modules: dict[str, bytes] = {}
        self._under_way: set[int] = set()

    def files(self) -> dict[str, bytes]:
        """Return the object's text and the files of the local modules that it uses, by path."""
        return {f"{MODULE}/{self.name}.py": "".join([HEAD, *self._lines.values()]).encode()} | self._modules

    def add(self, name: str, value: Any) -> None:
        """Add the statement that defines a value, after those of what it refers to."""
        if id(value) in self._under_way:  # it refers to itself
            return
        self._under_way.add(id(value))
        self._add(name, value)
        if not isinstance(value, FunctionType | type | ModuleType):  # these are added once
            self._under_way.discard(id(value))

    def _add(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType):
            self._add_module(value.__name__, value)
        elif reference := _importable(value):
            self._add_module(reference.partition(":")[0], sys.modules[reference.partition(":")[0]])
        elif isinstance(value, functools.partial):
            for place, argument in enumerate((value.func, *value.args)):
                self.add(f"{name}_{place}", argument)
            for key, argument in value.keywords.items():
                self.add(f"{name}_{key}", argument)
            self._state(name, "partial", *(f"{name}_{key}" for key in value.keywords))
        elif isinstance(value, MethodType):
            self.add(f"{name}_self", value.__self__)
            self.add(name, value.__func__)
        elif isinstance(value, FunctionType):
            self._add_function(name, value)
        elif isinstance(value, type):
            self._add_class(value)
        elif not self._add_content(name, value):
            self._add_instance(name, value)

    def _add_module(self, name: str, module: ModuleType) -> None:
        file = getattr(module, "__file__", None)
        if file and sources.is_local(Path(file)) and name.partition(".")[0] not in ("explorer", MODULE):
            self._modules |= sources.read(f"{name}:")

    def _add_function(self, name: str, function: FunctionType) -> None:
        self._add_globals(function)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for free, cell in cells:
            try:
                self.add(free, cell.cell_contents)
            except ValueError:  # defined later, such as a function that calls itself
                continue
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for place, value in enumerate(defaults):
            self.add(f"{name}_default_{place}", value)
        text, kind = _source(function.__code__, function.__globals__, self.name)
        self._write(f"{name} = (\n{text}\n)\n" if kind is ast.Lambda else f"{text}\n")

    def _add_globals(self, function: FunctionType) -> None:
        for used in _globals_of(function.__code__):
            if used in function.__globals__:
                self.add(used, function.__globals__[used])

    def _add_class(self, kind: type) -> None:
        for base in kind.__bases__:
            if base is not object:
                self.add(base.__name__, base)
        functions = [f for value in vars(kind).values() for f in _functions_of(value)]
        named = [f for f in functions if f.__qualname__ == f"{kind.__qualname__}.{f.__name__}"]
        own = [f for f in named if not f.__code__.co_filename.startswith(GENERATED)]
        if not own:
            self._add_attributes(kind)
            return
        for function in own:
            self._add_globals(function)
            for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                if free != "__class__":
                    self.add(free, cell.cell_contents)
        text, _ = _source(own[0].__code__, own[0].__globals__, self.name, ast.ClassDef)
        self._write(f"{text}\n")

    def _add_attributes(self, kind: type) -> None:
        """Add a class without methods, such as a dataclass of settings, by its attributes."""
        name = kind.__name__
        fields = getattr(kind, "__dataclass_fields__", {}).values()
        attributes = {f"{field.name}_factory": field.default_factory for field in fields if _made(field)}
        attributes |= {key: value for key, value in vars(kind).items() if not key.startswith("__")}
        for key, value in attributes.items():
            self.add(f"{name}_{key}", value)
        types = [f"{key}: {_type(one)}" for key, one in vars(kind).get("__annotations__", {}).items()]
        self._state(name, "class", *(base.__name__ for base in kind.__bases__), *types, *attributes)

    def _add_content(self, name: str, value: Any) -> bool:
        """Add a plain value, an array or a collection of them. Return whether it is one."""
        if isinstance(value, bool | int | float | complex | str | bytes | None) or value is ...:
            self._write(f"{name} = {value!r}\n")
        elif hasattr(value, "__array__") and hasattr(value, "dtype") and hasattr(value, "shape"):
            self._write(f"{name} = {content_of(value)!r}\n")
        elif isinstance(value, dict | list | tuple):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, one in pairs:
                self.add(f"{name}_{key}" if str(key).isidentifier() else f"{name}_{len(self._lines)}", one)
            self._state(name, type(value).__name__, *map(str, value if isinstance(value, dict) else ()))
        elif isinstance(value, set | frozenset):
            self._write(f"{name} = {sorted(map(repr, value))!r}\n")
        else:
            return False
        return True

    def _add_instance(self, name: str, value: Any) -> None:
        """Add an object by its class and its attributes, or else by its pickled content."""
        state = getattr(value, "__dict__", None)
        described = f"{type(value).__module__}.{type(value).__qualname__}"
        if isinstance(state, dict) and not type(value).__module__.startswith("torch"):
            self.add(type(value).__name__, type(value))
            for key, attribute in sorted(state.items()):
                self.add(f"{name}_{key}", attribute)
            self._state(name, described, *sorted(state))
            return
        if hasattr(value, "state_dict"):
            for key, tensor in value.state_dict().items():
                self.add(f"{name}_{key}".replace(".", "_"), tensor)
            self._state(name, described, repr(value))
            return
        import cloudpickle

        try:
            pickled = cloudpickle.dumps(value)
        except Exception as error:
            raise InputError(
                f"{self.name!r} refers to {name!r}, a {type(value).__name__}, which has no content that "
                f"Explorer can compare; create it inside of {self.name!r}"
            ) from error
        self._state(name, described, hashlib.sha256(pickled).hexdigest())

    def _state(self, name: str, *described: str) -> None:
        self._write(f"{name} = {described!r}\n")

    def _write(self, line: str) -> None:
        self._lines.setdefault(line, line)


def content_of(array: Any) -> str:
    """Return type, shape and content hash of an array or a tensor as text."""
    import numpy as np

    values = np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
    if values.dtype.hasobject:
        text = json.dumps(values.tolist(), default=repr)
        content = text.encode()
    else:
        content = np.ascontiguousarray(values).tobytes()
    return f"{values.dtype} {values.shape} {hashlib.sha256(content).hexdigest()}"


def _made(field: dataclasses.Field[Any]) -> bool:
    return field.default_factory is not dataclasses.MISSING


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", repr(annotation))


def _functions_of(value: Any) -> Iterator[FunctionType]:
    """Yield the functions behind an attribute of a class."""
    for one in (value, *(getattr(value, name, None) for name in ("fget", "fset", "__func__"))):
        if isinstance(one, FunctionType):
            yield one


def _globals_of(code: CodeType) -> Iterator[str]:
    """Yield the names of global variables that a function reads, in its inner functions too."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)


def _source(
    code: CodeType, variables: dict[str, Any], name: str, kind: type[ast.AST] | None = None
) -> tuple[str, type[ast.AST]]:
    """Return the text of the function with this code, or of the class around it, and the kind of its node.

    Raises:
        InputError: its file does not exist, has changed, or is no file, as in ``python -c``.
    """
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, variables)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        tree = ast.Module([], [])
    found: list[Any] = [node for node in ast.walk(tree) if _is(node, code)]
    if len(found) > 1:  # lambdas of one line
        found = [node for node in found if _compiled(node) == (code.co_code, code.co_consts)] or found
        if hasattr(code, "co_positions"):  # since Python 3.11
            positions = code.co_positions()  # pyright: ignore[reportAttributeAccessIssue]
            at = [(line, column) for line, _, column, _ in positions if line and column]
            found = [n for n in found if (n.body.lineno, n.body.col_offset) <= max(at)][-1:]
    if kind is ast.ClassDef and found:
        around = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and found[0] in n.body]
        found = around[:1]
    if not found:
        raise InputError(
            f"{name!r} refers to a function {code.co_name!r} without source text ({code.co_filename}); "
            "define it in a file or in a cell of a notebook, as it is there now"
        )
    node: Any = found[0]
    if isinstance(node, ast.Lambda):
        return ast.get_source_segment("".join(lines), node) or "", ast.Lambda
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return textwrap.dedent("".join(lines[first - 1 : node.end_lineno])), type(node)


def _is(node: Any, code: CodeType) -> bool:
    """Return whether a node of a syntax tree defines the function with this code."""
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and node.lineno == code.co_firstlineno
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return node.name == code.co_name and first == code.co_firstlineno


def _compiled(node: Any) -> Any:
    """Return code and constants of a lambda by itself."""
    code = compile(ast.Expression(node), "", "eval").co_consts[0]
    return code.co_code, code.co_consts
