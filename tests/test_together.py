"""One verdict over several spaces, and what would decide a claim, where the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from explorer.phases.claims import FAILS, HOLDS, UNKNOWN, UNTESTED, Claim, wanted
from explorer.phases.claims.estimates import mean_of, student
from explorer.phases.claims.evidence import Chart, Evidence, decide, summarise
from explorer.phases.claims.together import CHOSEN, CONTRADICTED, GENERAL, combine, pool, table
from explorer.phases.noise import MANY

LEAST = 0.2


def claim(name: str, effect: float, error: float, least: float = LEAST) -> Claim:
    estimate = student(effect, error, MANY)
    return summarise(
        name, f"{name}.", Evidence("Effect", estimate, "9 lines", Chart("slices", ()), least=least)
    )


def spaces(effects: dict[str, list[float]], error: float = 0.05) -> dict[str, list[Claim]]:
    """Claims by space from effects by claim; NaN: not testable."""
    cells = pd.DataFrame({"n_models": [5]})
    n = max(map(len, effects.values()))
    return {
        f"space{k}": wanted.with_wants(
            decide(
                [
                    claim(name, values[k], error)
                    if np.isfinite(values[k])
                    else Claim(name, f"{name}.", UNTESTED, "", would_decide="an axis width")
                    for name, values in effects.items()
                ]
            ),
            cells,
        )
        for k in range(n)
    }


def test_pool_is_the_weighted_mean_without_spread_and_the_plain_mean_with_a_large_one():
    same = pool([1.0, 1.0, 1.0], [0.1, 0.2, 0.4])
    assert (same.mean.value, same.spread) == (pytest.approx(1.0), 0.0)
    wide = pool([-10.0, 0.0, 13.0], [0.1, 0.1, 0.1])
    assert wide.mean.value == pytest.approx(1.0, abs=0.01)
    assert wide.spread == pytest.approx(np.std([-10, 0, 13], ddof=1), rel=0.01)
    exact = pool([0.5, 0.5, 0.5], [0.0, 0.0, 0.0])
    assert exact.mean.value == pytest.approx(0.5)


def test_interval_of_the_mean_covers_it_and_general_claims_are_seldom_false():
    """Effects of six spaces differ around 0 or around .5; eight claims are combined at a time."""
    random, covered, false, true = np.random.default_rng(0), [], [], []
    for _ in range(60):
        for truth, said in ((0.0, false), (0.5, true)):
            effects = {f"claim{k}": list(random.normal(truth, 0.17, 6)) for k in range(8)}
            found = combine(spaces(effects, error=0.1))
            covered += [one.low <= truth <= one.high for one in found]
            said.append([one.verdict == GENERAL for one in found])
    assert 0.93 <= np.mean(covered) <= 0.99
    assert np.mean(np.any(false, axis=1)) <= 0.05
    assert np.mean(true) >= 0.3, "with eight claims at once, six spaces that differ by .2"


def test_spaces_are_seldom_counted_by_chance():
    random, any_false = np.random.default_rng(1), []
    for _ in range(80):
        effects = {f"claim{k}": list(random.normal(0.0, 0.1, 6)) for k in range(8)}
        found = combine(spaces(effects, error=0.1))
        any_false.append(any(HOLDS in one.verdicts.values() for one in found))
    assert np.mean(any_false) <= 0.06


def test_verdicts_over_spaces():
    nan = np.nan
    found = {
        one.name: one
        for one in combine(
            spaces(
                {
                    "general": [0.8, 0.7, 0.9, 0.8],
                    "some": [0.8, -0.7, 0.9, nan],
                    "none": [-0.8, -0.5, 0.0, -0.6],
                    "against": [-0.8, 0.12, nan, nan],
                    "open": [0.12, 0.15, 0.1, nan],
                    "alone": [0.8, nan, nan, nan],
                    "never": [nan, nan, nan, nan],
                }
            )
        )
    }
    verdicts = {name: one.verdict for name, one in found.items()}
    assert verdicts == {
        "general": GENERAL,
        "some": "holds in 2 of 3",
        "none": CONTRADICTED,
        "against": "contradicted in 1 of 2",
        "open": UNKNOWN,
        "alone": "holds in 1 of 1",
        "never": UNTESTED,
    }
    assert found["some"].verdicts["space1"] == FAILS
    assert found["some"].words == "holds in 2 of 3, not in 1"
    assert found["never"].would_decide == "an axis width"
    assert found["open"].would_decide.startswith("in space")
    assert "1 space cannot show whether it holds in general" in found["alone"].why


def test_effects_of_a_chosen_place_are_not_averaged():
    name = next(iter(CHOSEN))
    (every,) = combine(spaces({name: [0.8, 0.7, 0.9]}))
    (some,) = combine(spaces({name: [0.8, 0.1, 0.9]}))
    assert (every.verdict, some.verdict) == (GENERAL, "holds in 2 of 3")
    assert np.isnan(every.effect)


def test_effects_in_another_unit_are_left_out_of_the_mean():
    runs = spaces({"one": [0.4, 0.5, 0.6, 9.0]})
    runs["space3"] = [replace(runs["space3"][0], unit="points (regression)")]
    (found,) = combine(runs)
    assert found.effect == pytest.approx(0.5)
    assert "over 3 spaces" in found.why


def test_a_verdict_that_hangs_on_the_loss_cut_does_not_count():
    runs = spaces({"one": [0.8, 0.7]})
    hanging = replace(runs["space0"][0], verdict=UNKNOWN, hangs_on_cut=True)
    (found,) = combine({**runs, "space0": [hanging]})
    assert found.verdict == "holds in 1 of 2"


def test_table_has_a_row_for_each_space_and_one_for_all():
    rows = table(combine(spaces({"one": [0.8, 0.7], "other": [0.8, np.nan]})))
    assert list(rows["space"]) == ["all spaces", "space0", "space1"] * 2
    assert list(rows["verdict"])[3:] == ["holds in 1 of 1", HOLDS, UNTESTED]


# ---- what would decide a claim


def lines_claim(random: np.random.Generator, seeds: int, lines: int = 6, spread: float = 0.0) -> Claim:
    """A claim over lines of true effect .5, whose noise of replicates has variance 4 / seeds."""
    noise = 4.0 / seeds
    values = 0.5 + spread * random.normal(size=lines) + np.sqrt(noise) * random.normal(size=lines)
    evidence = Evidence(
        "Gain", mean_of(values, np.full(lines, noise)), f"{lines} lines", Chart("", ()), least=0.2
    )
    return decide([summarise("gain", "It gains.", evidence)])[0]


def test_as_many_seeds_as_a_claim_asks_for_mostly_decide_it():
    factor = wanted.needed_factor(claim("gain", 0.5, np.sqrt(4 / 5 / 6)), 1)
    seeds = wanted.needed_seeds(factor, 1.0, 5)
    random = np.random.default_rng(0)
    few = np.mean([lines_claim(random, 5).verdict == HOLDS for _ in range(300)])
    many = np.mean([lines_claim(random, int(seeds)).verdict == HOLDS for _ in range(300)])
    assert few < 0.4
    assert 0.7 <= many <= 0.95


def test_a_study_asks_for_what_stands_its_own_corrections():
    """Alone, each run tells its claim. Over six findings in two spaces, p of .02 is not enough."""
    runs = {
        f"space{k}": wanted.with_wants(
            [c for n in "abcdef" for c in decide([claim(n, effect, 0.2)])], pd.DataFrame({"n_models": [5]})
        )
        for k, effect in enumerate([0.46, 0.44])
    }
    assert {c.verdict for claims in runs.values() for c in claims} == {HOLDS}
    found = combine(runs)
    assert {one.verdict for one in found} == {UNKNOWN}
    lines = int(np.ceil(9 * (wanted.needed_factor(runs["space0"][0], 2 * 6) - 1)))
    assert found[0].would_decide == f"in space0: about {lines} more lines"
    assert found[0].wants["space1"] > found[0].wants["space0"]
    (held,) = combine({"space0": [claim("a", 5.0, 0.2)], "space1": [weak := claim("a", 0.3, 0.2)]})
    assert held.wants == {"space0": "", "space1": wanted.what_decides(weak, 1)}


def test_an_effect_that_resampling_does_not_change_asks_for_other_cells():
    flat = replace(claim("one", 0.0, 0.0), p=1.0, p_alone=(1.0, 0.5), seeds=4)
    assert wanted.what_decides(flat, 3).startswith("other cells or seeds")


def test_a_second_test_asks_for_more_cells_too():
    sure = replace(claim("one", 5.0, 0.2), seeds=4)
    assert wanted.needed_factor(sure, 1) == 1
    doubtful = replace(sure, doubts=(0.05, 0.0))
    assert wanted.needed_factor(doubtful, 1) == pytest.approx(((1.96 + 1.282) / 1.645) ** 2, rel=1e-3)
    assert wanted.what_decides(doubtful, 1) == "about 26 more lines"
    assert "second test" in wanted.what_decides(replace(sure, doubts=(0.6, 0.0)), 1)


def test_seeds_are_not_asked_for_if_they_cannot_help():
    assert wanted.needed_seeds(3.0, 0.2, 5) == np.inf
    assert wanted.needed_seeds(3.0, 1.0, 5) == 15
    assert wanted.needed_seeds(1.2, 0.5, 4) == 6
