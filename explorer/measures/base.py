"""Input and output types of measures."""

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
        """Return a random seed for each model (or name in ``names``), determined by the name and purpose."""
        return [seed_for(purpose, name) for name in names or self.model_ids]

    def initial(self, seeds: list[int]) -> Tensor:
        """Return freshly initialised parameters (seeds, parameters) of the architecture."""
        from explorer.models.rows import initial_rows

        return initial_rows(self.build, self.network, seeds)[0].to(self.theta)

    def by_model(self, subjects: list[str], names: list[str], columns: list[list[Any]]) -> Measured:
        """Return one table row per model, from columns of (models,)."""
        rows = zip(*columns, strict=True)
        return Measured(
            [
                {"model_id": m, **dict(zip(names, row, strict=True))}
                for m, row in zip(subjects, rows, strict=True)
            ]
        )

    def by_pair(self, subjects: list[Pair], names: list[str], columns: list[list[Any]]) -> Measured:
        """Return one table row per pair, from columns of (pairs,)."""
        rows = zip(*columns, strict=True)
        return Measured(
            [
                {"model_a": a, "model_b": b, **dict(zip(names, row, strict=True))}
                for (a, b), row in zip(subjects, rows, strict=True)
            ]
        )

    def ends(self, pairs: list[Pair]) -> tuple[list[int], list[int]]:
        """Return the positions in ``theta`` of the first and of the second model of each pair."""
        position = {model_id: row for row, model_id in enumerate(self.model_ids)}
        return [position[a] for a, _ in pairs], [position[b] for _, b in pairs]


# On a CPU, subjects that are measured together may hold this many floats besides activations (4 GiB of
# float32). On a GPU, the limit is a share of the memory that the process may use.
FLOATS_AT_ONCE = 2**30


def subjects_at_once(floats: int, card_bytes: float | None) -> int:
    """Return how many subjects are measured together if each holds ``floats`` numbers; at least one.

    ``card_bytes``: bytes of GPU memory that the process may use, None on a CPU.
    """
    from explorer.models import memory

    return max(1, memory.floats_at_once(card_bytes, FLOATS_AT_ONCE, memory.SIDE_BY_SIDE) // max(1, floats))


def in_parts(subjects: list[Any], floats: int, theta: Tensor) -> list[list[Any]]:
    """Split the subjects into parts that can be measured together on the device of ``theta``.

    The result for one subject does not depend on the others, so the split changes it only by rounding.
    """
    from explorer.models import memory

    size = subjects_at_once(floats, memory.card_bytes(theta.device))
    return [subjects[start : start + size] for start in range(0, len(subjects), size)]


@dataclass
class Measured:
    """Table rows that a measure returns: one per subject (model, pair or cell), and rows of extra tables."""

    rows: list[dict[str, Any]]
    extra: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: list[Measured]) -> Measured:
        """Join the results of several parts."""
        kinds = dict.fromkeys(kind for part in parts for kind in part.extra)
        extra = {kind: [row for part in parts for row in part.extra.get(kind, [])] for kind in kinds}
        return cls([row for part in parts for row in part.rows], extra)


def pair_name(pair: Pair) -> str:
    """Return the name of a pair, from which its random streams are seeded."""
    return f"{pair[0]}-{pair[1]}"
