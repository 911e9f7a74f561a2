"""Measures by name: each turns the models of a cell into rows of the tables.

Each name is a file in this package. The file is imported on first use and defines the names below. The
numerical code is in :mod:`explorer.landscape`.

``Options``: the budget. ``KIND``: ``model``, ``pair`` or ``cell``. ``COLUMNS``: the columns that the measure
adds to that table. ``EXTRA``: other tables that it writes. ``measure(cell, subjects, options)``: the function
that takes the measure. Optional: ``columns(cell, options)``, the columns of its rows if these are not
``COLUMNS``; ``floats_held(options, parameters)``, the floats that a subject holds, if they are many.
"""

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
