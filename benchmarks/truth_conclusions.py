"""Do phases, claims and advice keep what they promise?

Command: python benchmarks/truth_conclusions.py
Method: simulated worlds of 8 x 5 cells x 5 seeds whose truth is known (benchmarks/worlds.py); models of a cell
differ by 1 point of accuracy. Each line is a rate, its promise, and the number of worlds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import worlds

from explorer import phases
from explorer.phases.advice import advise_cells
from explorer.phases.claims import HOLDS, Claim, check_claims

BETTER = 5 * 5 + 3  # row of the cell that worlds.one_better makes better
NEIGHBOURS = ("c23", "c27", "c29", "c33")
GIVEN = {"train_loss": 0.01, "cka": 0.7}


def classified(n: int, *, cuts: dict[str, float] | None = None, **options: Any) -> Iterator[pd.DataFrame]:
    """Return the classified cells of ``n`` worlds; ``options`` as in ``worlds.worlds``."""
    for models, pairs in worlds.worlds(n, **options):
        cells = phases.cells(models, pairs, worlds.AXES)
        yield phases.classify(cells, phases.find_cuts(cells, GIVEN if cuts is None else cuts))


def surely_advised(tables: Iterable[pd.DataFrame], among: Collection[str] | None = None) -> float:
    """Return the share of cells to which a change is advised more surely than as a guess."""
    sure = []
    for cells in tables:
        cuts = phases.find_cuts(cells, GIVEN)
        for advice in advise_cells(cells, cuts, worlds.AXES, among).values():
            sure.append(advice.sure != "a guess" and not advice.change.startswith("keep"))
    return float(np.mean(sure))


def claims_of(n: int, noise: float = 0.2, **options: Any) -> Iterator[dict[str, Claim]]:
    """Return the claims of ``n`` worlds by name."""
    for models, pairs in worlds.worlds(n, **options):
        cells = phases.cells(models, pairs, worlds.AXES)
        cuts = phases.find_cuts(cells, GIVEN)
        found = check_claims(
            phases.classify(cells, cuts),
            cuts,
            worlds.AXES,
            models=models,
            pairs=pairs,
            epochs=pd.DataFrame(),
            noise=noise,
        )
        yield {claim.name: claim for claim in found}


def two_groups(n: int, draw: Any) -> float:
    """Return the share of sets of 40 values of CKA that are split into two groups."""
    split = []
    for k in range(n):
        cka = draw(np.random.default_rng([2, k]))
        cells = pd.DataFrame({"train_loss": 0.001, "mode_connectivity": 0.0, "cka": cka})
        split.append(phases.find_cuts(cells, GIVEN | {"cka": "auto"})["cka"].among is not None)
    return float(np.mean(split))


def gaps_covered(n: int, gain: float) -> tuple[float, float]:
    """Return how often lowest-loss-is-not-best covers the true gain, and how often its interval is below 0.

    All lines lie behind a barrier, the coldest cells have the lowest loss, and the second coldest are better.
    """
    accuracy, loss = np.full(worlds.SHAPE, 85.0), np.full(worlds.SHAPE, 0.002)
    accuracy[:, 3] += gain
    loss[:, 4] = 0.001
    found = [
        claims["lowest-loss-is-not-best"]
        for claims in claims_of(n, test_accuracy_percent=accuracy, train_loss=loss, mode_connectivity=-8.0)
    ]
    covered = [claim.low <= gain <= claim.high for claim in found]
    return float(np.mean(covered)), float(np.mean([claim.low < 0 for claim in found]))


def random_means(center: float, size: float) -> Any:
    """Return a function that draws the true mean of each cell."""
    return lambda random: random.normal(center, size, worlds.SHAPE)


def rates(n: int) -> Iterator[tuple[str, float, str, int]]:
    """Return each rate with its description, its promise and the number of worlds."""
    excluded = [not cells["among_best"].all() for cells in classified(n)]
    yield "equal cells: any is told from the best", float(np.mean(excluded)), "<= 0.10", n
    best = [cells["among_best"] for cells in classified(n, test_accuracy_percent=worlds.one_better())]
    yield (
        "a cell 3 points better: among the best",
        float(np.mean([b.iloc[BETTER] for b in best])),
        ">= 0.90",
        n,
    )
    few = float(np.mean([b.iloc[BETTER] and b.sum() <= len(b) / 4 for b in best]))
    yield "a cell 3 points better: told from three quarters of the others", few, ">= 0.90", n
    some = n // 2
    yield "equal cells: a change is fairly sure", surely_advised(classified(some)), "<= 0.05", some
    better = classified(some, test_accuracy_percent=worlds.one_better())
    found = surely_advised(better, NEIGHBOURS)
    yield "neighbours of a cell 3 points better: a change is fairly sure", found, ">= 0.90", some
    pair = surely_advised(classified(some, seeds=2))
    yield "two seeds: a change is fairly sure", pair, "= 0", some

    yield "CKA even: split", two_groups(2 * n, lambda r: r.uniform(0.4, 0.9, 40)), "<= 0.05", 2 * n
    yield "CKA normal: split", two_groups(2 * n, lambda r: r.normal(0.7, 0.08, 40)), "<= 0.05", 2 * n
    yield "CKA skewed: split", two_groups(2 * n, lambda r: 0.9 - r.exponential(0.06, 40)), "<= 0.05", 2 * n
    yield (
        "CKA in two groups, .3 apart, each with a spread of .04: split",
        two_groups(2 * n, lambda r: r.normal(0.5, 0.04, 40) + 0.3 * (np.arange(40) < 20)),
        ">= 0.95",
        2 * n,
    )

    for gain in (0.0, 0.5, 1.0, 3.0):
        covered, impossible = gaps_covered(some, gain)
        yield f"gain of {gain} points over the lowest loss: interval covers it", covered, ">= 0.95", some
        yield f"gain of {gain} points: interval holds values below 0", impossible, "= 0", some
    dips = ("double-descent-in-width", "double-descent-in-temperature")
    for name, accuracy in (("random cells", random_means(82, 3)), ("equal cells", 85.0)):
        held = [
            any(claims[d].verdict == HOLDS for d in dips)
            for claims in claims_of(some, test_accuracy_percent=accuracy)
        ]
        yield f"{name}: a double descent holds", float(np.mean(held)), "<= 0.05", some
    dip = np.full(worlds.SHAPE, 85.0)
    dip[4] -= 4
    held = [c[dips[0]].verdict == HOLDS for c in claims_of(some, test_accuracy_percent=dip)]
    yield "a dip of 4 points on every line: double descent holds", float(np.mean(held)), ">= 0.90", some

    unrelated = {
        "mode_connectivity": lambda r: np.where(r.random(worlds.SHAPE) < 0.5, -8.0, 0.0),
        "cka": lambda r: r.uniform(0.4, 0.9, worlds.SHAPE),
        "hessian_trace": lambda r: np.exp(r.normal(1, 1, worlds.SHAPE)),
        "train_loss": lambda r: np.exp(r.normal(-4.6, 1.5, worlds.SHAPE)),
        "test_accuracy_percent": random_means(82, 3),
    }
    # Accuracy varies between cells, so the best temperature is truly better than that of the lowest loss.
    true = {"lowest-loss-is-not-best"}
    every = list(claims_of(some, **unrelated))
    wrong = [any(c.verdict == HOLDS for c in claims.values() if c.name not in true) for claims in every]
    yield "unrelated measures: any false claim holds", float(np.mean(wrong)), "<= 0.05", some
    inside = [
        c.low <= c.effect <= c.high for claims in every for c in claims.values() if np.isfinite(c.effect)
    ]
    yield "effects inside their own interval", float(np.mean(inside)), "= 1", some


def main(n: int = 200) -> None:
    """Print each rate next to its promise."""
    for name, rate, promise, worlds_ in rates(n):
        print(f"{name:<75} {rate:6.3f}  promised {promise:<8} ({worlds_} worlds)", flush=True)


if __name__ == "__main__":
    main()
