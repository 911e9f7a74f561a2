"""What would decide a claim that a run cannot tell: more seeds, more cells, or clearer cuts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column
from explorer.phases.claims.estimates import LEVEL
from explorer.phases.claims.evidence import UNKNOWN, Claim
from explorer.phases.noise import MANY, t_quantile
from explorer.phases.numbers import format_number

# Probability that so many seeds or cells decide, if the effect is the measured one and its error is known.
# With an estimated error it is about .8.
POWER = 0.9
MOST = 50.0  # times as many cells or seeds


def with_wants(claims: Sequence[Claim], cells: pd.DataFrame) -> list[Claim]:
    """Return the claims; those that the run cannot tell say what would decide them."""
    open_ = sum(c.verdict == UNKNOWN and np.isfinite(c.p) for c in claims)
    models = column(cells, "n_models")
    seeds = int(models[models > 0].median()) if (models > 0).any() else 0
    known = [replace(c, seeds=seeds) for c in claims]
    return [
        replace(c, would_decide=what_decides(c, open_)) if c.verdict == UNKNOWN and np.isfinite(c.p) else c
        for c in known
    ]


def what_decides(claim: Claim, tests: int) -> str:
    """Return how many seeds, or more cells or lines, would decide the claim if its effect stays as it is.

    The width of the resampled interval shrinks with the square root of the number of cells or lines. With
    more seeds, only the share ``noise`` of its variance shrinks. ``tests`` is Holm's factor of the undecided
    claims.
    """
    if claim.hangs_on_cut:
        return (
            "cells with a clear gap between low and high training loss, or a cut of yours (phases.train_loss)"
        )
    factor = needed_factor(claim, tests)
    if not factor <= MOST and factor > _factor_of_effect(claim, tests):
        return (
            f"more than {MOST:g} times as many cells: a second test of the claim (see there) is too uncertain"
        )
    if not factor <= MOST:
        near = claim.null if claim.effect >= claim.least else claim.least
        return (
            f"more than {MOST:g} times as many cells: the effect is too near {format_number(near)} "
            "for its error"
        )
    if claim.low == claim.high:
        return "other cells or seeds: the effect is the same however these are resampled"
    ways = []
    more = needed_seeds(factor, claim.noise, claim.seeds)
    if np.isfinite(more) and more <= MOST * claim.seeds:
        ways.append(f"about {int(more):,} seeds instead of {claim.seeds}")
    what = re.search(r"\d+ ([^,;]*)", claim.basis)
    if what and claim.n and "replicates" not in claim.basis:
        count = max(1, int(np.ceil((factor - 1) * claim.n)))
        ways.append(f"about {count:,} more {_several(what[1]) if count > 1 else _single(what[1])}")
    return " or ".join(ways)


def needed_factor(claim: Claim, tests: int) -> float:
    """Return by how much the variance must fall, so that effect and second test decide, each with POWER."""
    holds = claim.effect >= claim.least and claim.effect > claim.null
    doubt = claim.doubts[0 if holds else 1]
    if doubt <= 0:
        return _factor_of_effect(claim, tests)
    distance = max(_z(1 - doubt), 0.0)  # of the second test, in standard errors
    second = (_needed_distance(tests) / distance) ** 2 if distance > 0 else np.inf
    return max(_factor_of_effect(claim, tests), second)


def _factor_of_effect(claim: Claim, tests: int) -> float:
    holds = claim.effect >= claim.least and claim.effect > claim.null
    distance = claim.effect - claim.null if holds else claim.least - claim.effect
    error = (claim.effect - claim.low if holds else claim.high - claim.effect) / _z(1 - LEVEL / 2)
    if distance <= 0:
        return np.inf
    return max(1.0, float((error * _needed_distance(tests) / distance) ** 2))


def _needed_distance(tests: int) -> float:
    """Return the distance in standard errors that decides with POWER among this number of tests."""
    return _z(1 - LEVEL / 2 / tests) + _z(POWER)


def needed_seeds(factor: float, noise: float, seeds: int) -> float:
    """Return how many seeds reduce the variance by a factor; infinite if seeds alone cannot."""
    left = 1 / factor - (1 - noise)
    return (
        float(np.ceil(max(seeds + 1, seeds * noise / left))) if left > 0 and noise > 0 and seeds else np.inf
    )


def _several(what: str) -> str:
    """Return the words in the plural: a basis may be a single line or cell."""
    return re.sub(r"\b(line|cell)\b", r"\1s", what, count=1)


def _single(what: str) -> str:
    return re.sub(r"\b(line|cell)s\b", r"\1", what, count=1)


def _z(level: float) -> float:
    return float(t_quantile(level, MANY))
