"""Rounds of a refined run: the cells that were chosen so far, from ``run.yaml``, and the work in them."""

from __future__ import annotations

from typing import Any

from explorer.plan import plan
from explorer.plan.plan import Plan
from explorer.plan.stacks import NO_SIZES, Sizes
from explorer.runs.store import Store
from explorer.space import recorded
from explorer.space.model import CheckedSpace

Round = dict[str, Any]


def rounds_of(store: Store) -> list[Round]:
    """Return the rounds so far; see :func:`explorer.space.recorded.rounds_of`."""
    return recorded.rounds_of(store.read_info()) if store.exists() else []


def space_of_rounds(space: CheckedSpace, rounds: list[Round]) -> CheckedSpace:
    """Return the space with the cells of these rounds; the whole space if it is not refined."""
    if space.refine is None:
        return space
    return space.only(cell for one in rounds for cell in one["cells"])


def is_open(space: CheckedSpace, rounds: list[Round]) -> bool:
    """Return whether the last round is still to be finished, or cells of another one are to be chosen."""
    if space.refine is None:
        return False
    if not rounds or "expected" not in rounds[-1]:
        return True
    number = sum(len(one["cells"]) for one in rounds)
    return number < space.refine.most(len(space.domain)) and rounds[-1]["expected"] < space.refine.until


def reopened(rounds: list[Round]) -> list[Round]:
    """Return the rounds without the share expected after the last one: it held for the space until now."""
    return [*rounds[:-1], *({"cells": one["cells"]} for one in rounds[-1:])]


def missing(
    space: CheckedSpace,
    store: Store,
    sizes: Sizes = NO_SIZES,
    *,
    train: bool = True,
    given_up: frozenset[str] = frozenset(),
) -> Plan:
    """Return the work without a record, in the first round that has any; see :func:`plan.missing`.

    The stacks depend on the cells of their round only, so an interrupted run has the same stacks.
    """
    parts = [space] if space.refine is None else [space.only(one["cells"]) for one in rounds_of(store)]
    todo = (plan.missing(part, store, sizes, train=train, given_up=given_up) for part in parts)
    return next(filter(None, todo), Plan([], []))
