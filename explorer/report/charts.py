"""Charts: functions from a tidy table to an Altair chart.

Charts have no theme, so they can be layered and concatenated. In a notebook,
``explorer.report.theme.enable()`` sets the theme. On a page, every chart of cells has two parameters,
``marked`` (the cell under the pointer) and ``chosen`` (the cell that was clicked). Both hold a ``cell_id``.
"""

from __future__ import annotations

from explorer.report.lines import curves, histories, scatter, slices, spectra
from explorer.report.maps import difference_labels, difference_map, heat_map, phase_map

__all__ = [
    "curves",
    "difference_labels",
    "difference_map",
    "heat_map",
    "histories",
    "phase_map",
    "scatter",
    "slices",
    "spectra",
]
