"""Advice for cells: causes from their own numbers, changes from their neighbours, and a decision tree."""

from __future__ import annotations

from explorer.phases.advice.rules import Advice, advice_table, advise_cells, advise_phases
from explorer.phases.advice.tree import Tree, grow

__all__ = ["Advice", "Tree", "advice_table", "advise_cells", "advise_phases", "grow"]
