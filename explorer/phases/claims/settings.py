"""Claims about single settings: amount and quality of data, learning rate, schedule, weight decay."""

from __future__ import annotations

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column
from explorer.phases.claims.checks import FEWEST_MATCHED, SEEDS, CannotTell, ClaimTables, NotTestable, claim
from explorer.phases.claims.estimates import (
    MANY,
    Estimate,
    below_one,
    difference,
    doubted,
    mean_of,
    resampled,
    student,
    weaker,
)
from explorer.phases.claims.evidence import RELEVANT_RHO, Chart, Evidence
from explorer.phases.numbers import format_number, words_of
from explorer.phases.resampling import DRAWS, cells_again
from explorer.phases.words import ACCURACY
from explorer.units import plural

BETTER = 0.5  # points of accuracy from which on a setting counts as better


@claim("With more data, CKA and accuracy grow.")
def more_data(run: ClaimTables) -> Evidence:
    """Measure the weaker of the trends of CKA and accuracy with training-set size."""
    size = run.axis("train_size", "the training-set size")
    (cka, basis), (accuracy, _) = run.mean_trend(size, "cka"), run.mean_trend(size, ACCURACY)
    quantity = "Rank correlation with training-set size along lines, the smaller of those of CKA and accuracy"
    note = f"CKA {format_number(cka.value)}, accuracy {format_number(accuracy.value)}."
    chart = Chart("slices", ("cka", size))
    return Evidence(quantity, weaker(cka, accuracy), basis, chart, least=RELEVANT_RHO, note=note)


@claim("With more data, the Hessian trace grows.")
def more_data_more_trace(run: ClaimTables) -> Evidence:
    """Measure the trend of the Hessian trace with training-set size."""
    size = run.axis("train_size", "the training-set size")
    estimate, basis = run.mean_trend(size, "hessian_trace")
    quantity = "Rank correlation of training-set size and Hessian trace along lines"
    return Evidence(quantity, estimate, basis, Chart("slices", ("hessian_trace", size)), least=RELEVANT_RHO)


@claim("Label noise lowers mode connectivity and CKA.")
def label_noise_lowers_similarity(run: ClaimTables) -> Evidence:
    """Measure the weaker of the falls of mode connectivity and CKA with label noise."""
    noise = run.axis("label_noise", "the label noise")
    # Lines of two levels of noise are pairs of cells that differ in nothing else.
    (mc, basis), (cka, _) = (run.mean_trend(noise, name, 2) for name in ("mode_connectivity", "cka"))
    quantity = (
        "Fall with label noise, as a rank correlation along lines: the weaker of mode connectivity and CKA"
    )
    note = f"Mode connectivity {format_number(mc.value)}, CKA {format_number(cka.value)}."
    chart = Chart("slices", ("cka", noise))
    return Evidence(
        quantity, weaker(mc.negative(), cka.negative()), basis, chart, least=RELEVANT_RHO, note=note
    )


@claim("Label noise barely changes the Hessian.")
def label_noise_spares_hessian(run: ClaimTables) -> Evidence:
    """Measure how far the Hessian's change over the whole range of label noise stays below a factor of 2.

    The change of a line is up or down, so its absolute value would count noise as change. The square of the
    change minus the variance of its noise does not.
    """
    noise, local = run.axis("label_noise", "the label noise"), run.curvatures[0]
    *_, whole = run.on_lines(noise, [local], 2, logs=[local])

    def change(curvature: np.ndarray) -> np.ndarray:
        return (curvature[..., -1] - curvature[..., 0]) / np.log10(2)

    changes = run.drawn_on_lines(local, whole, change, log=True)
    squares = changes[0] ** 2 - changes[1:].var(axis=0)
    estimate = below_one(mean_of(squares, (changes[1:] ** 2).var(axis=0)))
    factor = format_number(float(2.0 ** (1 - estimate.value)))
    quantity = f"Change of the {words_of(local)} from least to most label noise (root mean square)"
    note = f"The change is a factor of {factor}; below 2 counts as barely changed."
    chart = Chart("slices", (local, noise))
    unit = "doublings less than a factor of 2"
    return Evidence(quantity, estimate, f"{len(whole)} lines", chart, unit, note=note)


