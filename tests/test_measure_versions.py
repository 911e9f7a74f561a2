from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from in_process import work

from explorer.engine.context import load_data
from explorer.measures import similarity
from explorer.plan import plan, provenance
from explorer.space.model import CheckedSpace
from explorer.space.reading import parse


def test_a_measure_of_another_version_is_taken_again_and_others_are_kept(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny |= {"load": {"width": [2]}, "temperature": {"batch_size": [50]}, "seeds": 2}
    space: CheckedSpace = parse(tiny)
    (clean,) = load_data(space).values()
    store = work(space, clean, tmp_path)
    store.write_info({**provenance.describe(space, "tiny"), "measure_versions": plan.measure_versions(space)})
    assert plan.drop_outdated(space, store) == []
    assert not plan.missing_tasks(space, store)
    monkeypatch.setattr(similarity, "VERSION", 1000, raising=False)
    assert plan.drop_outdated(space, store) == ["similarity"]
    assert {task.measure for task in plan.missing_tasks(space, store)} == {"similarity"}
    assert plan.drop_outdated(space, store) == []
    assert store.read_info()["measure_versions"]["similarity"] == 1000
