"""Input and output types of measures, and the function that takes a measure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import explorer.measures
from explorer.columns import Column
from explorer.settings import plugin, seed_for

if TYPE_CHECKING:
    from torch import Tensor, nn

    from explorer.landscape.connectivity import Profile
    from explorer.models.rows import Rows
    from explorer.train.loop import Split

Kind = Literal["model", "pair", "cell"]
Pair = tuple[str, str]
IDS: dict[Kind, tuple[str, ...]] = {
    "model": ("model_id",),
    "pair": ("model_a", "model_b"),
    "cell": ("cell_id", "members"),
}


def ids_of(subject: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids of a subject, in the order of ``IDS``."""
    return subject if isinstance(subject, tuple) else (subject,)


def averaged(meaning: str, *, unit: str = "", **page: Any) -> Column:
    """Return a column of numbers that the ``cells`` table averages; ``page``: how pages show the mean."""
    return Column("number", unit, meaning, averaged=True, **page)


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
    verify: bool = False  # compare results with the modules themselves: done once for an architecture

    def seeds(self, purpose: str, names: list[str]) -> list[int]:
        """Return a random seed for each name, determined by the name and purpose."""
        return [seed_for(purpose, name) for name in names]

    def initial(self, seeds: list[int]) -> Tensor:
        """Return freshly initialised parameters (seeds, parameters) of the architecture."""
        from explorer.models.rows import initial_rows

        return initial_rows(self.build, self.network, seeds)[0].to(self.theta)

    def rows(self, model_ids: Iterable[str]) -> list[int]:
        """Return the rows of models in ``theta``."""
        position = {model_id: row for row, model_id in enumerate(self.model_ids)}
        return [position[model_id] for model_id in model_ids]

    def ends(self, pairs: list[Pair]) -> tuple[list[int], list[int]]:
        """Return the rows in ``theta`` of the first and of the second model of each pair."""
        return self.rows(a for a, _ in pairs), self.rows(b for _, b in pairs)


@dataclass
class Measured:
    """Table rows that a measure returns: one per subject (model, pair or cell), and rows of extra tables."""

    rows: list[dict[str, Any]]
    extra: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        subjects: Sequence[str | Pair],
        columns: Mapping[str, Tensor | list[Any]],
        extra: dict[str, list[dict[str, Any]]] | None = None,
    ) -> Measured:
        """Return one row for each model or pair, from columns with a value for each."""
        values = [column if isinstance(column, list) else column.tolist() for column in columns.values()]
        rows = []
        for subject, row in zip(subjects, zip(*values, strict=True), strict=True):
            ids = {"model_id": subject}
            if isinstance(subject, tuple):
                ids = {"model_a": subject[0], "model_b": subject[1]}
            rows.append({**ids, **dict(zip(columns, row, strict=True))})
        return cls(rows, extra or {})


# Values of a pair without a path, by kind of column.
EMPTY = {"number": float("nan"), "integer": 0, "flag": False, "text": ""}
# On a CPU, subjects that are measured together may hold this many floats besides activations (4 GiB of
# float32). On a GPU, the limit is a share of the memory that the process may use.
FLOATS_AT_ONCE = 2**30


