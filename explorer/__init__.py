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
    from explorer import diagnosis, refine
    from explorer.api import Run, Space, adopt, load, run, study

__all__ = ["Run", "Space", "adopt", "diagnosis", "load", "refine", "run", "study"]


def _lacking(package: str) -> str:
    """Return what is missing without a package, and what works without it."""
    return (
        f"the package {package} is missing: pip install explorer-landscapes installs all that spaces, runs "
        "and pages need; explorer.landscape, explorer.train and explorer.models need torch and numpy alone"
    )


def __getattr__(name: str) -> Any:
    # Import on demand, which keeps `explorer --help` and `import explorer.space.model` fast.
    if name == "__version__":
        from importlib.metadata import version

        return version("explorer-landscapes")
    if name in ("diagnosis", "refine"):
        return importlib.import_module(f"explorer.{name}")
    if name in __all__:
        try:
            from explorer import api
        except ModuleNotFoundError as error:
            raise ImportError(_lacking(error.name or "")) from error
        return getattr(api, name)
    raise AttributeError(f"module 'explorer' has no attribute {name!r}")
