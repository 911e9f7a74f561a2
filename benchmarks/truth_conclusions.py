"""Promises of phases, claims and advice. Models of a cell differ by 1 point of accuracy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import worlds
from scipy.special import ndtr
from worlds import Promise

from explorer import phases
from explorer.phases.advice import advise_cells
from explorer.phases.claims import FAILS, HOLDS, Claim, check_claims, settings
from explorer.phases.claims.checks import Check, ClaimTables
from explorer.phases.claims.estimates import Estimate
from explorer.phases.claims.evidence import decide, summarise
from explorer.phases.resampling import rank_correlation
from explorer.phases.words import ACCURACY

BETTER = 5 * 5 + 3  # row of the cell that worlds.one_better makes better
NEIGHBOURS = ("c23", "c27", "c29", "c33")
GIVEN = {"train_loss": 0.01, "cka": 0.7}
DIPS = ("double-descent-in-width", "double-descent-in-temperature")
DECAYS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2)
TRUE = ("cka-ranks-accuracy", "best-is-connected")  # claims that hold in ``related`` worlds


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


@cache
def gaps_of_lowest_loss(n: int, gain: float) -> list[Claim]:
    """Return the claims lowest-loss-is-not-best of worlds in which it is truly worse by ``gain``.

    All lines lie behind a barrier, the coldest cells have the lowest loss, and the second coldest are better.
    """
    accuracy, loss = np.full(worlds.SHAPE, 85.0), np.full(worlds.SHAPE, 0.002)
    accuracy[:, 3] += gain
    loss[:, 4] = 0.001
    means = {"test_accuracy_percent": accuracy, "train_loss": loss, "mode_connectivity": -8.0}
    return [claims["lowest-loss-is-not-best"] for claims in claims_of(n, **means)]


def covered(n: int, gain: float) -> float:
    """Return how often the interval of lowest-loss-is-not-best covers the true gain."""
    return float(np.mean([claim.low <= gain <= claim.high for claim in gaps_of_lowest_loss(n, gain)]))


def dips(n: int, accuracy: Any, names: Collection[str] = DIPS) -> float:
    """Return the share of worlds with these means in which a double descent holds."""
    found = claims_of(n, test_accuracy_percent=accuracy)
    return float(np.mean([any(claims[name].verdict == HOLDS for name in names) for claims in found]))


def shallow_dips(n: int) -> float:
    """Return the share of worlds whose lines wander together, in which a double descent holds that is no true one.

    The true means over lines dip by less than a point along temperature.
    """
    found = []
    for k in range(n):
        means = 82 + np.random.default_rng([9, k]).normal(0, 2, worlds.SHAPE).cumsum(axis=0)
        mean = means.mean(axis=0)
        depths = [min(mean[:at].max(), mean[at + 1 :].max()) - mean[at] for at in range(1, len(mean) - 1)]
        (claims,) = claims_of(1, seed=k, test_accuracy_percent=means)
        found.append(claims[DIPS[1]].verdict == HOLDS and max(depths) < 1)
    return float(np.mean(found))


def random_means(center: float, size: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Return a function that draws the true mean of each cell."""
    return lambda random: random.normal(center, size, worlds.SHAPE)


@cache
def unrelated(n: int) -> list[dict[str, Claim]]:
    """Return the claims of worlds in which no measure has to do with another."""
    means = {
        "mode_connectivity": lambda r: np.where(r.random(worlds.SHAPE) < 0.5, -8.0, 0.0),
        "cka": lambda r: r.uniform(0.4, 0.9, worlds.SHAPE),
        "hessian_trace": lambda r: np.exp(r.normal(1, 1, worlds.SHAPE)),
        "train_loss": lambda r: np.exp(r.normal(-4.6, 1.5, worlds.SHAPE)),
        "test_accuracy_percent": random_means(82, 3),
    }
    return list(claims_of(n, **means))


def false_claims(n: int) -> float:
    """Return the share of unrelated worlds in which a false claim holds.

    One claim is true there: accuracy varies, so the best temperature is better than that of the lowest loss.
    """
    others = ([c for c in found.values() if c.name != "lowest-loss-is-not-best"] for found in unrelated(n))
    return float(np.mean([any(c.verdict == HOLDS for c in claims) for claims in others]))


