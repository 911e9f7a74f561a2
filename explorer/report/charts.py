"""The charts, each a function from a tidy table to an Altair chart.

They carry no theme, so that they can be layered and put side by side: ``explorer.report.theme.enable()``
sets it in a notebook. On a page every chart of cells listens to two parameters, ``marked`` (the cell under
the pointer) and ``chosen`` (the cell that was clicked), both a ``cell_id``.
"""

from __future__ import annotations

from explorer.report.lines import curves, histories, scatter, slices, spectra
from explorer.report.maps import difference_map, heat_map, phase_map, told_differences

__all__ = [
    "curves",
    "difference_map",
    "heat_map",
    "histories",
    "phase_map",
    "scatter",
    "slices",
    "spectra",
    "told_differences",
]
