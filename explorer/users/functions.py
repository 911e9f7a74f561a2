"""A user's own functions, classes and objects, by ``module:function``, and the errors that they raise."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from mmap import mmap
from pathlib import Path
from typing import Any

from explorer.settings import InputError, cut, in_a_line, suggest
from explorer.users import given

SENT = "<dynamic-code>"  # the file of functions that a notebook or script gives, in another process


@contextmanager
def users_code(reference: str, doing: str) -> Iterator[None]:
    """Raise an error of a user's ``module:function`` in this block as an InputError, with text and place.

    The message is ``'nets:make' <doing>: ValueError: … (nets.py, line 7)``. Ctrl-C is not an error.

    Raises:
        InputError: the block raised an error, or called ``sys.exit``. The error is its cause.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        said = exit_call(error) if isinstance(error, SystemExit) else in_a_line(error)
        place = place_of(error, reference)
        raise InputError(f"{reference!r} {doing}: {said}{f' ({place})' * (place not in said)}") from error


def exit_call(error: SystemExit) -> str:
    """Return the call that raised a SystemExit, in words."""
    return f"it calls sys.exit({'' if error.code is None else cut(repr(error.code), 100)})"


def place_of(error: BaseException, reference: str = "") -> str:
    """Return file and line of the last call in a user's own files, or else of what ``reference`` names."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}, line {error.lineno}"
    module = sys.modules.get(reference.partition(":")[0])
    file = getattr(module, "__file__", None)
    own = f"{os.path.dirname(file)}{os.sep}" if file else "?"  # may be among the installed packages
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if place := last_place(reversed(frames), own):
        return place
    try:
        named = inspect.unwrap(getattr(module, reference.partition(":")[2]))
        if file == (found := inspect.getfile(named)):
            return f"{_shown(found)}, line {inspect.getsourcelines(named)[1]}"
    except (AttributeError, OSError, TypeError):
        pass
    return _shown(file) if file else ""


def last_place(frames: Iterable[tuple[str, int | None]], own: str = "?") -> str:
    """Return file and line of the first of these frames in a user's files, or below ``own``; or nothing."""
    others = (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), str(Path(__file__).parents[1]), "<")
    for file, line in frames:
        if file.startswith(own) or file == SENT or not file.startswith(others):
            return f"{_shown(file)}, line {line}"
    return ""


def _shown(file: str) -> str:
    """Return the path of a file, relative to the current folder if the file is there."""
    if file == SENT:
        return "the cell or script that defines it"
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def user_function(reference: str) -> Any:
    """Import and return the function, class or object that ``module:function`` names.

    Raises:
        InputError: the import fails, another module has the same name, or there is nothing to call; the
            message has the user's error and its place.
    """
    module_name, _, function_name = reference.partition(":")
    if given.is_given(reference):
        return given.value_of(reference)
    if module_name.endswith(".py"):
        dotted = module_name.removesuffix(".py").replace("/", ".")
        raise InputError(f"{reference!r}: write the module as Python imports it, {dotted}:{function_name}")
    top = module_name.partition(".")[0]
    mine = [file for file in (Path(f"{top}.py"), Path(top, "__init__.py")) if file.exists()]
    if mine and (taken := _other_module(top, mine[0])):
        raise InputError(f"{reference!r}: {mine[0]} has the name of {taken}; rename it, and use the new name")
    if top in sys.stdlib_module_names:
        raise InputError(f"{reference!r} is in Python's standard library; name a function of your own")
    try:
        with users_code(reference, "cannot be imported"):
            module = importlib.import_module(module_name)
    except InputError as error:
        if isinstance(error.__cause__, SystemExit):
            raise InputError(f"{error}; put that under if __name__ == '__main__':") from error.__cause__
        if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name == module_name:
            raise InputError(f"{error} (searched the current folder and the installed packages)") from error
        raise
    function = getattr(module, function_name, None)
    if not callable(function):
        public = [n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n))]
        raise InputError(
            f"{module_name!r} has no function {function_name!r}; it has: {suggest(function_name, public)}"
        )
    home = (
        str(getattr(function, "__module__", ""))
        if inspect.isroutine(function) or inspect.isclass(function)
        else ""
    )
    if home.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        raise InputError(f"{reference!r} is {home}.{function_name} of Python; name a function of your own")
    return function


def _other_module(name: str, mine: Path) -> str:
    """Return what else has the name of a user's module ``mine``; empty if nothing has."""
    if name in sys.stdlib_module_names:
        return f"Python's own module {name}"
    here, loaded = str(Path.cwd()), getattr(sys.modules.get(name), "__file__", None)
    elsewhere = PathFinder.find_spec(name, [path for path in sys.path if path not in ("", here)])
    for file in (loaded, elsewhere and elsewhere.origin):
        if file and not os.path.samefile(file, mine):
            return f"another module, {file}"
    return ""


def check_current_folder() -> None:
    """Raise InputError if a file here has the name of a library: workers look for modules here first."""
    libraries = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    for file in Path().glob("*.py"):
        used = file.stem in sys.modules or file.stem in ("pandas", "ray", "torch")
        if used and (library := PathFinder.find_spec(file.stem, libraries)):
            raise InputError(f"{file} in the current folder hides the library {library.origin}; rename it")


FORKED = "it forks its process (os.fork), and the copy goes on as well; a network must not do that"
calls = 0  # forward passes that this process has begun, a sign of progress
forked: mmap | None = None  # 1 if a copy of this process that a network has forked went on


def progress() -> None:
    """Count a forward pass of users' networks, or another sign of progress.

    Raises:
        RuntimeError: a network has forked this process.
    """
    global calls
    calls += 1
    if forked and forked[0]:
        raise RuntimeError(FORKED)
