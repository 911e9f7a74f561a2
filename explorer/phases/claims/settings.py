"""Claims about single settings: amount and quality of data, learning rate, schedule, weight decay."""

from __future__ import annotations

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column
from explorer.phases.claims.checks import FEWEST_MATCHED, CannotTell, NotTestable, RunTables, claim
from explorer.phases.claims.evidence import RELEVANT_RHO, Chart, Evidence
from explorer.phases.claims.resampling import redraw
from explorer.phases.numbers import number, words_of
from explorer.phases.words import ACCURACY

BETTER = 0.5  # points of accuracy from which on a setting counts as better


@claim("With more data, CKA and accuracy grow.")
def more_data(run: RunTables) -> Evidence:
    """Measure the weaker of the trends of CKA and accuracy with training-set size."""
    size = run.axis("train_size", "the training-set size")
    (cka, basis), (accuracy, _) = run.mean_trend(size, "cka"), run.mean_trend(size, ACCURACY)
    quantity = "Rank correlation with training-set size along lines, the smaller of those of CKA and accuracy"
    note = f"CKA {number(float(cka[0]))}, accuracy {number(float(accuracy[0]))}."
    chart = Chart("slices", ("cka", size))
    return Evidence(quantity, np.minimum(cka, accuracy), basis, chart, least=RELEVANT_RHO, note=note)


@claim("With more data, the Hessian trace grows.")
def more_data_more_trace(run: RunTables) -> Evidence:
    """Measure the trend of the Hessian trace with training-set size."""
    size = run.axis("train_size", "the training-set size")
    values, basis = run.mean_trend(size, "hessian_trace")
    quantity = "Rank correlation of training-set size and Hessian trace along lines"
    return Evidence(quantity, values, basis, Chart("slices", ("hessian_trace", size)), least=RELEVANT_RHO)


@claim("Label noise lowers mode connectivity and CKA.")
def label_noise_lowers_similarity(run: RunTables) -> Evidence:
    """Measure the weaker of the falls of mode connectivity and CKA with label noise."""
    noise = run.axis("label_noise", "the label noise")
    (mc, basis), (cka, _) = run.mean_trend(noise, "mode_connectivity"), run.mean_trend(noise, "cka")
    quantity = (
        "Fall with label noise, as a rank correlation along lines: the weaker of mode connectivity and CKA"
    )
    note = f"Mode connectivity {number(float(mc[0]))}, CKA {number(float(cka[0]))}."
    chart = Chart("slices", ("cka", noise))
    return Evidence(quantity, np.minimum(-mc, -cka), basis, chart, least=RELEVANT_RHO, note=note)


@claim("Label noise barely changes the Hessian.")
def label_noise_spares_hessian(run: RunTables) -> Evidence:
    """Measure how far the Hessian's change over the whole range of label noise stays below a factor of 2."""
    noise, local = run.axis("label_noise", "the label noise"), run.curvatures[0]
    _, (curvature,), _ = run.on_lines(noise, [local], 2, logs=[local])
    log = np.log2(np.maximum(curvature, 1e-300))
    change = np.abs(log[..., -1] - log[..., 0])
    values = 1.0 - np.median(redraw(change, "spared"), axis=1)
    factor = number(float(2.0 ** (1 - values[0])))
    quantity = (
        f"1 minus the median change (doublings) of the {words_of(local)} from least to most label noise"
    )
    note = f"The median change is a factor of {factor}; below 2 counts as barely changed."
    chart = Chart("slices", (local, noise))
    return Evidence(quantity, values, f"{change.shape[1]} lines", chart, "doublings", note=note)


@claim("Pixel noise leaves mode connectivity near 0 and lowers CKA.")
def pixel_noise_lowers_cka(run: RunTables) -> Evidence:
    """Measure the fall of CKA with pixel noise, or the excess share of connected cells if that is less."""
    noise = run.axis("pixel_noise", "the pixel noise")
    run.require("mode_connectivity")
    fall, basis = run.mean_trend(noise, "cka")
    mc = run.draws.of("mode_connectivity")
    noisy = np.flatnonzero(np.isfinite(mc[0]) & (column(run.cells, noise) > 0).to_numpy())
    if not len(noisy):
        raise CannotTell("No cell with pixel noise has a mode connectivity.")
    connected = (np.abs(mc[:, noisy]) <= run.cuts["connected"].value).mean(axis=1)
    values = np.minimum(-fall, 2 * connected - 1)
    quantity = (
        "The smaller of two: the fall of CKA with pixel noise, as a rank correlation along lines, and the "
        "share of noisy cells that are connected minus the share that are not"
    )
    note = f"Mode connectivity stays near 0 in {connected[0]:.0%} of the cells with noise.".replace("%", " %")
    return Evidence(quantity, values, basis, Chart("slices", ("cka", noise)), least=RELEVANT_RHO, note=note)


