"""The source files of a user's function: its module, and each local module that this imports.

Explorer finds them with the import system's finders and reads their syntax trees. It runs none of the files.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from explorer.settings import InputError, digest, listed
from explorer.users import given

INSTALLED = {"site-packages", "dist-packages"}  # folders of packages that are not the user's
STANDARD = {
    folder
    for name in ("stdlib", "platstdlib")
    for folder in (Path(sysconfig.get_path(name)), Path(sysconfig.get_path(name)).resolve())
}


class UserFunction(BaseModel):
    """A user's function as a run knows it: its part of the ids, and the SHA-256 of each source file."""

    fingerprint: str
    files: dict[str, str]


class Version(BaseModel):
    """The sources that a run uses since a time, and the files that the user has changed then."""

    since: str
    changed: list[str] = []
    functions: dict[str, UserFunction] = {}

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each source file."""
        return {path: sha for function in self.functions.values() for path, sha in function.files.items()}


def versions(info: dict[str, Any]) -> list[Version]:
    """Return the sources that ``run.yaml`` lists, oldest first."""
    return [Version.model_validate(version) for version in info.get("kept_sources", [])]


def history(info: dict[str, Any]) -> str:
    """Return a sentence about the changes of sources that the user has accepted; empty without one."""
    accepted = [f"{listed(v.changed)} changed on {v.since[:10]}" for v in versions(info) if v.changed]
    return f"Models were trained with different sources: {listed(accepted, '; ')}." if accepted else ""


def fingerprint(reference: str) -> str:
    """Return a hash of all source files of ``module:function``, the same for the same syntax trees.

    Comments, formatting and docstrings do not count.

    Raises:
        InputError: see :func:`read`.
    """
    return digest({path: tree_hash(content) for path, content in read(reference).items()})


def bytes_fingerprint(reference: str, known: list[str]) -> str:
    """Return the hash of the file of ``module:function`` that is known, by which earlier versions name it."""
    hashes = [hashlib.sha256(content).hexdigest()[:16] for content in read(reference).values()]
    return next((name for name in hashes if name in known), hashes[0])


def read(reference: str) -> dict[str, bytes]:
    """Return the content of the source files of ``module:function``, by path (``package/module.py``).

    The module comes first. The others are the local modules that it imports anywhere in its text, and those
    that these import: not the standard library, installed packages and Explorer.

    For an object of a program, return what describes it (:func:`explorer.users.objects.given`).

    Raises:
        InputError: the module does not exist or has no source file, or a file is not valid Python.
    """
    if given.is_given(reference):
        return given.find(reference).files
    importlib.invalidate_caches()
    root = reference.partition(":")[0]
    files: dict[str, bytes] = {}
    waiting, seen = [root], {""}
    while waiting:
        name = waiting.pop(0)
        if name in seen or (name.partition(".")[0] == "explorer" and name != root):
            continue
        seen.add(name)
        file, _ = _locate(name)
        if name == root and file is None:
            raise InputError(
                f"{reference!r} has no source file in the current folder or the installed packages; without "
                "one, Explorer cannot tell when its models change"
            )
        if file is not None and (name == root or is_local(file)):
            content = file.read_bytes()
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            try:
                imported = list(_imports(ast.parse(content), package, file.name == "__init__.py"))
            except (SyntaxError, ValueError) as error:
                line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
                raise InputError(f"{file}{line}: not valid Python: {error.args[0]}") from error
            files[name.replace(".", "/") + ("/__init__.py" if name == package else ".py")] = content
            waiting += imported
        waiting.append(name.rpartition(".")[0])
    return files


def is_installed(reference: str) -> bool:
    """Return whether ``module:function`` is in an installed package, Explorer itself or Python."""
    name = reference.partition(":")[0]
    if given.is_given(reference):
        return False
    file, _ = _locate(name)
    return name.partition(".")[0] == "explorer" or (file is not None and not is_local(file))


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a source file."""
    return hashlib.sha256(content).hexdigest()


def same(content: bytes, other: bytes) -> bool:
    """Return whether two source files differ in comments, formatting and docstrings at most."""
    try:
        return content == other or tree_hash(content) == tree_hash(other)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # also: too deeply nested
        return False


def tree_hash(content: bytes) -> str:
    """Return a hash of the syntax tree without positions and docstrings, for any version of Python."""
    words: list[str] = []
    waiting: list[Any] = [ast.parse(content)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.AST):
            fields = {k: v for k, v in ast.iter_fields(node) if k != "kind" and v not in (None, [])}
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                fields["body"] = node.body[ast.get_docstring(node, clean=False) is not None :]
            words.append(f"{type(node).__name__} {' '.join(fields)}")
            waiting += reversed(fields.values())
        elif isinstance(node, list):
            words.append(f"{len(node)}")
            waiting += reversed(node)
        else:
            words.append(repr(node))
    return digest(words)


def _imports(tree: ast.Module, package: str, is_package: bool) -> Iterator[str]:
    """Yield the modules that a file may import, and names that may be submodules."""
    for node in ast.walk(tree):
        with contextlib.suppress(ImportError):  # a relative import outside a package
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                yield from (f"{base}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                for argument in node.args[: called in ("import_module", "__import__")]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield importlib.util.resolve_name(argument.value, package)
            elif is_package and isinstance(node, ast.Constant) and str(node.value).isidentifier():
                yield f"{package}.{node.value}"  # in __all__, for `import *`


def _locate(name: str) -> tuple[Path | None, list[str]]:
    """Return the source file of a module and the folders of its submodules, without importing any package.

    ``importlib.util.find_spec`` would import the packages that the module is in.
    """
    parent, _, _ = name.rpartition(".")
    if parent:
        finders = [pkgutil.get_importer(folder) for folder in _locate(parent)[1]]
        found = [spec for finder in finders if finder and (spec := finder.find_spec(name, None))]
    else:
        found = [spec for finder in sys.meta_path if (spec := finder.find_spec(name, None))]
    spec = next((spec for spec in found if spec.loader), None)
    folders = [folder for s in ([spec] if spec else found) for folder in s.submodule_search_locations or ()]
    file = Path(spec.origin) if spec and spec.origin else None
    return file if file and file.suffix == ".py" else None, folders


def is_local(file: Path) -> bool:
    """Return whether a source file is the user's, and not of the standard library or an installed package."""
    standard = any(file.is_relative_to(folder) for folder in STANDARD)
    return not standard and not INSTALLED & set(file.parts)
