"""Claims about single settings: amount and quality of data, learning rate, schedule, weight decay."""

from __future__ import annotations

import numpy as np

from explorer.phases.aggregate import column
from explorer.phases.claims.along import RELEVANT_RHO, mean_trend, on_lines
from explorer.phases.claims.bench import FEWEST_MATCHED, Bench, CannotTell, NotTestable
from explorer.phases.claims.evidence import Chart, Evidence
from explorer.phases.claims.resampling import cells_again
from explorer.phases.numbers import number, spoken
from explorer.phases.words import ACCURACY

BETTER = 0.5  # points of accuracy from which on a setting counts as better


def more_data(bench: Bench) -> tuple[Evidence, Chart]:
    """Measure the weaker of the trends of CKA and accuracy with training-set size."""
    size = bench.axis("train_size", "the training-set size")
    (cka, basis), (accuracy, _) = mean_trend(bench, size, "cka"), mean_trend(bench, size, ACCURACY)
    values = np.minimum(cka, accuracy)
    said = "Rank correlation with training-set size along lines, the smaller of those of CKA and accuracy"
    note = f"CKA {number(float(cka[0]))}, accuracy {number(float(accuracy[0]))}."
    return Evidence(values[0], values[1:], "", said, basis, least=RELEVANT_RHO, note=note), Chart(
        "slices", ("cka", size)
    )


def more_data_more_trace(bench: Bench) -> tuple[Evidence, Chart]:
    """Measure the trend of the Hessian trace with training-set size."""
    size = bench.axis("train_size", "the training-set size")
    values, basis = mean_trend(bench, size, "hessian_trace")
    said = "Rank correlation of training-set size and Hessian trace along lines"
    return Evidence(values[0], values[1:], "", said, basis, least=RELEVANT_RHO), Chart(
        "slices", ("hessian_trace", size)
    )


def label_noise_lowers(bench: Bench) -> tuple[Evidence, Chart]:
    """Measure the weaker of the falls of mode connectivity and CKA with label noise."""
    noise = bench.axis("label_noise", "the label noise")
    (mc, basis), (cka, _) = mean_trend(bench, noise, "mode_connectivity"), mean_trend(bench, noise, "cka")
    values = np.minimum(-mc, -cka)
    said = "Fall with label noise, as a rank correlation along lines: the weaker of mode connectivity and CKA"
    note = f"Mode connectivity {number(float(mc[0]))}, CKA {number(float(cka[0]))}."
    return Evidence(values[0], values[1:], "", said, basis, least=RELEVANT_RHO, note=note), Chart(
        "slices", ("cka", noise)
    )


def label_noise_spares_the_hessian(bench: Bench) -> tuple[Evidence, Chart]:
    """Measure how far the Hessian's change over the whole range of label noise stays below a factor of 2."""
    noise, local = bench.axis("label_noise", "the label noise"), bench.curvature
    _, (curvature,), _ = on_lines(bench, noise, [local], 2, logs=[local])
    log = np.log2(np.maximum(curvature, 1e-300))
    change = np.abs(log[..., -1] - log[..., 0])
    again = cells_again(change.shape[1], "spared")
    values = 1.0 - np.median(np.take_along_axis(change, again, axis=1), axis=1)
    said = f"1 minus the median change (doublings) of the {spoken(local)} from least to most label noise"
    factor = number(float(2.0 ** (1 - values[0])))
    note = f"The median change is a factor of {factor}; below 2 counts as barely changed."
    basis = f"{change.shape[1]} lines"
    return Evidence(values[0], values[1:], "doublings", said, basis, note=note), Chart(
        "slices", (local, noise)
    )


def pixel_noise_lowers_cka(bench: Bench) -> tuple[Evidence, Chart]:
    """Measure the fall of CKA with pixel noise, or the excess share of connected cells if that is less."""
    noise = bench.axis("pixel_noise", "the pixel noise")
    bench.has("mode_connectivity")
    fall, basis = mean_trend(bench, noise, "cka")
    mc = bench.draws.of("mode_connectivity")
    noisy = np.flatnonzero(np.isfinite(mc[0]) & (column(bench.cells, noise) > 0).to_numpy())
    if not len(noisy):
        raise CannotTell("No cell with pixel noise has a mode connectivity.")
    kept = (np.abs(mc[:, noisy]) <= bench.cuts["connected"].value).mean(axis=1)
    values = np.minimum(-fall, 2 * kept - 1)
    note = f"Mode connectivity stays near 0 in {kept[0]:.0%} of the cells with noise.".replace("%", " %")
    said = (
        "The smaller of two: the fall of CKA with pixel noise, as a rank correlation along lines, and the "
        "share of noisy cells that are connected minus the share that are not"
    )
    found = Evidence(values[0], values[1:], "", said, basis, least=RELEVANT_RHO, note=note)
    return found, Chart("slices", ("cka", noise))