@claim("Learning-rate decay helps most at the boundary of connectivity.")
def decay_helps_at_the_boundary(run: RunTables) -> Evidence:
    """Compare the gain from a decaying rate at the connectivity boundary with that elsewhere."""
    run.asked.add("schedule")
    if "schedule" not in run.names or not {"constant"} < set(run.cells["schedule"].astype(str)):
        raise NotTestable("The run does not compare a learning-rate schedule with a constant learning rate.")
    run.require(ACCURACY, "mode_connectivity")
    others = [n for n in run.names if n != "schedule"]
    how = {"on": others} if others else {"how": "cross"}
    table = run.cells[others].assign(place=np.arange(len(run.cells)))
    constant = (run.cells["schedule"].astype(str) == "constant").to_numpy()
    both = table[constant].merge(table[~constant], **how, suffixes=("_constant", "_decay"))
    places = both[["place_constant", "place_decay"]].to_numpy().T
    accuracy, mc = run.draws.of(ACCURACY), column(run.cells, "mode_connectivity").to_numpy()
    known = np.isfinite(mc[places[0]]) & np.isfinite(accuracy[0, places]).all(axis=0)
    a, b = places[:, known]
    ratio = np.abs(mc[a]) / run.cuts["connected"].value
    edge = (ratio > 1 / 2) & (ratio < 2)
    if min(edge.sum(), (~edge).sum()) < FEWEST_MATCHED:
        raise CannotTell(
            f"{int(edge.sum())} cells lie at the connectivity boundary (within a factor of 2 of the cut) and "
            f"{int((~edge).sum())} elsewhere; {FEWEST_MATCHED} of each are needed."
        )
    gain = accuracy[:, b] - accuracy[:, a]
    at_edge, elsewhere = (
        redraw(gain[:, side], "decay", salt).mean(axis=1) for side, salt in ((edge, "0"), (~edge, "1"))
    )
    quantity = "Accuracy gain from learning-rate decay at the connectivity boundary, minus the gain elsewhere"
    basis = f"{int(edge.sum())} and {int((~edge).sum())} cells"
    chart = Chart("scatter", ("mode_connectivity", ACCURACY, "cka"))
    return Evidence(quantity, at_edge - elsewhere, basis, chart, "points", least=0.2)


@claim("A small weight decay gives a tiny Hessian trace, but no better accuracy.")
def small_decay_small_trace(run: RunTables) -> Evidence:
    """Measure by how many powers of ten the trace is smaller at the smallest weight decay than at the others.

    The effect is at most 0 if the smallest decay is more accurate than the others by BETTER points or more.
    """
    decay = run.axis("weight_decay", "the weight decay")
    measures = ["hessian_trace", ACCURACY]
    _, (trace, accuracy), _ = run.on_lines(decay, measures, 2, logs=measures[:1])
    log = np.log10(np.maximum(trace, 1e-300))
    gain = redraw(accuracy[..., 0] - accuracy[..., 1:].max(axis=2), "decay").mean(axis=1)
    smaller = redraw(log[..., 1:].mean(axis=2) - log[..., 0], "decay").mean(axis=1)
    note = f"Accuracy at the smallest minus the best of the others: {number(float(gain[0]), 2)} points."
    if gain[0] >= BETTER:
        note += " The smallest has better accuracy, which contradicts the claim, so the trace does not count."
    values = np.where(gain >= BETTER, np.minimum(smaller, 0.0), smaller)
    quantity = "log10 Hessian trace at the larger weight decays, minus that at the smallest"
    chart = Chart("slices", ("hessian_trace", decay))
    return Evidence(quantity, values, f"{log.shape[1]} lines", chart, "powers of ten", least=0.3, note=note)


@claim("Scaling the learning rate with the batch size flattens the temperature axis.")
def scaled_rate_flattens(run: RunTables) -> Evidence:
    """Compare spreads of accuracy along batch size: fixed rate, and rate proportional to the batch size."""
    batch, rate = run.axis("batch_size", "the batch size"), run.axis("learning_rate", "the learning rate")
    run.require(ACCURACY)
    if not run.replicated(ACCURACY):
        raise CannotTell("The spread between replicates is unknown.")
    accuracy = run.draws.of(ACCURACY)
    size, fixed = column(run.cells, batch), column(run.cells, rate)
    meant_for = column(run.models, "linear_scaling").dropna()
    if len(meant_for):  # the learning rate in the space applies at this batch size
        fixed = fixed * size / meant_for.iloc[0]

    others = [run.cells[n] for n in run.names if n not in (batch, rate)]

    def mean_spread(key: pd.Series) -> np.ndarray:
        """Return the mean spread of accuracy over lines of cells with the same key and other settings."""
        groups = run.cells.groupby([key.map(lambda x: float(f"{x:.4g}")), *others], dropna=False).indices
        lines = [accuracy[:, line[np.isfinite(accuracy[0, line])]] for line in groups.values()]
        spreads = [line.std(axis=1, ddof=1) for line in lines if line.shape[1] >= 3]
        if len(spreads) < 2:
            raise CannotTell(
                "Fewer than two diagonals of three cells have the same ratio of learning rate and batch size."
            )
        return np.mean(spreads, axis=0)

    values = mean_spread(fixed) - mean_spread(fixed / size)
    quantity = (
        "Spread of accuracy over batch sizes at a fixed learning rate, minus that at a fixed ratio of the two"
    )
    chart = Chart("slices", (ACCURACY, batch))
    return Evidence(quantity, values, "replicates resampled", chart, "points", least=0.1)
