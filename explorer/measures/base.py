"""What a measure is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from explorer.settings import stream

if TYPE_CHECKING:
    from torch import Tensor

    from explorer.models.rows import Rows
    from explorer.training import Split

Kind = Literal["model", "pair"]


@dataclass(frozen=True)
class Cell:
    """Trained models of one cell: ``theta`` (models, parameters), ``buffers`` (models, numbers)."""

    id: str
    network: Rows
    theta: Tensor
    buffers: Tensor
    model_ids: list[str]
    data: Split

    def seeds(self, purpose: str, names: list[str] | None = None) -> list[int]:
        """A random seed for each model (or each of ``names``), decided by what it is and the purpose."""
        return [stream(purpose, name) for name in names or self.model_ids]

    def ends(self, pairs: list[tuple[str, str]]) -> tuple[list[int], list[int]]:
        """Rows of the first and of the second model of each pair."""
        place = {model_id: row for row, model_id in enumerate(self.model_ids)}
        return [place[a] for a, _ in pairs], [place[b] for _, b in pairs]


@dataclass
class Measured:
    """Rows a measure leaves: one a subject (model or pair), and more tables where it has them."""

    rows: list[dict[str, Any]]
    extra: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def pair_name(pair: tuple[str, str]) -> str:
    """Name of a pair, by which its random streams are seeded."""
    return f"{pair[0]}-{pair[1]}"
