"""Where things are: no import circle, a numeric core that needs torch and numpy alone, documents that tell the truth."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "explorer"
REST = ("altair", "jinja2", "pandas", "psutil", "pyarrow", "pydantic", "ray", "rich", "ruamel", "safetensors",
        "scipy", "sklearn", "typer", "vl_convert", "yaml")  # fmt: skip
# torch itself imports jinja2 and sympy where it compiles; nothing here does.
WITHOUT_THE_REST = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {REST!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import pkgutil, importlib
import explorer.models.rows
for package in ("explorer.landscape", "explorer.train"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{{package}}."):
        importlib.import_module(module.name)

import torch
from torch import nn
from explorer.landscape import hessian, rows_of
network, theta, buffers = rows_of(nn.Linear(3, 2), nn.Linear(3, 2))
found = hessian.hessian(network, theta, torch.randn(8, 3), torch.arange(8) % 2, buffers=buffers, seeds=[0, 1])
assert found.top_eigenvalue.shape == (2,)
"""


def imports() -> dict[str, set[str]]:
    """Return the modules of the package that each module imports, lazily and for types only, too."""
    files = {name_of(file): file for file in PACKAGE.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for module, file in files.items():
        found[module] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            assert not getattr(node, "level", 0), f"{file}: a relative import"
            if isinstance(node, ast.Import):
                found[module] |= {alias.name for alias in node.names if alias.name in files}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("explorer"):
                names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                found[module] |= {n if n in files else str(node.module) for n in names.values()}
        found[module].discard(module)
    return found


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return all modules that can be reached from one."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph[module]
    return found


def test_imports_point_down() -> None:
    contract = configparser.ConfigParser()
    contract.read(ROOT / ".importlinter")
    layers = contract["importlinter:contract:floors"]["layers"].split("\n")
    floor = {name.strip(): -i for i, layer in enumerate(layers) for name in layer.split("|") if name.strip()}
    for module, imported in imports().items():
        for other in imported:
            here, there = (name.split(".")[1] if "." in name else "" for name in (module, other))
            if here in floor and there in floor and here != there:
                assert floor[there] < floor[here], f"{module} imports {other}"


def test_every_package_is_one_and_no_file_of_it_is_ignored() -> None:
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
    if (ROOT / ".git").exists():
        files = [str(file) for file in PACKAGE.rglob("*.py")]
        done = subprocess.run(
            ["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.stdout == ""


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = imports()
    assert len(graph) > 150
    assert [module for module in graph if module in reachable(graph, module)] == []


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert [module for module in graph if module in reachable(graph, module)] == ["a", "b", "c"]


def test_the_numeric_core_needs_torch_and_numpy_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_REST], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_architecture_names_every_package() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    parts = {file.name + "/" * file.is_dir() for file in PACKAGE.iterdir() if not file.name.startswith("__")}
    assert [name for name in parts if f"`{name}`" not in text] == []


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_a_document_names_exist(document: str) -> None:
    """A name such as ``engine/run.py`` is below the package; others are below the repository."""
    named = re.findall(r"`([\w./-]+(?:\.py|\.md|\.yaml|/))`", (ROOT / document).read_text())
    assert len(named) > 10
    missing = [n for n in named if not ((ROOT / n).exists() or (PACKAGE / n).exists() or "<" in n)]
    assert missing == []
