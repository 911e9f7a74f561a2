"""Claims that compare cells with each other: which measures rank accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from explorer.phases.aggregate import column
from explorer.phases.claims.checks import FEWEST_MATCHED, HOT_IS_SMALL, CannotTell, ClaimTables, claim
from explorer.phases.claims.estimates import doubted, resampled
from explorer.phases.claims.evidence import RELEVANT_RHO, Chart, Evidence
from explorer.phases.noise import MANY, t_above
from explorer.phases.numbers import format_number, words_of
from explorer.phases.resampling import (
    DRAWS,
    Again,
    cells_again,
    partial_rank_correlation,
    rank_correlation,
)
from explorer.phases.words import ACCURACY
from explorer.units import plural

CALIPER = 0.25  # standard deviations of the log Hessian within which two cells count as equally smooth


@claim("Test accuracy is best where models are connected and similar and the loss is smooth.")
def best_is_connected(run: ClaimTables) -> Evidence:
    """Rank the most accurate tenth of the cells by connectivity, CKA and smoothness; return the worst rank.

    Cells whose mode connectivity lies within the tolerance are equally connected. Their mean rank is scaled,
    so that it is 100 % if all of the most accurate cells are connected, however many cells are. If most cells
    are connected, the few best ones are likely to be by chance. So the unconnected cells must also be less
    accurate than the others (Mann-Whitney test).
    """
    local, tolerance = run.curvatures[0], run.cuts["connected"].value
    run.require("mode_connectivity")
    beyond = column(run.cells, "mode_connectivity").abs().dropna() > tolerance
    if beyond.all() or not beyond.any():
        raise CannotTell(
            f"{'No' if beyond.all() else 'Every'} cell is connected, so there is nothing to compare.",
            f"cells that are {'' if beyond.all() else 'not '}connected",
        )
    parts: list[np.ndarray] = []

    def mean_ranks(again: Again, accuracy, mc, cka, curvature):
        n = len(accuracy)
        best = np.argsort(-again.values(accuracy), axis=1, kind="stable")[:, : _tenth(n)]
        measures = (-np.maximum(np.abs(mc), tolerance), cka, -curvature)
        shares = [np.take_along_axis(again.ranks(x), best, 1).mean(1) / (n + 1) for x in measures]
        connected = again.values(np.abs(mc) <= tolerance).sum(axis=1)
        highest = 1 - (connected + 1) / (2 * (n + 1))  # of connected cells
        with np.errstate(divide="ignore", invalid="ignore"):
            shares[0] = 0.5 + 0.5 * (shares[0] - 0.5) / (highest - 0.5)
        parts.append(np.stack(shares))  # (measures, 1 + draws)
        return parts[-1].min(axis=0)

    estimate, n = run.over_cells([ACCURACY, "mode_connectivity", "cka", local], mean_ranks)
    connectivity, cka, smooth = parts[0][:, 0]
    note = (
        f"Their mean rank is {connectivity:.0%} in connectivity (scaled: 100% if all are connected), "
        f"{cka:.0%} in CKA and {smooth:.0%} in smoothness (low {words_of(local)}); chance would give 50%."
    ).replace("%", " %")
    quantity = f"Lowest mean rank of the {_tenth(n)} most accurate cells in the three measures, as a share"
    chart = Chart("scatter", ("cka", ACCURACY, "mode_connectivity"))
    estimate = doubted(estimate, _unconnected_are_worse(run))
    return Evidence(quantity, estimate, f"{n} cells", chart, null=0.5, least=0.6, note=note)


def _unconnected_are_worse(run: ClaimTables) -> float:
    """Return the one-sided p value of the Mann-Whitney test of accuracy, unconnected against other cells."""
    accuracy, mc = column(run.cells, ACCURACY), column(run.cells, "mode_connectivity").abs()
    known = (accuracy.notna() & mc.notna()).to_numpy()
    order = accuracy[known].rank()
    outside = (mc[known] > run.cuts["connected"].value).to_numpy()
    a, b = int((~outside).sum()), int(outside.sum())
    if min(a, b) == 0:
        return 1.0
    excess = float(order[~outside].sum()) - a * (a + b + 1) / 2
    return float(t_above((excess - 0.5) / np.sqrt(a * b * (a + b + 1) / 12), MANY))


def _tenth(n: int) -> int:
    """Return a tenth of ``n`` cells, rounded up, and at least three."""
    return max(3, -(-n // 10))


@claim("Smoothness alone is not enough: at equal Hessian, connected cells generalise better.")
def smoothness_is_not_enough(run: ClaimTables) -> Evidence:
    """Compare the accuracy of connected cells and cells behind a barrier, matched by their Hessian."""
    local = run.curvatures[0]
    run.require(ACCURACY, "mode_connectivity")
    accuracy = column(run.cells, ACCURACY).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        log = np.log(column(run.cells, local).to_numpy())
    mc = column(run.cells, "mode_connectivity").to_numpy()
    known = np.isfinite(log) & np.isfinite(accuracy) & np.isfinite(mc)
    connected = np.flatnonzero(known & (np.abs(mc) <= run.cuts["connected"].value))
    unconnected = np.flatnonzero(known & (mc < -run.cuts["connected"].value))  # above: not trained to the end
    if min(len(connected), len(unconnected)) < 3:
        raise CannotTell(
            f"{plural(len(connected), 'connected cell')} and "
            f"{plural(len(unconnected), 'unconnected cell')} are too few to match.",
            "at least 3 connected cells and 3 cells behind a barrier",
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
            f"{matched} of {plural(len(unconnected), 'unconnected cell')} can be matched with a connected "
            f"cell of the same smoothness. These have {plural(len(partners), 'different partner')} among the "
            f"{plural(len(connected), 'connected cell')}, and {FEWEST_MATCHED} are needed.",
            f"at least {plural(FEWEST_MATCHED - len(partners), 'more connected cell')} as smooth as "
            "unconnected ones",
        )
    # Cells that share a partner are resampled together: the partner's accuracy enters all their differences.
    sizes = np.bincount(group)
    sums = np.bincount(group, weights=accuracy[unconnected[close]])
    gaps = accuracy[partners] * sizes - sums  # (partners,)
    drawn = cells_again(len(partners), "partners", draws=DRAWS)
    values = np.concatenate([a.values(gaps).sum(axis=1) / a.values(sizes).sum(axis=1) for a in drawn])
    quantity = f"Accuracy of connected minus unconnected cells with the same {words_of(local)}"
    basis = f"{matched} unconnected cells, matched with {len(partners)} connected cells"
    chart = Chart("scatter", (local, ACCURACY, "mode_connectivity"))
    return Evidence(quantity, resampled(values), basis, chart, "points", least=0.5)


@claim("Among low-loss cells, connectivity ranks accuracy even when the Hessian is accounted for.")
def connectivity_adds(run: ClaimTables) -> Evidence:
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
        lambda again, mc, *others: partial_rank_correlation(*map(again.ranks, (-np.abs(mc), *others))),
        f"Partial rank correlation of {closeness} and accuracy given {' and '.join(map(words_of, hessian))}",
        Chart("scatter", (name, ACCURACY, hessian[0])),
        note=note,
    )


@claim("CKA ranks accuracy among low-loss cells.")
def cka_ranks_accuracy(run: ClaimTables) -> Evidence:
    """Compute the rank correlation of CKA and accuracy, low-loss cells."""
    chart = Chart("scatter", ("cka", ACCURACY, "train_loss"))
    quantity = "Rank correlation of CKA and accuracy"
    return _over_low_loss(
        run,
        ["cka", ACCURACY],
        lambda again, *both: rank_correlation(*map(again.ranks, both)),
        quantity,
        chart,
    )


@claim("CKA ranks accuracy better than parameter distance does.")
def cka_beats_distance(run: ClaimTables) -> Evidence:
    """Compute how much better CKA ranks accuracy than a small parameter distance does, low-loss cells."""

    def more(again: Again, cka, distance, accuracy):
        similar, close, accurate = map(again.ranks, (cka, -distance, accuracy))
        return rank_correlation(similar, accurate) - rank_correlation(close, accurate)

    return _over_low_loss(
        run,
        ["cka", "l2_distance", ACCURACY],
        more,
        "Rank correlation with accuracy, CKA minus (negative) parameter distance",
        Chart("scatter", ("l2_distance", ACCURACY, "cka")),
        least=0.1,
    )


def _over_low_loss(
    run: ClaimTables,
    names: Sequence[str],
    statistic: Callable[..., np.ndarray],
    quantity: str,
    chart: Chart,
    *,
    least: float = RELEVANT_RHO,
    note: str = "",
) -> Evidence:
    """Return a statistic of columns over the low-loss cells."""
    estimate, n = run.over_cells(names, statistic, among=run.low_loss, what="low-loss cells")
    return Evidence(quantity, estimate, f"{n} low-loss cells", chart, least=least, note=note)


@claim("Connectivity increases with width when training is cold.")
def width_connects(run: ClaimTables) -> Evidence:
    """Compute the rank correlation of width and −|mode connectivity| in the colder half of the grid."""
    width = run.axis("width", "width")
    among, cold = None, ""
    if run.numeric_temperatures:
        temperature = run.temperature
        heat = column(run.cells, temperature)
        middle = float(np.median(np.unique(heat.dropna())))
        among = (heat >= middle if temperature in HOT_IS_SMALL else heat <= middle).to_numpy()
        side = "from" if temperature in HOT_IS_SMALL else "up to"
        cold = f" at {words_of(temperature)} {side} {format_number(middle)}"
    estimate, n = run.over_cells(
        [width, "mode_connectivity"],
        lambda again, w, mc: rank_correlation(again.ranks(w), again.ranks(-np.abs(mc))),
        among=among,
        what="cold cells",
    )
    quantity = f"Rank correlation of width and −|mode connectivity|{cold}"
    chart = Chart("slices", ("mode_connectivity", width))
    return Evidence(quantity, estimate, f"{n} cells", chart, least=RELEVANT_RHO)