def inside(n: int) -> float:
    """Return the share of effects that lie in their own interval."""
    every = [c for claims in unrelated(n) for c in claims.values() if np.isfinite(c.effect)]
    return float(np.mean([c.low <= c.effect <= c.high for c in every]))


@cache
def related(n: int) -> list[dict[str, Claim]]:
    """Return the claims of worlds in which good cells are alike, smooth, and connected as all but the worst 5."""
    found = []
    for k in range(n):
        good = np.random.default_rng([3, k]).uniform(size=worlds.SHAPE)
        behind = good <= np.sort(good, axis=None)[4]
        means = {
            "test_accuracy_percent": 80 + 6 * good,
            "cka": 0.5 + 0.4 * good,
            "hessian_trace": np.exp(1 - 2 * good),
            "mode_connectivity": np.where(behind, -8.0, 0.0),
        }
        found += claims_of(1, seed=k, **means)
    return found


def verdicts(n: int, verdict: str) -> float:
    """Return the share of the true claims of related worlds with this verdict."""
    return float(np.mean([claims[name].verdict == verdict for claims in related(n) for name in TRUE]))


@cache
def best_of(n: int) -> list[pd.Series]:
    """Return the cells among the best of worlds in which one cell is 3 points better."""
    tables = classified(n, test_accuracy_percent=worlds.one_better())
    return [cells["among_best"].astype(bool) for cells in tables]


def better_found(n: int, most: int) -> float:
    """Return how often a cell that is 3 points better is among the best with at most ``most`` cells in all."""
    return float(np.mean([best.iloc[BETTER] and best.sum() <= most for best in best_of(n)]))


def ideally_found(n: int) -> float:
    """Return how often a cell 3 points better would be told from all others if the spread of models were known.

    This is the stepwise comparison of ``explorer.phases.best`` with exact standard errors.
    """
    random, cells = np.random.default_rng(7), worlds.SHAPE[0] * worlds.SHAPE[1]
    noise = random.normal(size=(20_000, cells))
    limits = [0.0, 0.0, *(np.quantile(np.ptp(noise[:, :k], axis=1), 0.95) for k in range(2, cells + 1))]
    found = []
    for _ in range(n):
        means = random.normal(size=cells)  # in standard errors
        means[0] += 3 * np.sqrt(worlds.SEEDS) / worlds.NOISE["test_accuracy_percent"]
        left = cells + 1
        while left > len(means):
            left = len(means)
            means = means[means.max() - means <= limits[left]]
        found.append(left == 1)
    return float(np.mean(found))


def told_apart(n: int) -> float:
    """Return the share of worlds of equal cells in which any is told from the best."""
    return float(np.mean([not cells["among_best"].all() for cells in classified(n)]))


def certain(n: int) -> float:
    """Return the share of cells of two seeds whose phase has a probability."""
    return float(np.mean([cells["phase_probability"].notna().mean() for cells in classified(n, seeds=2)]))


def sure_and_right(n: int) -> float:
    """Return the share of right phases among those of probability .8 or more; the cuts are given.

    True means are spread around the cuts, and replicates differ much.
    """
    cuts = {"train_loss": 0.01, "connected": 2.0, "cka": 0.7}
    right = []
    for k in range(n):
        random = np.random.default_rng([4, k])
        means = {
            "train_loss": 0.01 * np.exp(random.normal(0, 0.7, worlds.SHAPE)),
            "mode_connectivity": random.uniform(-4, 1, worlds.SHAPE),
            "cka": random.uniform(0.6, 0.8, worlds.SHAPE),
            "train_error_percent": np.full(worlds.SHAPE, 5.0),
        }
        noise = {"train_loss": 0.5, "mode_connectivity": 0.7, "cka": 0.03}
        (cells,) = classified(1, cuts=cuts, seed=k, noise=noise, **means)
        means["train_loss"] *= np.exp(noise["train_loss"] ** 2 / 2)  # the mean of models, not their median
        true = cells.assign(**{name: np.ravel(values) for name, values in means.items()})
        true["phase"] = phases.classify(true, phases.find_cuts(true, cuts))["phase"]
        right += (cells["phase"] == true["phase"])[cells["phase_probability"] >= phases.CERTAIN].tolist()
    return float(np.mean(right))


