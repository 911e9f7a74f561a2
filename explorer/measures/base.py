"""What a measure is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from explorer.settings import seed_for

if TYPE_CHECKING:
    from torch import Tensor, nn

    from explorer.models.rows import Rows
    from explorer.train.loop import Split

Kind = Literal["model", "pair", "cell"]
Pair = tuple[str, str]


@dataclass(frozen=True)
class CellModels:
    """Trained models of one cell: ``theta`` (models, parameters), ``buffers`` (models, numbers)."""

    id: str
    network: Rows
    theta: Tensor
    buffers: Tensor
    model_ids: list[str]
    data: Split
    build: Callable[[], nn.Module]

    def seeds(self, purpose: str, names: list[str] | None = None) -> list[int]:
        """A random seed for each model (or each of ``names``), decided by what it is and the purpose."""
        return [seed_for(purpose, name) for name in names or self.model_ids]

    def initial(self, seeds: list[int]) -> Tensor:
        """Freshly initialised parameters (seeds, parameters) of the architecture."""
        from explorer.models.rows import initial_rows

        return initial_rows(self.build, self.network, seeds)[0].to(self.theta)

    def by_model(self, subjects: list[str], names: list[str], columns: list[list[Any]]) -> Measured:
        """A row a model, from columns of (models,)."""
        rows = zip(*columns, strict=True)
        return Measured(
            [
                {"model_id": m, **dict(zip(names, row, strict=True))}
                for m, row in zip(subjects, rows, strict=True)
            ]
        )

    def by_pair(self, subjects: list[Pair], names: list[str], columns: list[list[Any]]) -> Measured:
        """A row a pair, from columns of (pairs,)."""
        rows = zip(*columns, strict=True)
        return Measured(
            [
                {"model_a": a, "model_b": b, **dict(zip(names, row, strict=True))}
                for (a, b), row in zip(subjects, rows, strict=True)
            ]
        )

    def ends(self, pairs: list[Pair]) -> tuple[list[int], list[int]]:
        """Rows of the first and of the second model of each pair."""
        place = {model_id: row for row, model_id in enumerate(self.model_ids)}
        return [place[a] for a, _ in pairs], [place[b] for _, b in pairs]


# Numbers that what is measured side by side on a processor may hold beside activations (4 GiB of float32); on
# a card it is a part of what the process may use.
FLOATS_AT_ONCE = 2**30


def subjects_at_once(floats: int, card_bytes: float | None) -> int:
    """How many subjects that hold so many numbers each are measured side by side; one at least.

    ``card_bytes``: bytes of a card that the process may use, None on a processor.
    """
    from explorer.models import memory

    return max(1, memory.floats_at_once(card_bytes, FLOATS_AT_ONCE, memory.SIDE_BY_SIDE) // max(1, floats))


def in_parts(subjects: list[Any], floats: int, theta: Tensor) -> list[list[Any]]:
    """The subjects, as many in a part as are measured side by side where ``theta`` is.

    What is measured of one does not depend on the others, so not on the parts either, beyond rounding.
    """
    from explorer.models import memory

    size = subjects_at_once(floats, memory.card_bytes(theta.device))
    return [subjects[start : start + size] for start in range(0, len(subjects), size)]


@dataclass
class Measured:
    """Rows a measure leaves: one a subject (model, pair, cell), and more tables where it has them."""

    rows: list[dict[str, Any]]
    extra: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: list[Measured]) -> Measured:
        """Those of several parts as one."""
        kinds = dict.fromkeys(kind for part in parts for kind in part.extra)
        extra = {kind: [row for part in parts for row in part.extra.get(kind, [])] for kind in kinds}
        return cls([row for part in parts for row in part.rows], extra)


def pair_name(pair: Pair) -> str:
    """Name of a pair, by which its random streams are seeded."""
    return f"{pair[0]}-{pair[1]}"