@claim("Pixel noise leaves mode connectivity near 0 and lowers CKA.")
def pixel_noise_lowers_cka(run: ClaimTables) -> Evidence:
    """Measure the fall of CKA with pixel noise, or the excess share of connected cells if that is less."""
    noise = run.axis("pixel_noise", "the pixel noise")
    run.require("mode_connectivity")
    fall, basis = run.mean_trend(noise, "cka", 2)
    mc = column(run.cells, "mode_connectivity").to_numpy()
    noisy = np.flatnonzero(np.isfinite(mc) & (column(run.cells, noise) > 0).to_numpy())
    if not len(noisy):
        raise CannotTell(
            "No cell with pixel noise has a mode connectivity.", "mode connectivity of cells with pixel noise"
        )
    connected = np.abs(mc[noisy]) <= run.cuts["connected"].value
    drawn = cells_again(len(noisy), "noisy", draws=DRAWS)
    share = np.concatenate([again.values(connected).mean(axis=1) for again in drawn])
    estimate = weaker(fall.negative(), resampled(2 * share - 1))
    quantity = (
        "The smaller of two: the fall of CKA with pixel noise, as a rank correlation along lines, and the "
        "share of noisy cells that are connected minus the share that are not"
    )
    note = f"Mode connectivity stays near 0 in {share[0]:.0%} of the cells with noise.".replace("%", " %")
    return Evidence(quantity, estimate, basis, Chart("slices", ("cka", noise)), least=RELEVANT_RHO, note=note)


@claim("Learning-rate decay helps most at the boundary of connectivity.")
def decay_helps_at_the_boundary(run: ClaimTables) -> Evidence:
    """Compare the gain from a decaying rate at the connectivity boundary with that on each side of it."""
    run.asked.add("schedule")
    if "schedule" not in run.names or not {"constant"} < set(run.cells["schedule"].astype(str)):
        raise NotTestable(
            "The run does not compare a learning-rate schedule with a constant learning rate.",
            "an axis schedule, with constant and another value",
        )
    run.require(ACCURACY, "mode_connectivity")
    others = [n for n in run.names if n != "schedule"]
    how = {"on": others} if others else {"how": "cross"}
    table = run.cells[others].assign(place=np.arange(len(run.cells)))
    constant = (run.cells["schedule"].astype(str) == "constant").to_numpy()
    both = table[constant].merge(table[~constant], **how, suffixes=("_constant", "_decay"))
    places = both[["place_constant", "place_decay"]].to_numpy().T
    accuracy, mc = (column(run.cells, name).to_numpy() for name in (ACCURACY, "mode_connectivity"))
    known = np.isfinite(mc[places[0]]) & np.isfinite(accuracy[places]).all(axis=0)
    a, group = np.unique(places[0, known], return_inverse=True)
    shares = (group == np.arange(len(a))[:, None]) / np.maximum(np.bincount(group), 1)[:, None]  # (a, pairs)
    ratio = -mc[a] / run.cuts["connected"].value
    parts = {
        "at the connectivity boundary (within a factor of 2 of the cut)": (ratio > 1 / 2) & (ratio < 2),
        "on its connected side": np.abs(ratio) <= 1 / 2,
        "behind a barrier": ratio >= 2,
    }
    counts = [int(part.sum()) for part in parts.values()]
    if min(counts) < FEWEST_MATCHED:
        counted = ", ".join(f"{n} {where}" for n, where in zip(counts, parts, strict=True))
        lacking = [
            f"{plural(FEWEST_MATCHED - n, 'more cell')} {where}"
            for n, where in zip(counts, parts, strict=True)
            if n < FEWEST_MATCHED
        ]
        reason = f"Cells: {counted}; {FEWEST_MATCHED} of each are needed."
        raise CannotTell(reason, f"at least {' and '.join(lacking)}")
    decayed = places[1, known]
    gain = np.concatenate(
        [means[:, decayed] @ shares.T - means[:, a] for means in run.draws.some_of(ACCURACY)]
    )
    edge, *sides = (mean_of(gain[0, part], gain[1:, part].var(axis=0)) for part in parts.values())
    estimate = weaker(*(difference(edge, side, min(counts) - 1) for side in sides))
    quantity = (
        "Accuracy gain from learning-rate decay at the connectivity boundary, minus the larger of the gains "
        "on its two sides"
    )
    basis = f"{counts[0]} cells at the boundary, {counts[1]} connected, {counts[2]} behind a barrier"
    chart = Chart("scatter", ("mode_connectivity", ACCURACY, "cka"))
    return Evidence(quantity, estimate, basis, chart, "points", least=0.2)