def subjects_at_once(floats: int, card_bytes: float | None) -> int:
    """Return how many subjects are measured together if each holds ``floats`` numbers; at least one.

    ``card_bytes``: bytes of GPU memory that the process may use, None on a CPU.
    """
    from explorer.models import memory

    return max(1, memory.floats_at_once(card_bytes, FLOATS_AT_ONCE, memory.SIDE_BY_SIDE) // max(1, floats))


def take(name: str, cell: CellModels, subjects: list[Any], options: Any) -> Measured:
    """Take a measure of some subjects, and check the columns of its rows.

    As many subjects as fit into memory are measured together. The result for one subject does not depend on
    the others, so this changes it only by rounding.

    A measure of paths names in ``NO_PATH`` the column that says why a pair has no path. Such a pair is not
    measured.

    Raises:
        ValueError: a row lacks a declared column, or has a column that is not declared.
    """
    from explorer.models import memory
    from explorer.models.precision import ieee_float32

    module, floats = plugin(explorer.measures, name, "measure"), 0
    if hasattr(module, "floats_held"):  # per subject
        floats = module.floats_held(options, cell.network.parameters)
    size = subjects_at_once(floats, memory.card_bytes(cell.theta.device))
    no_path = getattr(module, "NO_PATH", "")
    obstacles = obstacles_to_paths(cell, subjects) if no_path else {}
    measurable = [subject for subject in subjects if subject not in obstacles]
    taken = Measured([])
    with ieee_float32(cell.theta.device):
        for start in range(0, len(measurable), size):
            part = module.measure(cell, measurable[start : start + size], options)
            taken.rows += part.rows
            for kind, rows in part.extra.items():
                taken.extra.setdefault(kind, []).extend(rows)
    if no_path:
        empty = {name: EMPTY[column.kind] for name, column in module.COLUMNS.items()}
        by_pair = {(row["model_a"], row["model_b"]): {**row, no_path: ""} for row in taken.rows}
        for (a, b), reason in obstacles.items():
            by_pair[a, b] = {"model_a": a, "model_b": b, **empty, no_path: reason}
        taken.rows = [by_pair[pair] for pair in subjects]
    columns = module.columns(cell, options) if hasattr(module, "columns") else module.COLUMNS
    check_columns(name, {*IDS[module.KIND], *columns}, taken.rows)
    return taken


def obstacles_to_paths(cell: CellModels, pairs: list[Pair]) -> dict[Pair, str]:
    """Return, for pairs of models without a meaningful path between them, why there is none.

    A path joins the parameters. Models that differ in something else that training does not change, such as
    random features or a frozen layer, are points of two different landscapes. The statistics of a point
    must settle; this is tried at both ends and in the middle between them.
    """
    import torch

    from explorer.models.rows import PASSES

    obstacles, network, x = {}, cell.network, cell.data.x_train
    for pair, first, second in zip(pairs, *cell.ends(pairs), strict=True):
        a, b = cell.theta[first], cell.theta[second]
        stats = cell.buffers[[first, second]]
        if names := network.different_constants(a, stats[0], stats[1], x):
            obstacles[pair] = f"the models differ in {', '.join(names[:3])}, which training does not change"
            continue
        points = torch.stack([a, (a + b) / 2, b])
        if names := [*itertools.chain(*network.unsettled(points, stats[[0, 0, 0]], x))]:
            obstacles[pair] = (
                f"{', '.join(dict.fromkeys(names))} would still change the outputs after {PASSES} passes "
                "over the training inputs; let averages follow faster"
            )
    return obstacles


def check_columns(name: str, declared: set[str], rows: list[dict[str, Any]]) -> None:
    """Raise ValueError if a row of the measure ``name`` does not have exactly the declared columns."""
    for row in rows:
        if undeclared := sorted(row.keys() - declared):
            raise ValueError(f"the measure {name} returned the column {undeclared[0]!r} without declaring it")
        if missing := sorted(declared - row.keys()):
            raise ValueError(f"the measure {name} declares the column {missing[0]!r} but did not return it")


def point_rows(subjects: list[Pair], path: str, profile: Profile) -> list[dict[str, Any]]:
    """Return the rows of the ``curves`` table: one for each pair and point of the profile of a path."""
    names = ("train_loss", "train_error_percent", "test_loss", "test_error_percent")
    values = {name: getattr(profile, name).tolist() for name in names}
    return [
        {
            "model_a": a,
            "model_b": b,
            "path": path,
            "t": t,
            **{name: column[pair][point] for name, column in values.items()},
        }
        for pair, (a, b) in enumerate(subjects)
        for point, t in enumerate(profile.t.tolist())
    ]


def pair_name(pair: Pair) -> str:
    """Return the name of a pair, from which its random streams are seeded."""
    return f"{pair[0]}-{pair[1]}"
