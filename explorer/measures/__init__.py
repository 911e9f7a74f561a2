"""Measures by name: each turns the models of a cell into rows of the tables.

Each name is a file in this package. The file is imported on first use and defines the names below. The
numerical code is in :mod:`explorer.landscape`.

``Options``: the budget. ``KIND``: ``model``, ``pair`` or ``cell``. ``COLUMNS``: the columns that the measure
adds to that table. ``EXTRA``: other tables that it writes. ``measure(cell, subjects, options)``: the function
that takes the measure. Optional: ``cost(options, size)``, what it takes, counted in gradients;
``columns(cell, options)``, the columns of its rows if these are not ``COLUMNS``; ``floats_held(options,
parameters)``, the floats that a subject holds, if they are many.

A user's ``module:name`` has the same interface; see :mod:`explorer.measures.own`.
"""

from __future__ import annotations

from typing import Any

from explorer.settings import InputError

# Tables list the columns of measures in this order.
NAMES = (
    "hessian",
    "density",
    "sharpness",
    "noise",
    "spectra",
    "bleu",
    "perplexity",
    "connectivity",
    "alignment",
    "similarity",
    "ensemble",
)

USERS: dict[str, Any] = {}  # measures of the user's own that are described, by module:name


def of_user(name: str) -> Any:
    """Return a user's measure, which a space or ``run.yaml`` has described before."""
    if name not in USERS:
        raise InputError(f"the measure {name!r} is not described in run.yaml; `resume` adds this")
    return USERS[name]