@claim("A small weight decay gives a tiny Hessian trace, but no better accuracy.")
def small_decay_small_trace(run: ClaimTables) -> Evidence:
    """Measure by how many powers of ten the trace is smaller at the smallest weight decay than at the others.

    The claim holds only if the smallest decay is less than BETTER points more accurate than the best of the
    others. The effect is at most 0 if it is not.
    """
    decay = run.axis("weight_decay", "the weight decay")
    measures = ["hessian_trace", ACCURACY]
    steps, _, whole = run.on_lines(decay, measures, 2, logs=measures[:1])
    gain = weaker(
        *(run.over_lines(ACCURACY, whole, lambda v, k=k: v[..., 0] - v[..., k]) for k in range(1, len(steps)))
    )
    estimate = run.over_lines("hessian_trace", whole, lambda v: v[..., 1:].mean(axis=2) - v[..., 0], log=True)
    p_less, p_more = gain.tails(BETTER)
    note = (
        f"Accuracy at the smallest minus the best of the others: {format_number(gain.value, 2)} points "
        f"(against {format_number(BETTER)} or more: p = {format_number(p_more)})."
    )
    if gain.value >= BETTER:
        note += " The smallest has better accuracy, which contradicts the claim, so the trace does not count."
        value, low, high = (min(end, 0.0) for end in (estimate.value, estimate.low, estimate.high))
        estimate = Estimate(value, low, high, lambda _: (1.0, p_less), gain.noise, (1.0, p_less))
    else:
        estimate = doubted(estimate, p_more)
    quantity = "log10 Hessian trace at the larger weight decays, minus that at the smallest"
    chart = Chart("slices", ("hessian_trace", decay))
    basis = f"{len(whole)} lines"
    return Evidence(quantity, estimate, basis, chart, "powers of ten", least=0.3, note=note)


@claim("Scaling the learning rate with the batch size flattens the temperature axis.")
def scaled_rate_flattens(run: ClaimTables) -> Evidence:
    """Compare spreads of accuracy along batch size: fixed rate, and rate proportional to the batch size."""
    batch = run.axis("batch_size", "the batch size")
    scaled = "linear_scaling" in run.names and run.cells["linear_scaling"].nunique(dropna=False) > 1
    rate = run.axis("learning_rate", "the learning rate") if not scaled else "learning_rate"
    run.require(ACCURACY)
    if not run.replicated(ACCURACY):
        raise CannotTell("The spread between replicates is unknown.", SEEDS)
    accuracy, size = column(run.cells, ACCURACY).to_numpy(), column(run.cells, batch)
    fixed = (
        column(run.cells, rate).fillna(1.0) if rate in run.names else pd.Series(1.0, index=run.cells.index)
    )
    # The learning rate in the space applies at this batch size; missing: at every batch size.
    fixed = fixed * (size / _linear_scaling(run)).fillna(1.0)
    others = [run.cells[n] for n in run.names if n not in (batch, rate, "linear_scaling")]

    def lines(key: pd.Series) -> list[np.ndarray]:
        """Return the lines of cells with the same key and other settings."""
        groups = run.cells.groupby([key.map(lambda x: float(f"{x:.4g}")), *others], dropna=False).indices
        known = [line[np.isfinite(accuracy[line])] for line in map(np.asarray, groups.values())]
        if sum(len(line) >= 3 for line in known) < 2:
            raise CannotTell(
                "Fewer than two diagonals of three cells have the same ratio of learning rate and batch "
                "size.",
                "at least 3 values of learning_rate and batch_size, each in steps of the same factor",
            )
        return [line for line in known if len(line) >= 3]

    along, diagonal = lines(fixed), lines(fixed / size)

    def spread(means: np.ndarray, lines: list[np.ndarray]) -> np.ndarray:
        return np.mean([means[:, line].std(axis=1, ddof=1) for line in lines], axis=0)

    drawn = run.draws.some_of(ACCURACY)
    values = np.concatenate([spread(means, along) - spread(means, diagonal) for means in drawn])
    estimate = student(float(values[0]), float(values[1:].std()), MANY, noise=1.0)
    basis = f"{int(np.isfinite(accuracy).sum())} cells; replicates resampled"
    quantity = (
        "Spread of accuracy over batch sizes at a fixed learning rate, minus that at a fixed ratio of the two"
    )
    chart = Chart("slices", (ACCURACY, batch))
    return Evidence(quantity, estimate, basis, chart, "points", least=0.1)


def _linear_scaling(run: ClaimTables) -> pd.Series:
    """Return the batch size for which the learning rate of each cell is meant; NaN if it is not scaled."""
    if "linear_scaling" in run.cells or "linear_scaling" not in run.models:
        return column(run.cells, "linear_scaling")
    keys = [n for n in run.names if n in run.models] or ["cell_id"]
    of_cells = (
        run.models.groupby(keys, dropna=False)["linear_scaling"].first().rename("scaling").reset_index()
    )
    found = run.cells[keys].merge(of_cells, on=keys, how="left")["scaling"]
    return pd.to_numeric(found, errors="coerce").set_axis(run.cells.index)
