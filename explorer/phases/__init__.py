"""From models and pairs to cells, from cells to phases of learning, and what that says in words.

The taxonomy is that of Yang et al., "Taxonomizing local versus global structure in neural network loss
landscapes" (NeurIPS 2021, arXiv 2107.11228), who drew its borders by eye. Here a border is a number, a
``Cut``, found from the run or given by the user.

========  =============  ==========================  =====================================
phase     training loss  mode connectivity (mc)      reading
========  =============  ==========================  =====================================
I         high           below 0                     underfitted, and too small
II        high           0 or above                  underfitted: too hot, or stopped early
III       low            below −connected            fits, but behind a barrier
IV-A      low            within ±connected, low CKA  connected, but unlike each other
IV-B      low            within ±connected, high CKA connected and alike
========  =============  ==========================  =====================================

Two corners that the taxonomy leaves open. *High loss and mc near 0*: the sign decides between I and II,
because there is no phase "connected" among underfitted models; such a cell is marked as near the cut
where its spread reaches over 0. *Low loss and mc above +connected*: the curve found points with a much
smaller training error than its ends, so the ends have not converged: II, whatever their loss.

Only numpy and pandas are imported; every function takes tables with columns missing.
"""

from __future__ import annotations

from explorer.phases.aggregate import (
    axis_names,
    cells,
    column,
    foreign_cells,
    rank_correlations,
    standard_error,
)
from explorer.phases.cuts import PHASES, READINGS, Cut, classify, find_cuts, sensitivity
from explorer.phases.histories import gains_of_stopping
from explorer.phases.membership import memberships
from explorer.phases.numbers import counted, measured, number, signed, spoken, unsigned_zero
from explorer.phases.words import ACCURACY, GLOBAL, LOCAL, findings, hessian_contrast

__all__ = [
    "ACCURACY",
    "GLOBAL",
    "LOCAL",
    "PHASES",
    "READINGS",
    "Cut",
    "axis_names",
    "cells",
    "classify",
    "column",
    "counted",
    "find_cuts",
    "findings",
    "foreign_cells",
    "gains_of_stopping",
    "hessian_contrast",
    "measured",
    "memberships",
    "number",
    "rank_correlations",
    "sensitivity",
    "signed",
    "spoken",
    "standard_error",
    "unsigned_zero",
]
