"""Advice for cells: causes from their own numbers, and changes from their neighbours."""

from __future__ import annotations

from explorer.phases.advice.rules import Advice, advice_table, advise_cells, advise_phases

__all__ = ["Advice", "advice_table", "advise_cells", "advise_phases"]
