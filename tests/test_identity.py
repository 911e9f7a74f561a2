"""What a model's id says: its settings, and the version of what trains it where that is not the first."""

from __future__ import annotations

from typing import Any

import pytest

import explorer.train.optimisers
from explorer.models import mlp
from explorer.space.reading import parse


@pytest.fixture
def ids(tiny: dict[str, Any]) -> Any:
    """Return the ids of all cells, as the code is at the moment."""
    return lambda: [cell.id for cell in parse(tiny).cells]


def test_ids_of_today_are_those_of_earlier_versions(ids: Any) -> None:
    assert ids()[0] == "80ba9d04265138ac"


@pytest.mark.parametrize("what", ["architecture", "optimiser"])
def test_other_numerics_are_other_models(what: str, ids: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids()
    if what == "architecture":
        monkeypatch.setattr(mlp, "VERSION", 2, raising=False)
    else:
        monkeypatch.setitem(explorer.train.optimisers.VERSIONS, "sgd", 2)
    after = ids()
    assert not set(before) & set(after)
    if what == "optimiser":
        monkeypatch.setitem(explorer.train.optimisers.VERSIONS, "sgd", 3)
        assert not set(after) & set(ids())


def test_a_version_of_what_is_not_used_changes_nothing(ids: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids()
    monkeypatch.setitem(explorer.train.optimisers.VERSIONS, "adamw", 2)
    assert ids() == before
