"""Advice from phases: rules of the taxonomy with a run's own evidence, and a decision tree."""

from __future__ import annotations

from explorer.phases.advice.rules import Advice, advise_cells, advise_phases
from explorer.phases.advice.tree import Tree, grow

__all__ = ["Advice", "Tree", "advise_cells", "advise_phases", "grow"]
