"""A notebook in this process: cells whose source is known as IPython keeps it, with the module ``__main__``."""

from __future__ import annotations

import ast
import json
import linecache
from pathlib import Path
from typing import Any


class Notebook:
    """The variables of a notebook, and what its cells show."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def cell(self, source: str) -> Any:
        """Execute a cell; return the value of its last line, if this is an expression."""
        file = f"/tmp/ipykernel_1/{abs(hash(source))}.py"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        tree = ast.parse(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, file, "exec"), self.names)
        return eval(compile(ast.Expression(last.value), file, "eval"), self.names) if last else None


def cells(notebook: Path) -> list[str]:
    """Return the code cells of a notebook file."""
    read = json.loads(notebook.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in read["cells"] if cell["cell_type"] == "code"]
