"""What the trials share, and what a worker takes of it: a few at a time, however many they are."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray

from explorer.engine.packing import Packing
from explorer.engine.work import Stack

CHUNK = 64  # stacks; about half a megabyte in the memory of a worker


class Turn(NamedTuple):
    """What a trial does: train a stack, then measure what it and its mates hold all models of.

    See :func:`explorer.engine.plan.together`.
    """

    stack: Stack
    mates: list[Stack]


@dataclass(frozen=True)
class Job:
    """What the trials share. Their stacks lie in the object store, in chunks.

    A chunk is packed: what a worker has read of the store counts as its memory, and stacks differ in little.
    """

    chunks: list[ray.ObjectRef[bytes]]
    measures: dict[str, Any]
    save_every_s: float
    packing: Packing

    @classmethod
    def of(cls, stacks: Sequence[Stack], together: Sequence[Sequence[int]], **shared: Any) -> Job:
        turns = [
            Turn(stack, [stacks[p] for p in places]) for stack, places in zip(stacks, together, strict=True)
        ]
        chunks = [turns[start : start + CHUNK] for start in range(0, len(turns), CHUNK)]
        return cls([ray.put(zlib.compress(pickle.dumps(chunk), level=1)) for chunk in chunks], **shared)


class Hand:
    """Turns of a job by their places. Holds the chunk that was asked for last."""

    def __init__(self, job: Job):
        self.job = job
        self._number = -1
        self._chunk: list[Turn] = []

    def turn(self, place: int) -> Turn:
        number, within = divmod(place, CHUNK)
        if number != self._number:
            packed = ray.get(self.job.chunks[number])
            self._number, self._chunk = number, pickle.loads(zlib.decompress(packed))
        return self._chunk[within]
