"""Cells from models and pairs, phases of learning from cells, and findings in words.

The taxonomy is that of Yang et al., "Taxonomizing local versus global structure in neural network loss
landscapes" (NeurIPS 2021, arXiv 2107.11228). They drew the borders between phases by eye. Here each border is
a number, a ``Cut``, which is found from the run or given by the user.

========  =============  ==========================  =====================================
phase     training loss  mode connectivity (mc)      reading
========  =============  ==========================  =====================================
I         high           below −connected            underfitted, and too small
II        high           above                       underfitted: too hot, or stopped early
III       low            below −connected            fits, but behind a barrier
IV-A      low            within ±connected, low CKA  connected, but unlike each other
IV-B      low            within ±connected, high CKA connected and alike
========  =============  ==========================  =====================================

The taxonomy leaves three cases open. *High loss and mc within ±connected*: there is no barrier, so such a
cell is in phase II. *Low loss and mc above +connected*: the curve found points with a much smaller training
error than its ends, so the ends have not converged. Such a cell is in phase II, whatever its loss. *High loss
and a training error below 0.5 %*: the models fit their labels without confidence. Such a cell is sorted as if
its loss were low, and its phase is uncertain.

This package imports only numpy and pandas, and scipy.special inside functions. Every function accepts tables
in which columns are missing.
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
from explorer.phases.cuts import (
    PHASES,
    READINGS,
    UNKNOWN_PHASE,
    Cut,
    find_cuts,
    noise_of,
    reading_of,
    sensitivity,
)
from explorer.phases.histories import gains_of_stopping
from explorer.phases.membership import CERTAIN, classify, memberships
from explorer.phases.numbers import format_mean, format_number, format_rho, unsigned_zero, words_of
from explorer.phases.words import ACCURACY, GLOBAL, LOCAL, findings, hessian_contrast
from explorer.units import plural

__all__ = [
    "ACCURACY",
    "CERTAIN",
    "GLOBAL",
    "LOCAL",
    "PHASES",
    "READINGS",
    "UNKNOWN_PHASE",
    "Cut",
    "axis_names",
    "cells",
    "classify",
    "column",
    "find_cuts",
    "findings",
    "foreign_cells",
    "format_mean",
    "format_number",
    "format_rho",
    "gains_of_stopping",
    "hessian_contrast",
    "memberships",
    "noise_of",
    "plural",
    "rank_correlations",
    "reading_of",
    "sensitivity",
    "standard_error",
    "unsigned_zero",
    "words_of",
]
