"""The pool of measuring actors, with a stand-in for Ray."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from explorer.engine import cluster, pool


class Actors:
    """Stands in for Ray and its actor class: each call is answered at once; counts the actors that exist."""

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.created, self.most, self.measured = 0, 0, []

    def options(self, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(remote=self._create)

    def _create(self, *_: Any) -> SimpleNamespace:
        number = self.created = self.created + 1
        self.alive.add(number)
        self.most = max(self.most, len(self.alive))
        return SimpleNamespace(
            number=number,
            ready=SimpleNamespace(remote=object),
            measure=SimpleNamespace(remote=lambda task: self.measured.append(task.at) or object()),
        )

    def wait(self, calls: list[object], **_: Any) -> tuple[list[object], list[object]]:
        return calls[:1], calls[1:]

    def get(self, call: object) -> None: ...

    def kill(self, actor: SimpleNamespace) -> None:
        self.alive.discard(actor.number)


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_actors_of_all_sizes_together_stay_within_the_limit(
    limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    actors = Actors()
    monkeypatch.setattr(pool, "ray", actors)
    monkeypatch.setattr(pool, "Measurer", actors)
    monkeypatch.setattr(cluster, "_nodes", lambda: [{"CPU": 8, "GPU": 1}])
    shares = [0.5, 0.5, 0.25, 0.25, 0.2]
    tasks: list[Any] = [
        SimpleNamespace(cell=share, at=number, kind="", size=1) for number, share in enumerate(shares)
    ]
    context: Any = SimpleNamespace(
        cluster=cluster.Cluster({"GPU": 1}, "", True, 1.0, limit),
        cancel=SimpleNamespace(check=lambda: None),
        session=SimpleNamespace(report=lambda _: None),
    )
    choice: Any = SimpleNamespace(cpus=1, gpus_of=lambda cell: cell, factory=lambda _: None)
    pool.Pool(context, choice).measure(tasks)
    assert sorted(actors.measured) == [0, 1, 2, 3, 4]
    assert not actors.alive
    assert actors.most == (limit or 5)
