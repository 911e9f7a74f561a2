"""Reference of the public Python names: ``python -m explorer.reference`` prints ``docs/api.md``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import explorer

MODULES = {  # public names of the modules
    "diagnosis": ("Diagnoser", "fit", "room", "shipped", "true_answers"),
    "refine": ("predict", "propose"),
}


def public() -> Iterator[tuple[str, Any]]:
    """Yield the name and the object of everything public: names of the package, and what they have."""
    for name in sorted(explorer.__all__):
        found = getattr(explorer, name)
        yield f"explorer.{name}", found
        if isinstance(found, ModuleType):
            members = {n: getattr(found, n) for n in MODULES[name]}
        else:
            members = dict(inspect.getmembers(found)) if inspect.isclass(found) else {}
        for member, value in members.items():
            described = inspect.isroutine(value) or isinstance(value, property) or inspect.isclass(value)
            if described and not member.startswith("_"):
                yield f"explorer.{name}.{member}", value


def markdown() -> str:
    """Return ``docs/api.md``: every public name with its arguments and its docstring."""
    parts = [HEAD]
    for name, value in public():
        signature = "" if isinstance(value, ModuleType | property) else _signature(value)
        parts += [f"## `{name}`", *[f"```python\n{name}{signature}\n```"] * bool(signature)]
        parts.append(f"```text\n{inspect.getdoc(value)}\n```")
    return "\n\n".join(parts) + "\n"


def _signature(value: Any) -> str:
    try:
        return str(inspect.signature(value))
    except (TypeError, ValueError):
        return ""


HEAD = """# Python names

Everything that is public, with an example that is tested. In the examples, `run` is a finished run of the
space `tiny`: `width` [2, 8] × `batch_size` [8, 50], 3 seeds, on 200 images of `digits`; `space` is the one
that `explorer.Space` shows. `python -m explorer.reference` prints this page."""

if __name__ == "__main__":
    print(markdown(), end="")
