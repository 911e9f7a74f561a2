"""Claims that compare cells with each other: which measures rank accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from explorer.phases.aggregate import column
from explorer.phases.claims.checks import FEWEST_MATCHED, HOT_IS_SMALL, CannotTell, RunTables, claim
from explorer.phases.claims.evidence import RELEVANT_RHO, Chart, Evidence
from explorer.phases.claims.resampling import cells_again, partial_spearman, ranks, spearman
from explorer.phases.numbers import number, words_of
from explorer.phases.words import ACCURACY

CALIPER = 0.25  # standard deviations of the log Hessian within which two cells count as equally smooth


@claim("Test accuracy is best where models are connected and similar and the loss is smooth.")
def best_is_connected(run: RunTables) -> Evidence:
    """Rank the most accurate tenth of the cells by connectivity, CKA and smoothness; return the worst rank.

    Cells whose mode connectivity lies within the tolerance are equally connected.
    """
    local, tolerance = run.curvatures[0], run.cuts["connected"].value
    run.require("mode_connectivity")
    beyond = column(run.cells, "mode_connectivity").abs().dropna() > tolerance
    if beyond.all() or not beyond.any():
        raise CannotTell(
            f"{'No' if beyond.all() else 'Every'} cell is connected, so there is nothing to compare."
        )

    def mean_ranks(accuracy, mc, cka, curvature):
        best = np.argsort(-accuracy, axis=1, kind="stable")[:, : _tenth(accuracy.shape[1])]
        measures = (-np.maximum(np.abs(mc), tolerance), cka, -curvature)
        shares = [np.take_along_axis(ranks(x), best, 1).mean(1) / (x.shape[1] + 1) for x in measures]
        return np.stack(shares)  # (measures, 1 + draws)

    shares, n = run.over_cells([ACCURACY, "mode_connectivity", "cka", local], mean_ranks)
    note = (
        f"Their mean rank is {shares[0, 0]:.0%} in connectivity, {shares[1, 0]:.0%} in CKA and "
        f"{shares[2, 0]:.0%} in smoothness (low {words_of(local)}); chance would give 50%."
    ).replace("%", " %")
    quantity = f"Lowest mean rank of the {_tenth(n)} most accurate cells in the three measures, as a share"
    chart = Chart("scatter", ("cka", ACCURACY, "mode_connectivity"))
    return Evidence(quantity, shares.min(axis=0), f"{n} cells", chart, null=0.5, least=0.6, note=note)


def _tenth(n: int) -> int:
    """Return a tenth of ``n`` cells, rounded up, and at least three."""
    return max(3, -(-n // 10))


@claim("Smoothness alone is not enough: at equal Hessian, connected cells generalise better.")
def smoothness_is_not_enough(run: RunTables) -> Evidence:
    """Compare the accuracy of connected and unconnected cells, matched by their Hessian."""
    local = run.curvatures[0]
    run.require(ACCURACY, "mode_connectivity")
    accuracy = run.draws.of(ACCURACY)
    with np.errstate(invalid="ignore", divide="ignore"):
        log = np.log(run.draws.of(local)[0])
    mc = column(run.cells, "mode_connectivity").abs().to_numpy()
    known = np.isfinite(log) & np.isfinite(accuracy[0]) & np.isfinite(mc)
    connected = np.flatnonzero(known & (mc <= run.cuts["connected"].value))
    unconnected = np.flatnonzero(known & (mc > run.cuts["connected"].value))
    if min(len(connected), len(unconnected)) < 3:
        raise CannotTell(
            f"{len(connected)} connected and {len(unconnected)} unconnected cells are too few to match."
        )
    ordered = connected[np.argsort(log[connected], kind="stable")]
    after = np.clip(np.searchsorted(log[ordered], log[unconnected]), 1, len(ordered) - 1)
    below, above = log[unconnected] - log[ordered[after - 1]], log[ordered[after]] - log[unconnected]
    partner = ordered[np.where(below < above, after - 1, after)]
    close = np.abs(log[partner] - log[unconnected]) <= CALIPER * float(np.std(log[known]))
    matched = int(close.sum())
    partners, group = np.unique(partner[close], return_inverse=True)
    if len(partners) < FEWEST_MATCHED:
        raise CannotTell(
            f"{matched} of {len(unconnected)} unconnected cells can be matched with a connected "
            f"cell of the same smoothness. These are {len(partners)} different connected cells, and "
            f"{FEWEST_MATCHED} are needed: in this run, the Hessian and connectivity vary together."
        )
    # Cells that share a partner are resampled together: the partner's accuracy enters all their differences.
    sums = np.stack(
        [accuracy[:, unconnected[close][group == g]].sum(axis=1) for g in range(len(partners))], axis=1
    )
    sizes = np.bincount(group)
    gaps = accuracy[:, partners] * sizes - sums  # (1 + draws, partners)
    again = cells_again(len(partners), "partners")
    values = np.take_along_axis(gaps, again, axis=1).sum(axis=1) / sizes[again].sum(axis=1)
    quantity = f"Accuracy of connected minus unconnected cells with the same {words_of(local)}"
    basis = f"{matched} unconnected cells, matched with {len(partners)} connected cells"
    chart = Chart("scatter", (local, ACCURACY, "mode_connectivity"))
    return Evidence(quantity, values, basis, chart, "points", least=0.5)


@claim("Among low-loss cells, connectivity ranks accuracy even when the Hessian is accounted for.")
def connectivity_adds(run: RunTables) -> Evidence:
    """Compute the partial rank correlation of connectivity and accuracy given the Hessian, low-loss cells."""
    run.require("mode_connectivity")
    name, closeness, note = "mode_connectivity", "−|mode connectivity|", ""
    mc = column(run.cells, name)[run.low_loss].abs().dropna()
    if len(mc) and float((mc < 0.05).mean()) > 0.5 and run.measured("loss_barrier"):
        name, closeness = "loss_barrier", "the (negative) curve loss barrier"
        note = (
            "In most low-loss cells the training error is 0 and mode connectivity is near 0, so the loss "
            "barrier is used instead."
        )
    hessian = run.curvatures
    return _over_low_loss(
        run,
        [name, ACCURACY, *hessian],
        lambda mc, accuracy, *hessian: partial_spearman(-np.abs(mc), accuracy, *hessian),
        f"Partial rank correlation of {closeness} and accuracy given {' and '.join(map(words_of, hessian))}",
        Chart("scatter", (name, ACCURACY, hessian[0])),
        note=note,
    )


@claim("CKA ranks accuracy among low-loss cells.")
def cka_ranks_accuracy(run: RunTables) -> Evidence:
    """Compute the rank correlation of CKA and accuracy, low-loss cells."""
    chart = Chart("scatter", ("cka", ACCURACY, "train_loss"))
    return _over_low_loss(run, ["cka", ACCURACY], spearman, "Rank correlation of CKA and accuracy", chart)


@claim("CKA ranks accuracy better than parameter distance does.")
def cka_beats_distance(run: RunTables) -> Evidence:
    """Compute how much better CKA ranks accuracy than a small parameter distance does, low-loss cells."""
    return _over_low_loss(
        run,
        ["cka", "l2_distance", ACCURACY],
        lambda cka, l2, accuracy: spearman(cka, accuracy) - spearman(-l2, accuracy),
        "Rank correlation with accuracy, CKA minus (negative) parameter distance",
        Chart("scatter", ("l2_distance", ACCURACY, "cka")),
        least=0.1,
    )


def _over_low_loss(
    run: RunTables,
    names: Sequence[str],
    statistic: Callable[..., np.ndarray],
    quantity: str,
    chart: Chart,
    *,
    least: float = RELEVANT_RHO,
    note: str = "",
) -> Evidence:
    """Return a statistic of columns over the low-loss cells."""
    values, n = run.over_cells(names, statistic, among=run.low_loss, what="low-loss cells")
    return Evidence(quantity, values, f"{n} low-loss cells", chart, least=least, note=note)


@claim("Connectivity increases with width when training is cold.")
def width_connects(run: RunTables) -> Evidence:
    """Compute the rank correlation of width and mode connectivity in the colder half of the grid."""
    width = run.axis("width", "width")
    among, cold = None, ""
    if run.numeric_temperatures:
        temperature = run.temperature
        heat = column(run.cells, temperature)
        middle = float(np.median(np.unique(heat.dropna())))
        among = (heat >= middle if temperature in HOT_IS_SMALL else heat <= middle).to_numpy()
        side = "from" if temperature in HOT_IS_SMALL else "up to"
        cold = f" at {words_of(temperature)} {side} {number(middle)}"
    values, n = run.over_cells([width, "mode_connectivity"], spearman, among=among, what="cold cells")
    quantity = f"Rank correlation of width and mode connectivity{cold}"
    chart = Chart("slices", ("mode_connectivity", width))
    return Evidence(quantity, values, f"{n} cells", chart, least=RELEVANT_RHO)