def decay_at_the_boundary(bench: Bench) -> tuple[Evidence, Chart]:
    """Compare the gain from a decaying rate at the connectivity boundary with that elsewhere."""
    if "schedule" not in bench.names or not {"constant"} < set(bench.cells["schedule"].astype(str)):
        raise NotTestable("The run does not compare a learning-rate schedule with a constant learning rate.")
    bench.has(ACCURACY, "mode_connectivity")
    others = [n for n in bench.names if n != "schedule"]
    how = {"on": others} if others else {"how": "cross"}
    named = bench.cells["schedule"].astype(str)
    place = np.arange(len(bench.cells))
    left, right = (
        bench.cells.assign(place=place)[rows][[*others, "place"]]
        for rows in (named == "constant", named != "constant")
    )
    both = left.merge(right, **how, suffixes=("_constant", "_decay"))
    a, b = both["place_constant"].to_numpy(), both["place_decay"].to_numpy()
    mc = column(bench.cells, "mode_connectivity").to_numpy()[a]
    known = (
        np.isfinite(mc)
        & np.isfinite(bench.draws.of(ACCURACY)[0][a])
        & np.isfinite(bench.draws.of(ACCURACY)[0][b])
    )
    a, b, mc = a[known], b[known], mc[known]
    cut = bench.cuts["connected"].value
    edge = (np.abs(mc) > cut / 2) & (np.abs(mc) < cut * 2)
    if min(edge.sum(), (~edge).sum()) < FEWEST_MATCHED:
        raise CannotTell(
            f"{int(edge.sum())} cells lie at the connectivity boundary (within a factor of 2 of the cut) and "
            f"{int((~edge).sum())} elsewhere; {FEWEST_MATCHED} of each are needed."
        )
    gain = bench.draws.of(ACCURACY)[:, b] - bench.draws.of(ACCURACY)[:, a]
    means = [
        np.take_along_axis(gain[:, side], cells_again(int(side.sum()), "decay", str(k)), axis=1).mean(axis=1)
        for k, side in enumerate((edge, ~edge))
    ]
    values = means[0] - means[1]
    said = "Accuracy gain from learning-rate decay at the connectivity boundary, minus the gain elsewhere"
    found = Evidence(
        values[0], values[1:], "points", said, f"{int(edge.sum())} and {int((~edge).sum())} cells", least=0.2
    )
    return found, Chart("scatter", ("mode_connectivity", ACCURACY, "cka"))


def small_decay_small_trace(bench: Bench) -> tuple[Evidence, Chart]:
    """Measure by how many powers of ten the trace is smaller at the smallest weight decay than at the others.

    The effect is at most 0 if the smallest decay is more accurate than the others by BETTER points or more.
    """
    decay = bench.axis("weight_decay", "the weight decay")
    measures = ["hessian_trace", ACCURACY]
    _, (trace, accuracy), _ = on_lines(bench, decay, measures, 2, logs=measures[:1])
    log = np.log10(np.maximum(trace, 1e-300))
    again = cells_again(log.shape[1], "decay")

    def over_lines(values: np.ndarray) -> np.ndarray:  # (1 + draws, lines)
        return np.take_along_axis(values, again, axis=1).mean(axis=1)

    gain = over_lines(accuracy[..., 0] - accuracy[..., 1:].max(axis=2))
    smaller = over_lines(log[..., 1:].mean(axis=2) - log[..., 0])
    values = np.where(gain >= BETTER, np.minimum(smaller, 0.0), smaller)
    said = "log10 Hessian trace at the larger weight decays, minus that at the smallest"
    note = f"Accuracy at the smallest minus the best of the others: {number(float(gain[0]), 2)} points."
    if gain[0] >= BETTER:
        note += " The smallest has better accuracy, which contradicts the claim, so the trace does not count."
    found = Evidence(
        values[0], values[1:], "powers of ten", said, f"{log.shape[1]} lines", least=0.3, note=note
    )
    return found, Chart("slices", ("hessian_trace", decay))


def scaled_rate_flattens(bench: Bench) -> tuple[Evidence, Chart]:
    """Compare spreads of accuracy along batch size: fixed rate, and rate proportional to the batch size."""
    batch, rate = bench.axis("batch_size", "the batch size"), bench.axis("learning_rate", "the learning rate")
    bench.has(ACCURACY)
    if not bench.replicated(ACCURACY):
        raise CannotTell("The spread between replicates is unknown.")
    accuracy = bench.draws.of(ACCURACY)
    others = [n for n in bench.names if n not in (batch, rate)]
    size, fixed = column(bench.cells, batch), column(bench.cells, rate)
    meant_for = column(bench.models, "linear_scaling").dropna()
    if len(meant_for):  # the learning rate in the space applies at this batch size
        fixed = fixed * size / meant_for.iloc[0]
    fixed, ratio = (v.map(lambda x: float(f"{x:.4g}")) for v in (fixed, fixed / size))

    def spread(keys) -> np.ndarray:
        groups = (
            bench.cells.assign(ratio=ratio, fixed=fixed)
            .groupby([*keys, *others], dropna=False)
            .indices.values()
        )
        kept = [g[np.isfinite(accuracy[0, g])] for g in groups]
        kept = [g for g in kept if len(g) >= 3]
        if len(kept) < 2:
            raise CannotTell(
                "Fewer than two diagonals of three cells have the same ratio of learning rate and batch size."
            )
        return np.mean([accuracy[:, g].std(axis=1, ddof=1) for g in kept], axis=0)

    values = spread(["fixed"]) - spread(["ratio"])
    said = (
        "Spread of accuracy over batch sizes at a fixed learning rate, minus that at a fixed ratio of the two"
    )
    found = Evidence(values[0], values[1:], "points", said, "replicates resampled", least=0.1)
    return found, Chart("slices", (ACCURACY, batch))
