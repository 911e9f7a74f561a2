"""Measures by name: from the models of a cell to rows of the tables.

Each name is a file that is imported when it is used and defines the following; the numerics are in
:mod:`explorer.landscape`.

``Options``: its budget. ``KIND``: ``model`` or ``pair``. ``COLUMNS``: what it adds to that table.
``EXTRA``: other tables it writes rows of. ``measure(cell, subjects, options)``: does it.
"""

# In the order of their columns in tables.
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
