"""Explorer maps how networks learn: train a grid, measure its loss landscapes, read its phases.

>>> import explorer
>>> run = explorer.run("spaces/digits.yaml")      # doctest: +SKIP
>>> run = explorer.load("digits")                 # doctest: +SKIP
>>> run.cells[["width", "batch_size", "phase"]]   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explorer import diagnosis
    from explorer.api import load, run, study

__all__ = ["diagnosis", "load", "run", "study"]


def __getattr__(name: str) -> Any:
    # Import on demand, which keeps `explorer --help` and `import explorer.space.model` fast.
    if name == "diagnosis":
        return importlib.import_module("explorer.diagnosis")
    if name in __all__:
        from explorer import api

        return getattr(api, name)
    raise AttributeError(f"module 'explorer' has no attribute {name!r}")
