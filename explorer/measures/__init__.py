"""Measures by name: from the models of a cell to rows of the tables.

A file of this package that defines these is a measure; the numerics are in :mod:`explorer.landscape`.

``Options``: its budget. ``KIND``: ``model`` or ``pair``. ``COLUMNS``: what it adds to that table.
``EXTRA``: other tables it writes rows of. ``measure(cell, subjects, options)``: does it.
"""
