"""The two functions most users need."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explorer.results import Run, load
from explorer.spacefile import parse, read, set_value

__all__ = ["load", "run"]


def run(
    space: str | Path | dict[str, Any],
    *,
    set: Sequence[str] = (),
    name: str | None = None,
    storage: str = "runs",
    **cluster: Any,
) -> Run:
    """Train and measure the grid of a space file (or of the same as a dict); go on where it was.

    Args:
        set: overrides such as ``"training.steps=500"``.
        name: of the run, a folder below ``storage``; the space's own if left out.
        cluster: ``address`` of a Ray cluster, or ``workers`` and ``gpus`` of this machine
            (see :func:`explorer.engine.run.run`).

    Raises:
        explorer.settings.InputError: something in the input is wrong; nothing was started.
    """
    from explorer.engine.run import run as start

    if isinstance(space, dict):
        space = copy.deepcopy(space)
        for override in set:
            set_value(space, override)
        checked = parse(space)
    else:
        checked = read(space, list(set))
    return start(checked, name=name, storage=storage, **cluster)
