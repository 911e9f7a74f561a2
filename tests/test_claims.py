"""Claims: parts against closed forms, verdicts against worlds in which a claim is true or false."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr

from explorer import phases
from explorer.phases.claims import CHECKS, FAILS, HOLDS, UNKNOWN, UNTESTED, Claim, check_claims
from explorer.phases.claims.checks import ClaimTables
from explorer.phases.claims.estimates import resampled
from explorer.phases.claims.evidence import Chart, Evidence, decide, summarise
from explorer.phases.numbers import format_amount, format_interval
from explorer.phases.resampling import DRAWS, Draws, lines, partial_rank_correlation, ranks, spearman

WIDTHS, BATCHES = (2, 4, 8, 16, 32, 64), (4, 8, 16, 32, 64)
AXES = {"load": ["width"], "temperature": ["batch_size"]}
CUTS = {"train_loss": 0.01, "connected": 2.0, "cka": 0.7}
EMPTY = pd.DataFrame()


def world(make, *, load: dict[str, tuple] | None = None, seeds: int = 4, noise: float = 0.2, **fixed: Any):
    """Tables of a grid; ``make(**settings)`` gives the means of its measures, accuracy gets noise a model."""
    random = np.random.default_rng(7)
    axes = {**(load or {"width": WIDTHS}), "batch_size": BATCHES}
    models, pairs = [], []
    for point in itertools.product(*axes.values()):
        place = {**fixed, **dict(zip(axes, point, strict=True))}
        mean = {
            "train_loss": 0.001, "test_accuracy_percent": 90.0, "hessian_trace": 10.0,
            "hessian_top_eigenvalue": 3.0, "mode_connectivity": 0.0, "cka": 0.8, "l2_distance": 20.0,
            **make(**place),
        }  # fmt: skip
        ids = [f"{point}-{seed}" for seed in range(seeds)]
        for seed, model in enumerate(ids):
            own = {k: mean[k] for k in ("train_loss", "hessian_trace", "hessian_top_eigenvalue")}
            accuracy = mean["test_accuracy_percent"] + noise * random.normal()
            models.append(
                {
                    "model_id": model,
                    **place,
                    "seed": seed,
                    "status": "ok",
                    **own,
                    "test_accuracy_percent": accuracy,
                }
            )
        for a, b in itertools.combinations(ids, 2):
            own = {k: mean[k] for k in ("cka", "l2_distance")}
            mc = mean["mode_connectivity"] + 0.05 * random.normal()
            pairs.append(
                {"model_a": a, "model_b": b, **place, **own, "mode_connectivity": mc, "status": "ok"}
            )
    return (
        pd.DataFrame(models),
        pd.DataFrame(pairs),
        {"load": list(load or {"width": 0}), "temperature": ["batch_size"]},
    )


def checked(models, pairs, axes, epochs=EMPTY, noise: float = 0.0) -> dict[str, Claim]:
    grid = phases.cells(models, pairs, axes)
    cuts = phases.find_cuts(grid, CUTS)
    cells = phases.classify(grid, cuts)
    tables = {"models": models, "pairs": pairs, "epochs": epochs}
    return {c.name: c for c in check_claims(cells, cuts, axes, **tables, noise=noise)}


# ---- parts


def test_ranks_and_correlations_are_those_of_scipy():
    random = np.random.default_rng(0)
    x, y = random.integers(0, 4, (5, 9)).astype(float), random.normal(size=(5, 9))
    np.testing.assert_array_equal(ranks(x), [rankdata(row) for row in x])
    expected = [spearmanr(a, b)[0] for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(spearman(x, y), expected)
    assert spearman(np.ones((1, 4)), y[:1, :4]).tolist() == [0.0]


def test_a_partial_correlation_is_that_of_the_residuals():
    random = np.random.default_rng(1)
    z, w = random.normal(size=(2, 1, 60))
    x, y = z + 0.3 * random.normal(size=(1, 60)), z - w + 0.3 * random.normal(size=(1, 60))
    given = np.column_stack([np.ones(60), ranks(z)[0], ranks(w)[0]])

    def residual(v):
        return ranks(v)[0] - given @ np.linalg.lstsq(given, ranks(v)[0], rcond=None)[0]

    expected = np.corrcoef(residual(x), residual(y))[0, 1]
    assert partial_rank_correlation(*map(ranks, (x, y, z, w)))[0] == pytest.approx(expected)
    assert abs(spearman(x, y)[0] - expected) > 0.2


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_resampled_means_spread_as_the_standard_error_does(seeds: int):
    models, pairs, axes = world(lambda **_: {}, seeds=seeds, noise=1.0)
    cells = phases.cells(models, pairs, axes)
    draws = Draws(cells, models, pairs, ["width", "batch_size"]).of("test_accuracy_percent")
    assert draws.shape == (1 + DRAWS, len(cells))
    np.testing.assert_allclose(draws[0], cells["test_accuracy_percent"])
    spread = cells["test_accuracy_percent_std"] / np.sqrt(seeds)
    np.testing.assert_allclose(draws[1:].std(axis=0), spread, rtol=0.15)


@pytest.mark.parametrize("seeds", [3, 4, 6])
def test_pairs_that_share_a_model_move_together(seeds: int):
    """Spread that comes from models: drawing the pairs one by one would make it half as wide."""
    random = np.random.default_rng(3)
    effects = random.normal(size=(200, seeds))
    models = [{"model_id": f"{c}-{i}", "width": c, "status": "ok"} for c in range(200) for i in range(seeds)]
    pairs = [
        {"model_a": f"{c}-{i}", "model_b": f"{c}-{j}", "width": c, "cka": effects[c, i] + effects[c, j]}
        for c in range(200)
        for i, j in itertools.combinations(range(seeds), 2)
    ]
    models, pairs = pd.DataFrame(models), pd.DataFrame(pairs)
    axes = {"load": ["width"], "temperature": []}
    cells = phases.cells(models, pairs, axes)
    spread = Draws(cells, models, pairs, ["width"]).of("cka")[1:].std(axis=0)
    assert np.sqrt(np.mean(spread**2)) == pytest.approx(2 / np.sqrt(seeds), rel=0.1)  # of a mean of e_a + e_b
    each = cells["cka_std"] / np.sqrt(seeds * (seeds - 1) / 2)
    assert np.sqrt(np.mean(spread**2)) > 1.4 * np.sqrt(np.mean(each**2))


def test_without_rows_means_move_by_their_standard_error_or_stay():
    cells = pd.DataFrame({"cell_id": ["a", "b"], "width": [1, 2], "n_models": 4, "n_pairs": 0})
    cells = cells.assign(test_accuracy_percent=90.0, test_accuracy_percent_std=[1.0, np.nan])
    draws = Draws(cells, EMPTY, EMPTY, ["width"]).of("test_accuracy_percent")
    assert draws[1:, 0].std() == pytest.approx(0.5, rel=0.1)
    assert draws[1:, 1].std() == 0


def test_lines_follow_one_axis_and_leave_gaps():
    cells = pd.DataFrame({"width": [4, 2, 2], "batch_size": [8, 8, 16]})
    grid, steps = lines(cells, "width", ["width", "batch_size"])
    assert steps.tolist() == [2, 4]
    assert sorted(map(tuple, grid.tolist())) == [(1, 0), (2, -1)]


def evidence(centre: float, spread: float, least: float = 0.2) -> Evidence:
    values = np.append(centre, centre + spread * np.random.default_rng(0).normal(size=DRAWS))
    return Evidence(
        "Effect", resampled(values), "10 cells", Chart("scatter", ("x", "y", "z")), "points", least=least
    )


@pytest.mark.parametrize(
    ("centre", "spread", "verdict"),
    [
        (1.0, 0.1, HOLDS),
        (1.0, 0.9, UNKNOWN),
        (0.0, 0.05, FAILS),
        (-1.0, 0.1, FAILS),
        (0.15, 0.05, UNKNOWN),  # surely above 0, perhaps below what would count
        (0.1, 0.04, FAILS),
    ],
)
def test_a_verdict_weighs_interval_and_size(centre: float, spread: float, verdict: str):
    claim = decide([summarise("a", "A.", evidence(centre, spread))])[0]
    assert claim.verdict == verdict
    assert claim.low < claim.effect < claim.high


def test_a_claim_can_hold_among_all_others_on_a_large_grid():
    cells = pd.DataFrame({"cka": np.full(10_000, 0.5)})
    run = ClaimTables(cells, {}, AXES, EMPTY, EMPTY, EMPTY)
    found, _ = run.over_cells(["cka"], lambda again, cka: again.values(cka).mean(axis=1))
    assert 2 * found.tails(0.0)[0] * len(CHECKS) < 0.05


def test_amounts_and_intervals_are_said_in_words():
    assert format_amount(1.0, "powers of ten") == "1 power of ten"
    assert format_amount(2.0, "points") == "2 points"
    assert format_amount(1.0, "") == "1"
    assert format_interval(0.1, 0.25) == "95 % interval 0.1 to 0.25"
    assert format_interval(0.99999, 1.0) == "95 % interval narrower than rounding"


def test_many_claims_at_once_are_held_to_more():
    alone = decide([summarise("a", "A.", evidence(1.0, 0.42))])
    crowd = decide([summarise(str(k), "A.", evidence(1.0, 0.42)) for k in range(8)])
    assert alone[0].verdict == HOLDS
    assert {c.verdict for c in crowd} == {UNKNOWN}
    assert crowd[0].p == pytest.approx(8 * alone[0].p)


# ---- worlds


def good_world(width: int, batch_size: int, **_: Any) -> dict[str, float]:
    room, cold = np.log2(width), np.log2(batch_size)
    mc = -max(0.0, 12 - 4 * room)
    return {
        "mode_connectivity": mc, "cka": 0.3 + 0.1 * room, "test_accuracy_percent": 70 + 4 * room - 0.1 * cold,
        "hessian_trace": 30 / room * (1 + 0.05 * cold), "hessian_top_eigenvalue": 9 / room,
        "l2_distance": 20 + (width * 7 + batch_size) % 5,
    }  # fmt: skip


def test_a_world_in_which_load_decides():
    found = checked(*world(good_world))
    for name in ("best-is-connected", "cka-ranks-accuracy", "cka-beats-distance", "width-connects"):
        assert found[name].verdict == HOLDS, found[name].why
        assert found[name].low > found[name].null
    assert found["hessian-transition"].verdict == UNKNOWN
    assert "no transition" in found["hessian-transition"].why
    assert found["more-data"].verdict == UNTESTED
    assert found["more-data"].why == "The run does not vary the training-set size."


def test_a_world_turned_round_is_told_as_plainly():
    """Best where unconnected and unlike: the same claims fail."""

    def upside_down(width, batch_size):
        return {**good_world(width, batch_size), "test_accuracy_percent": 90 - 4 * np.log2(width)}

    found = checked(*world(upside_down))
    for name in ("best-is-connected", "cka-ranks-accuracy"):
        assert found[name].verdict == FAILS, found[name].why


def test_connected_cells_are_compared_with_equally_smooth_ones():
    def split(width, batch_size, gain):
        apart = WIDTHS.index(width) % 2
        return {
            "hessian_trace": 5.0 * 1.3 ** BATCHES.index(batch_size), "mode_connectivity": -9.0 * apart,
            "test_accuracy_percent": 90 - gain * apart - BATCHES.index(batch_size),
        }  # fmt: skip

    helped = checked(*world(lambda **p: split(**p, gain=3.0)))["smoothness-is-not-enough"]
    level = checked(*world(lambda **p: split(**p, gain=0.0)))["smoothness-is-not-enough"]
    assert (helped.verdict, level.verdict) == (HOLDS, FAILS)
    assert helped.effect == pytest.approx(3.0, abs=0.3)

    def tied(width, batch_size):  # the Hessian tells connected from not: nothing to match
        return {**split(width, batch_size, 3.0), "hessian_trace": 10.0 ** (WIDTHS.index(width) % 2)}

    assert checked(*world(tied))["smoothness-is-not-enough"].verdict == UNKNOWN


def test_connectivity_adds_only_where_the_hessian_does_not_say_it_all():
    def both(width, batch_size, share):
        mc = -0.3 * WIDTHS.index(width)
        smooth = BATCHES.index(batch_size)
        return {
            "mode_connectivity": mc, "hessian_trace": 3.0 + smooth, "hessian_top_eigenvalue": 1.0 + smooth**2,
            "test_accuracy_percent": 90 + 5 * share * mc - smooth,
        }  # fmt: skip

    assert checked(*world(lambda **p: both(**p, share=1.0)))["connectivity-adds"].verdict == HOLDS
    assert checked(*world(lambda **p: both(**p, share=0.0), noise=1.0))["connectivity-adds"].verdict != HOLDS


@pytest.mark.parametrize(("fall", "verdict"), [(2.0, HOLDS), (0.1, FAILS)])
def test_the_loss_falls_tenfold_at_the_transition_or_not(fall: float, verdict: str):
    def step(width, batch_size):
        cold = batch_size >= 16
        return {"hessian_trace": 5.0 if cold else 50.0, "train_loss": 1e-3 * (1 if cold else 10**fall)}

    claim = checked(*world(step))["hessian-transition"]
    assert claim.verdict == verdict
    assert claim.effect == pytest.approx(fall, abs=1e-6)


@pytest.mark.parametrize(("depth", "verdict"), [(6.0, HOLDS), (0.0, FAILS)])
def test_double_descent_is_a_dip_beyond_the_noise(depth: float, verdict: str):
    def dip(width, batch_size, label_noise):
        return {"test_accuracy_percent": 85 - (depth if width == 16 else 0.0)}

    found = checked(*world(dip, label_noise=0.2))
    assert found["double-descent-in-width"].verdict == verdict, found["double-descent-in-width"].why
    if depth:
        assert found["double-descent-in-width"].effect == pytest.approx(depth, abs=0.5)
        assert "width 16" in found["double-descent-in-width"].why


def test_double_descent_is_not_asked_of_clean_data():
    found = checked(*world(lambda **_: {}, label_noise=0.0))
    assert found["double-descent-in-width"].verdict == UNTESTED


def test_double_descent_is_not_asked_of_data_that_know_no_label_noise():
    models, pairs, axes = world(lambda **_: {}, load={"width": WIDTHS[:4]}, seeds=2)
    assert checked(models.assign(task="language"), pairs, axes)["double-descent-in-width"].verdict == UNTESTED
    assert checked(models, pairs, axes)["double-descent-in-width"].verdict == UNTESTED
    assert checked(models, pairs, axes, noise=0.2)["double-descent-in-width"].verdict != UNTESTED


def test_a_pick_among_many_is_not_flattered():
    """Nothing but noise over the grid: the naive dip is large, the effect told is about 0."""
    models, pairs, axes = world(lambda **_: {}, label_noise=0.2, noise=2.0)
    claim = checked(models, pairs, axes)["double-descent-in-width"]
    table = phases.cells(models, pairs, axes).pivot_table(
        index="batch_size", columns="width", values="test_accuracy_percent"
    )
    values = table.to_numpy()
    naive = max(
        min(line[:k].max(), line[k + 1 :].max()) - line[k] for line in values for k in range(1, len(line) - 1)
    )
    assert naive > 1.5
    assert claim.effect < naive / 2
    assert claim.verdict != HOLDS


def barriers_everywhere(width, batch_size, best):
    k = BATCHES.index(batch_size)
    return {
        "mode_connectivity": -9.0,
        "train_loss": 0.02 / (1 + k),
        "test_accuracy_percent": 80 - 2.0 * abs(k - best),
    }


def test_the_lowest_loss_is_compared_with_the_best_temperature():
    hurt = checked(*world(lambda **p: barriers_everywhere(**p, best=1)))["lowest-loss-is-not-best"]
    fine = checked(*world(lambda **p: barriers_everywhere(**p, best=4)))["lowest-loss-is-not-best"]
    assert (hurt.verdict, fine.verdict) == (HOLDS, FAILS)
    assert hurt.effect == pytest.approx(6.0, abs=0.5)


@pytest.mark.parametrize(("lost", "verdict"), [(4.0, HOLDS), (0.0, FAILS)])
def test_early_stopping_is_judged_by_the_other_replicates(lost: float, verdict: str):
    models, pairs, axes = world(lambda **p: barriers_everywhere(**p, best=1))
    models["cell_id"] = models["width"].astype(str) + "-" + models["batch_size"].astype(str)
    random = np.random.default_rng(0)
    epochs = [
        {"model_id": m, "step": s, "test_accuracy_percent": 80 + v + 0.5 * random.normal()}
        for m in models["model_id"]
        for s, v in ((1, -10.0), (2, 0.0), (3, -lost))
    ]
    # The end of each, at a step of its own where a rule has stopped it.
    apart = [{**e, "step": 3 + k % 5} if e["step"] == 3 else e for k, e in enumerate(epochs)]
    for history in (epochs, apart):
        claim = checked(models, pairs, axes, pd.DataFrame(history))["early-stopping-helps"]
        assert claim.verdict == verdict, claim.why
        assert claim.effect == pytest.approx(lost, abs=0.35)


def test_early_stopping_without_a_spread_cannot_be_told():
    models, pairs, axes = world(lambda **p: barriers_everywhere(**p, best=1))
    models["cell_id"] = models["width"].astype(str) + "-" + models["batch_size"].astype(str)
    rising = [
        {"model_id": m, "step": s, "test_accuracy_percent": 70.0 + s}
        for m in models["model_id"]
        for s in (1, 2)
    ]
    claim = checked(models, pairs, axes, pd.DataFrame(rising))["early-stopping-helps"]
    assert claim.verdict == UNKNOWN
    assert "its error is unknown" in claim.why


def test_axes_of_data_have_claims_of_their_own():
    def sized(train_size, batch_size):
        grown = np.log2(train_size)
        return {"cka": 0.1 * grown, "test_accuracy_percent": 50 + 3 * grown, "hessian_trace": 5 + grown}

    found = checked(*world(sized, load={"train_size": (50, 100, 200, 400)}))
    assert (found["more-data"].verdict, found["more-data-more-trace"].verdict) == (HOLDS, HOLDS)

    def noisy(label_noise, batch_size):
        return {
            "cka": 0.9 - label_noise,
            "mode_connectivity": -20 * label_noise,
            "hessian_trace": 10 + label_noise,
        }

    found = checked(*world(noisy, load={"label_noise": (0.0, 0.1, 0.2, 0.4)}))
    assert (found["label-noise-lowers-similarity"].verdict, found["label-noise-spares-hessian"].verdict) == (
        HOLDS,
        HOLDS,
    )

    def blurred(pixel_noise, batch_size):
        return {"cka": 0.9 - pixel_noise}

    found = checked(*world(blurred, load={"pixel_noise": (0.0, 0.1, 0.2, 0.4)}))
    assert found["pixel-noise-lowers-cka"].verdict == HOLDS
    assert "in 100 % of the cells" in found["pixel-noise-lowers-cka"].why


def test_three_pairs_of_cells_that_fall_by_chance_show_nothing():
    for spread, verdict in ((0.04, UNKNOWN), (0.0, HOLDS)):
        models, pairs, axes = world(
            lambda pixel_noise, width, batch_size, spread=spread: {
                "cka": 0.9 - (0.2 + spread * (width - 6)) * (pixel_noise > 0)
            },
            load={"width": (2, 4, 8), "pixel_noise": (0.0, 0.2)},
        )
        one = [table[table["batch_size"] == 4] for table in (models, pairs)]
        claim = checked(*one, axes)["pixel-noise-lowers-cka"]
        assert (claim.verdict, claim.effect) == (verdict, 1.0), claim.why
    assert "95 % interval narrower than rounding (3 lines of 2 cells)" in claim.why


def test_pixel_noise_that_parts_models_does_not_do_what_is_claimed():
    def blurred(pixel_noise, batch_size):
        return {"cka": 0.9 - pixel_noise, "mode_connectivity": -40 * pixel_noise}

    claim = checked(*world(blurred, load={"pixel_noise": (0.0, 0.1, 0.2, 0.4)}))["pixel-noise-lowers-cka"]
    assert claim.verdict == FAILS, claim.why
    assert claim.effect == -1.0
    assert "in 0 % of the cells" in claim.why


@pytest.mark.parametrize(("better", "verdict"), [(0.0, HOLDS), (0.45, UNKNOWN), (3.0, FAILS)])
def test_a_small_decay_with_a_tiny_trace_must_not_be_more_accurate(better: float, verdict: str):
    def decayed(weight_decay, batch_size):
        small = weight_decay == 0.0
        return {"hessian_trace": 1.0 if small else 30.0, "test_accuracy_percent": 90 + better * small}

    claim = checked(*world(decayed, load={"weight_decay": (0.0, 1e-4, 1e-3)}))["small-decay-small-trace"]
    assert claim.verdict == verdict, claim.why


def test_a_dip_in_clean_lines_is_no_double_descent_under_label_noise():
    def dip(width, label_noise, batch_size):
        clean = label_noise == 0.0
        return {"test_accuracy_percent": 85 - 9.0 * (clean and width == 16)}

    load = {"width": WIDTHS, "label_noise": (0.0, 0.2)}
    assert checked(*world(dip, load=load))["double-descent-in-width"].verdict == FAILS
    raised = checked(*world(lambda **p: dip(**{**p, "label_noise": 0.2 - p["label_noise"]}), load=load))
    assert raised["double-descent-in-width"].verdict == HOLDS


def test_a_rate_that_a_space_scales_with_the_batch_is_taken_as_it_was():
    """Accuracy follows the column of the rate alone, which in a scaled space is the rate per input."""

    def same(learning_rate, batch_size):
        return {"test_accuracy_percent": 90 - 4 * abs(np.log2(learning_rate) + 3)}

    models, pairs, axes = world(same, load={"learning_rate": (0.03125, 0.0625, 0.125, 0.25, 0.5)})
    plain = checked(models, pairs, axes)["scaled-rate-flattens"]
    scaled = checked(models.assign(linear_scaling=16), pairs, axes)["scaled-rate-flattens"]
    assert (plain.verdict, scaled.verdict) == (FAILS, HOLDS)


@pytest.mark.parametrize(
    "load",
    [
        {"train_size": (100, 200, 400)},
        {"label_noise": (0.0, 0.2, 0.4)},
        {"learning_rate": (0.1, 0.2, 0.4)},
        {"weight_decay": (0.0, 1e-4, 1e-3)},
    ],
)
def test_one_replicate_and_a_few_lines_show_nothing(load: dict[str, tuple]):
    """Nothing but noise, of one model a cell: nothing says how large the noise is, so no claim is decided."""
    random = np.random.default_rng(5)

    def drawn(**_: Any) -> dict[str, float]:
        return {
            "hessian_trace": 10 ** random.uniform(0, 3), "test_accuracy_percent": random.normal(80, 3),
            "train_loss": 10 ** random.uniform(-4, 0),
        }  # fmt: skip

    for _ in range(10):
        models, pairs, axes = world(drawn, load=load, seeds=1)
        found = checked(models, pairs, {**axes, "load": list(load)})
        assert {c.verdict for c in found.values()} <= {UNKNOWN, UNTESTED}


def test_tables_of_any_kind_get_an_answer_to_every_claim():
    models, pairs, axes = world(good_world)
    for m, p in ((EMPTY, EMPTY), (models, EMPTY), (EMPTY, pairs), (models.head(1), pairs.head(0))):
        found = checked(m, p, axes)
        assert len(found) == 19
        assert not [c for c in found.values() if c.verdict == HOLDS and not np.isfinite(c.p)]


def test_the_same_tables_give_the_same_verdicts():
    tables = world(good_world)
    assert repr(checked(*tables)) == repr(checked(*tables))


def test_pairs_of_two_cells_say_nothing_of_either():
    models, pairs, axes = world(lambda width, batch_size: {"mode_connectivity": float(width)})
    homes = models.assign(cell_id=[str(at) for at in zip(models["width"], models["batch_size"], strict=True)])
    home = homes.set_index("model_id")["cell_id"]
    pairs = pairs.assign(cell_id=pairs["model_a"].map(home), cell_id_b=pairs["model_b"].map(home))
    across = pairs.iloc[:-6].assign(
        model_b=pairs["model_b"].iloc[6:].to_numpy(), cell_id_b=pairs["cell_id_b"].iloc[6:].to_numpy(),
        mode_connectivity=-40.0,
    )  # fmt: skip
    both = pd.concat([pairs, across], ignore_index=True)
    assert checked(homes, both, axes) == checked(homes, pairs, axes)


def test_a_run_that_varies_the_schedule_alone_is_checked():
    models, pairs, _ = world(lambda **at: {}, load={"schedule": ("constant", "cosine")})
    axes = {"load": [], "temperature": ["schedule"]}
    assert checked(models, pairs, axes)["decay-helps-at-the-boundary"].verdict == UNKNOWN


def test_short_training_is_not_the_cold_half():
    def rising(width, batch_size):
        return {"mode_connectivity": -10.0 + np.log2(width) if batch_size >= 16 else -np.log2(width)}

    models, pairs, _ = world(rising)
    found = checked(
        models.rename(columns={"batch_size": "steps"}),
        pairs.rename(columns={"batch_size": "steps"}),
        {"load": ["width"], "temperature": ["steps"]},
    )["width-connects"]
    assert (found.verdict, "at steps from 16" in found.why) == (HOLDS, True)


def test_the_best_are_connected_also_where_most_cells_are():
    """Nine cells of ten are connected, and the unconnected ones are the least accurate."""

    def mostly(width, batch_size):
        room = np.log2(width)
        apart = width == 2 and batch_size <= 16
        return {
            "mode_connectivity": -9.0 * apart, "test_accuracy_percent": 80 + 2 * room - 5 * apart,
            "cka": 0.5 + 0.05 * room, "hessian_trace": 30 / room,
        }  # fmt: skip

    assert checked(*world(mostly))["best-is-connected"].verdict == HOLDS


def test_what_was_not_trained_to_the_end_is_no_barrier():
    def beyond(width, batch_size):
        return {"mode_connectivity": 9.0 if WIDTHS.index(width) % 2 else 0.0}

    claim = checked(*world(beyond))["smoothness-is-not-enough"]
    assert claim.why.startswith("15 connected cells and 0 unconnected cells are too few")


@pytest.mark.parametrize("level", ["fixed", "scaled"])
def test_scaling_of_the_rate_can_be_swept(level):
    """Accuracy follows the rate, so that a fixed rate is level, or the rate per input, so that a scaled one is."""

    def rated(width, linear_scaling, batch_size):
        rate = 0.1 * batch_size / 16 if linear_scaling == "16" else 0.1
        what = rate / 0.1 if level == "fixed" else rate / batch_size * 160
        return {"test_accuracy_percent": 90 - 4 * abs(np.log2(what))}

    load = {"width": (2, 4, 8), "linear_scaling": ("none", "16")}  # words, as in a run whose axis has null
    claim = checked(*world(rated, load=load))["scaled-rate-flattens"]
    assert (claim.verdict, claim.effect > 0) == ((HOLDS, True) if level == "scaled" else (FAILS, False))


def test_a_verdict_that_hangs_on_the_loss_cut_cannot_be_told():
    """CKA ranks accuracy among the cells below the first gap, and the other way round between the two gaps."""

    def split(width, batch_size):
        at = WIDTHS.index(width) * 5 + BATCHES.index(batch_size)
        loss = 0.0021 if at < 10 else 0.021 if at < 20 else 0.21
        cka = 0.5 + 0.01 * at
        return {
            "train_loss": loss * (1 + 0.001 * at), "cka": cka,
            "test_accuracy_percent": 80 + at if at < 10 else 60 - 2.0 * at,
        }  # fmt: skip

    models, pairs, axes = world(split)
    grid = phases.cells(models, pairs, axes)
    cuts = phases.find_cuts(grid, {"cka": 0.7})
    tables = {"models": models, "pairs": pairs, "epochs": EMPTY}
    found = {c.name: c for c in check_claims(phases.classify(grid, cuts), cuts, axes, **tables)}
    alone = checked(models, pairs, axes)["cka-ranks-accuracy"]
    assert alone.verdict == HOLDS  # a cut that the user gave has no rival
    assert found["cka-ranks-accuracy"].verdict == UNKNOWN
    assert "which is as plausible, the verdict is" in found["cka-ranks-accuracy"].why