def rank_interval_covers(n: int, cells: int, rho: float) -> float:
    """Return how often the interval of Spearman's correlation over ``cells`` cells covers the true one."""
    kept = []
    for k in range(n):
        x, noise = np.random.default_rng([5, k]).normal(size=(2, cells))
        y = rho * x + np.sqrt(1 - rho**2) * noise
        table = pd.DataFrame({"cka": x, ACCURACY: y})
        run = ClaimTables(table, {}, worlds.AXES, pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
        found, _ = run.over_cells(
            ["cka", ACCURACY], lambda again, *both: rank_correlation(*map(again.ranks, both))
        )
        kept.append(found.low <= 6 / np.pi * np.arcsin(rho / 2) <= found.high)
    return float(np.mean(kept))


def pairs_of_cells(n: int, change: float, spread: float, lines: int = 3) -> list[Estimate]:
    """Return estimates of the trend of CKA over two levels of noise.

    The true changes of lines are normal, with this mean and standard deviation, in errors of a mean.
    """
    found = []
    for k in range(n):
        random = np.random.default_rng([10, k])
        means = np.stack([np.zeros(lines), change + spread * random.normal(size=lines)], axis=1)
        table = pd.DataFrame({
            "width": np.repeat(np.arange(lines), 2), "pixel_noise": np.tile([0.0, 0.2], lines), "n_models": 4, "n_pairs": 6,
            "cka": 0.8 + 0.001 * (means + random.normal(size=means.shape)).ravel(), "cka_std": 0.001 * np.sqrt(2),
        })  # fmt: skip
        axes = {"load": ["width", "pixel_noise"], "temperature": []}
        run = ClaimTables(table, {}, axes, pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
        found.append(run.mean_trend("pixel_noise", "cka", 2)[0])
    return found


def falls(n: int, change: float, spread: float) -> float:
    """Return how often three pairs of cells surely fall (p < .05, two-sided)."""
    return float(np.mean([one.tails(0.0)[1] < 0.025 for one in pairs_of_cells(n, change, spread)]))


def fall_covered(n: int, change: float, spread: float) -> float:
    """Return how often the interval covers the share of lines that rise minus the share that fall."""
    true = 2 * float(ndtr(change / np.hypot(spread, np.sqrt(2)))) - 1  # with the noise of two means
    return float(np.mean([one.low <= true <= one.high for one in pairs_of_cells(n, change, spread)]))


def drop_covers(n: int, drop: float = 1.5) -> float:
    """Return how often the interval of hessian-transition covers the mean drop of the loss, in powers of ten."""
    kept = []
    for k in range(n):
        falls = np.random.default_rng([6, k]).normal(drop, 0.3, (worlds.SHAPE[0], 1))
        behind = np.arange(worlds.SHAPE[1]) > 2
        means: dict[str, Any] = {
            "hessian_trace": np.where(behind, 1.0, 100.0) + np.zeros(worlds.SHAPE),
            "train_loss": 0.05 / 10 ** (falls * behind),
        }
        (claims,) = claims_of(1, seed=k, **means)
        kept.append(claims["hessian-transition"].low <= drop <= claims["hessian-transition"].high)
    return float(np.mean(kept))


def alone(check: Check, tables: Iterable[tuple[pd.DataFrame, pd.DataFrame]], axis: str) -> list[Claim]:
    """Return one claim of worlds that have ``axis`` beside the width; no other claim is tested there."""
    found = []
    for models, pairs in tables:
        axes = {"load": ["width"], "temperature": [name for name in (axis, "batch_size") if name in models]}
        cells = phases.cells(models, pairs, axes)
        run = ClaimTables(cells, phases.find_cuts(cells, GIVEN), axes, models, pairs, pd.DataFrame())
        found += decide([summarise(check.name, check.statement, check.evidence(run))])
    return found


def renamed(
    n: int, axis: str, values: Collection[float], **options: Any
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Return ``n`` worlds with another axis in place of the batch size."""
    for tables in worlds.worlds(n, **options):
        for table in tables:
            table[axis] = table.pop("batch_size").map(dict(zip(worlds.BATCHES, values, strict=True)))
        yield tables


def no_change_covered(n: int, noise: float) -> float:
    """Return how often the interval of label-noise-spares-hessian covers no change, if there is none."""
    tables = renamed(n, "label_noise", (0.0, 0.1, 0.2, 0.3, 0.4), noise={"hessian_trace": noise})
    claims = alone(settings.label_noise_spares_hessian, tables, "label_noise")
    return float(np.mean([claim.low <= 1.0 <= claim.high for claim in claims]))


def small_decay_holds(n: int, better: float) -> float:
    """Return how often small-decay-small-trace holds if the smallest decay is more accurate by ``better`` points."""
    trace, accuracy = np.full(worlds.SHAPE, 10.0), np.full(worlds.SHAPE, 85.0)
    trace[:, 0] = 1.0
    accuracy[:, 0] += better
    tables = renamed(n, "weight_decay", DECAYS, hessian_trace=trace, test_accuracy_percent=accuracy)
    claims = alone(settings.small_decay_small_trace, tables, "weight_decay")
    return float(np.mean([claim.verdict == HOLDS for claim in claims]))


def decay_at_boundary(n: int, more: float) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Return worlds of three schedules whose decay helps by a point, and by ``more`` at the boundary of connectivity."""
    mc = np.repeat([0.0, -2.0, -8.0], (3, 2, 3))[:, None]
    for k in range(n):
        parts = []
        for place, schedule in enumerate(("constant", "cosine", "step")):
            gain = (1 + more * (mc == -2)) * (place > 0)
            means = {"mode_connectivity": mc, "test_accuracy_percent": 85 + gain}
            models, pairs = worlds.world(np.random.default_rng([8, k, place]), schedule=schedule, **means)
            ids = {name: schedule + pairs[name] for name in ("model_a", "model_b")}
            parts.append(
                (
                    models.assign(
                        model_id=schedule + models["model_id"], cell_id=schedule + models["cell_id"]
                    ),
                    pairs.assign(schedule=schedule, cell_id=schedule + pairs["cell_id"], **ids),
                )
            )
        models, pairs = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
        yield models, pairs


def boundary_holds(n: int, more: float) -> float:
    """Return how often decay-helps-at-the-boundary holds."""
    claims = alone(settings.decay_helps_at_the_boundary, decay_at_boundary(n, more), "schedule")
    return float(np.mean([claim.verdict == HOLDS for claim in claims]))


def boundary_covered(n: int, more: float) -> float:
    """Return how often the interval of decay-helps-at-the-boundary covers ``more``."""
    claims = alone(settings.decay_helps_at_the_boundary, decay_at_boundary(n, more), "schedule")
    return float(np.mean([claim.low <= more <= claim.high for claim in claims]))


ONE_GROUP = {
    "even": lambda r: r.uniform(0.4, 0.9, 40),
    "normal": lambda r: r.normal(0.7, 0.08, 40),
    "skewed": lambda r: 0.9 - r.exponential(0.06, 40),
}
DIP = np.full(worlds.SHAPE, 85.0)
DIP[4] -= 4
PROMISES = [
    *(Promise(f"CKA {name}: split into two groups", lambda n, draw=draw: two_groups(n, draw), high=0.05, worlds=400, few=40)
      for name, draw in ONE_GROUP.items()),
    Promise("CKA in two groups, .3 apart, each with a spread of .04: split",
            lambda n: two_groups(n, lambda r: r.normal(0.5, 0.04, 40) + 0.3 * (np.arange(40) < 20)), low=0.95, worlds=400, few=40),
    Promise("phase of probability .8 or more: it is the true one", sure_and_right, low=0.80, few=4),
    Promise("two seeds: a phase has a probability", certain, high=0.0, few=2),
    Promise("two seeds: a change is fairly sure", lambda n: surely_advised(classified(n, seeds=2)), high=0.0, few=3),
    Promise("equal cells: any is told from the best", told_apart, high=0.10, worlds=200, few=10),
    Promise("a cell 3 points better: among the best", lambda n: better_found(n, 40), low=0.95, worlds=200, few=8),
    Promise("a cell 3 points better: told from three quarters of the others", lambda n: better_found(n, 10), low=0.90, worlds=200, few=8),
    Promise("a cell 3 points better: told from all others", lambda n: better_found(n, 1), low=0.80, worlds=200, few=8),
    Promise("the same comparison, if the spread of models were known: told from all others", ideally_found, worlds=10_000, few=200),
    *(Promise(f"gain of {gain} points over the lowest loss: interval covers it", lambda n, gain=gain: covered(n, gain), low=0.95)
      for gain in (0.0, 0.5, 1.0, 3.0)),
    Promise("no gain over the lowest loss: interval holds values below 0",
            lambda n: float(np.mean([claim.low < 0 for claim in gaps_of_lowest_loss(n, 0.0)])), high=0.0),
    Promise("random cells: a double descent holds", lambda n: dips(n, random_means(82, 3)), high=0.05),
    Promise("lines that wander, each on its own: double descent along them holds",
            lambda n: dips(n, lambda r: 82 + r.normal(0, 2, worlds.SHAPE).cumsum(axis=0), DIPS[:1]), high=0.05),
    Promise("neighbouring lines that wander together: double descent along them holds",
            lambda n: dips(n, lambda r: 82 + r.normal(0, 2, worlds.SHAPE).cumsum(axis=0), DIPS[1:])),
    Promise("neighbouring lines that wander together: double descent holds and the true means dip by less than a point",
            shallow_dips, high=0.0, worlds=60, few=3),
    Promise("equal cells: a double descent holds", lambda n: dips(n, 85.0), high=0.05),
    Promise("a dip of 4 points on every line: double descent holds", lambda n: dips(n, DIP, DIPS[:1]), low=0.90),
    Promise("equal cells: a change is fairly sure", lambda n: surely_advised(classified(n)), high=0.05, few=4),
    Promise("neighbours of a cell 3 points better: a change is fairly sure",
            lambda n: surely_advised(classified(n, test_accuracy_percent=worlds.one_better()), NEIGHBOURS), low=0.90),
    *(Promise(f"rank correlation {rho:g} over {cells} cells: interval covers it",
              lambda n, cells=cells, rho=rho: rank_interval_covers(n, cells, rho), low=0.92, worlds=400, few=40)
      for cells, rho in ((12, 0.0), (40, 0.7))),
    Promise("three pairs of cells, each up or down by chance: a fall is sure", lambda n: falls(n, 0.0, 10.0), high=0.05, worlds=400, few=40),
    Promise("three pairs of cells that all fall alike: a fall is sure", lambda n: falls(n, -30.0, 1.0), low=0.90, worlds=100, few=10),
    *(Promise(f"three pairs of cells, of which {share} fall: interval of the share covers it",
              lambda n, change=change: fall_covered(n, change, 10.0), low=0.92, worlds=400, few=40)
      for share, change in (("half", 0.0), ("most", -10.0))),
    Promise("drop of the loss at the Hessian's transition: interval covers it", drop_covers, low=0.92, worlds=100, few=4),
    *(Promise(f"label noise without effect on a Hessian with a spread of {noise:.0%}: interval covers no change".replace("%", " %"),
              lambda n, noise=noise: no_change_covered(n, noise), low=0.92, worlds=200, few=12) for noise in (0.05, 0.5)),
    Promise("smallest weight decay half a point better: its small trace without better accuracy holds",
            lambda n: small_decay_holds(n, 0.5), high=0.05, worlds=200, few=12),
    Promise("smallest weight decay half a point worse: its small trace without better accuracy holds",
            lambda n: small_decay_holds(n, -0.5), low=0.90, few=8),
    Promise("decay of the rate helps everywhere alike: more at the boundary holds", lambda n: boundary_holds(n, 0.0), high=0.05, worlds=200, few=6),
    Promise("decay of the rate helps 1.5 points more at the boundary: this holds", lambda n: boundary_holds(n, 1.5), low=0.90, few=6),
    *(Promise(f"decay of the rate helps {more:g} points more at the boundary: interval covers it",
              lambda n, more=more: boundary_covered(n, more), low=0.92, worlds=100, few=6) for more in (0.0, 1.5)),
    Promise("unrelated measures: any false claim holds", false_claims, high=0.05),
    Promise("effects inside their own interval", inside, low=1.0),
    Promise("true claims hold, with 88 % of the cells connected", lambda n: verdicts(n, HOLDS), low=0.90),
    Promise("true claims do not hold", lambda n: verdicts(n, FAILS), high=0.05),
]  # fmt: skip
