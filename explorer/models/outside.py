"""State of a network outside its parameters and buffers: in attributes, closures, globals and generators."""

from __future__ import annotations

import functools
import inspect
import operator
import pickle
import random
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Mapping
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, complex, str, bytes, type(None))
DEPTH = 8  # of objects within objects that are looked at
ITEMS = 1000  # of a collection; of a larger one, only the length is compared
GENERATORS = ("Python's random", "numpy.random")  # the global ones
CLOSE = 1e-4  # relative: two passes over the same inputs may round differently
OTHERS = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


def values_outside(module: nn.Module) -> dict[str, Any]:
    """Return plain values and tensors that a forward pass may keep, by the name of their place.

    They are in attributes of all layers and of their classes, in variables of functions that the layers
    use, and in random generators other than torch's. Only the user's own functions and classes are searched.
    """
    return _Search().of(module)


def differing(before: dict[str, Any], after: dict[str, Any], *, results: bool = False) -> list[str]:
    """Return the names of values that two results of :func:`values_outside` do not share.

    Without ``results``, tensors of many or of real numbers do not count: usually they are results of a layer,
    kept for the next one.
    """

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if not results and (a.numel() != 1 or a.is_floating_point()):
                return True
            if a.shape != b.shape or a.dtype != b.dtype:
                return False
            inexact = a.is_floating_point() or a.is_complex()
            return torch.allclose(a, b, rtol=CLOSE, equal_nan=True) if inexact else torch.equal(a, b)
        return type(a) is type(b) and bool(a == b or a != a)

    names = {**before, **after}
    return [
        name for name in names if not (name in before and name in after and same(before[name], after[name]))
    ]


class _Search:
    """One search of :func:`values_outside`."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.seen: set[Any] = set()

    def of(self, module: nn.Module) -> dict[str, Any]:
        layers = [(f"{path}." if path else "", part) for path, part in module.named_modules()]
        self.seen |= {id(part) for _, part in layers}
        for path, part in layers:
            self._add_layer(f"self.{path}", part)
        for kind in dict.fromkeys(kind for _, part in layers for kind in type(part).__mro__):
            self._add_class(kind)
        self.found[GENERATORS[0]] = hash(random.getstate())
        self.found[GENERATORS[1]] = pickle.dumps(np.random.get_state())  # noqa: NPY002 (users call it)
        return self.found

    def _add_layer(self, name: str, part: nn.Module) -> None:
        usual = vars(nn.Module()).keys()
        for key, value in vars(part).items():
            if key not in usual:
                self.add(f"{name}{key}", value, DEPTH)
            elif isinstance(value, dict):
                for hook in value.values():
                    if isinstance(hook, FunctionType | MethodType | functools.partial):
                        self.add("a hook", hook, DEPTH)

    def add(self, name: str, value: Any, depth: int) -> None:
        """Add a value found at the place ``name``, and what it holds."""
        if isinstance(value, PLAIN):
            self.found[name] = value
        elif isinstance(value, Tensor):
            self.found[name] = value.detach().clone()
        elif isinstance(value, np.generic | np.ndarray):
            self.found[name] = torch.as_tensor(value) if value.dtype.kind in "biuf" else value.tobytes()
        elif depth and id(value) not in self.seen:
            self.seen.add(id(value))
            self._add_object(name, value, depth - 1)

    def _add_object(self, name: str, value: Any, depth: int) -> None:
        if isinstance(value, torch.Generator):
            self.found[name] = value.get_state().numpy().tobytes()
        elif isinstance(value, np.random.Generator):
            self.found[name] = pickle.dumps(value.bit_generator.state)
        elif isinstance(value, np.random.RandomState):
            self.found[name] = pickle.dumps(value.get_state())
        elif isinstance(value, random.Random):
            self.found[name] = hash(value.getstate())
        elif isinstance(value, dict | list | tuple | set | frozenset | deque):
            self._add_collection(name, value, depth)
        elif isinstance(value, Iterator):
            self.found[name] = f"{type(value).__name__} {value!r} {operator.length_hint(value, -1)}"
            if isinstance(value, GeneratorType):
                for key, local in inspect.getgeneratorlocals(value).items():
                    self.add(f"{key} of {name}", local, depth)
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self.add(name, part, depth)
        elif isinstance(value, MethodType):
            self.add(name, value.__self__, depth)
            self.add(name, value.__func__, depth)
        elif isinstance(value, FunctionType):
            self._add_function(value, depth)
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, nn.Module):
            self._add_layer(f"{name}.", value)
        elif not isinstance(value, ModuleType) and not type(value).__module__.startswith(
            ("torch", "logging")
        ):
            self._add_instance(name, value, depth)

    def _add_collection(self, name: str, value: Any, depth: int) -> None:
        self.found[f"{name} (length)"] = len(value)
        if isinstance(value, set | frozenset) or len(value) > ITEMS:
            return
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            self.add(f"{name}[{key!r}]", item, depth)

    def _add_instance(self, name: str, value: Any, depth: int) -> None:
        slots = [key for kind in type(value).__mro__ for key in _names(vars(kind).get("__slots__", ()))]
        held = {key: getattr(value, key) for key in slots if hasattr(value, key)}
        for key, item in {**held, **getattr(value, "__dict__", {})}.items():
            self.add(f"{name}.{key}", item, depth)
        self._add_class(type(value))

    def _add_class(self, kind: type) -> None:
        if not _is_users(kind.__module__) or (id(kind), "class") in self.seen:
            return
        self.seen.add((id(kind), "class"))
        for key, value in vars(kind).items():
            inner = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
            if isinstance(inner, FunctionType):
                self._add_function(inner, DEPTH)
            elif not key.startswith("__"):
                self.add(f"{kind.__qualname__}.{key}", inner, DEPTH)

    def _add_function(self, function: FunctionType, depth: int) -> None:
        if not depth or not _is_users(function.__module__) or (id(function), "function") in self.seen:
            return
        self.seen.add((id(function), "function"))
        name = function.__qualname__
        for place, value in enumerate(function.__defaults__ or ()):
            self.add(f"default {place} of {name}", value, depth)
        try:
            used = inspect.getclosurevars(function)
        except ValueError:  # a variable that has no value yet
            return
        for key, value in used.nonlocals.items():
            self.add(f"{key} of {name}", value, depth)
        for key, value in used.globals.items():
            if isinstance(value, ModuleType):
                if _is_users(value.__name__):
                    for inner in function.__code__.co_names:
                        self.add(f"{value.__name__}.{inner}", getattr(value, inner, None), depth)
            else:
                self.add(f"{function.__module__}.{key}", value, depth)


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _is_users(module: str | None) -> bool:
    """Return whether a module is the user's: not of Python, Explorer or an installed package."""
    top = (module or "").partition(".")[0]
    if top == "__main__":
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return bool(file) and top not in (*sys.stdlib_module_names, "explorer") and not file.startswith(OTHERS)
