"""Measures by name: from the models of a cell to rows of the tables.

Each name is a file that is imported when it is used and defines the following; the numerics are in
:mod:`explorer.landscape`.

``Options``: its budget. ``KIND``: ``model`` or ``pair``. ``COLUMNS``: what it adds to that table.
``EXTRA``: other tables it writes rows of. ``measure(cell, subjects, options)``: does it.
"""

NAMES = (
    "alignment",
    "bleu",
    "connectivity",
    "density",
    "ensemble",
    "hessian",
    "noise",
    "perplexity",
    "sharpness",
    "similarity",
    "spectra",
)
