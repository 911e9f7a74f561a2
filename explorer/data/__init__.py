"""Data sets by name, as arrays. A file of this package is a data set: ``Options`` and ``load``."""
