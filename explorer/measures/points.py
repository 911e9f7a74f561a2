"""Rows of the ``curves`` table from the points of paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from explorer.measures.base import Pair

if TYPE_CHECKING:
    from explorer.landscape.connectivity import Profile


def point_rows(subjects: list[Pair], path: str, profile: Profile) -> list[dict[str, Any]]:
    """Return one row for each point and pair of the profile of a path."""
    columns = {
        "train_loss": profile.train_loss,
        "train_error_percent": profile.train_error_percent,
        "test_loss": profile.test_loss,
        "test_error_percent": profile.test_error_percent,
    }
    values = {name: column.tolist() for name, column in columns.items()}
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
