"""Claims that compare cells with each other: which measures rank accuracy."""

from __future__ import annotations

import numpy as np

from explorer.phases.aggregate import column
from explorer.phases.claims.bench import FEWEST_MATCHED, HOT_IS_SMALL, Bench, CannotTell, NotTestable
from explorer.phases.claims.evidence import Chart, Evidence
from explorer.phases.claims.resampling import cells_again, partial_spearman, ranks, spearman
from explorer.phases.numbers import number, spoken
from explorer.phases.words import ACCURACY

CALIPER = 0.25  # standard deviations of the log Hessian within which two cells count as equally smooth
RELEVANT_RHO = 0.2


def best_is_connected(bench: Bench) -> tuple[Evidence, Chart]:
    """Rank the most accurate tenth of the cells by connectivity, CKA and smoothness; return the worst rank.

    Cells whose mode connectivity lies within the tolerance are equally connected.
    """
    local, tolerance = bench.curvature, bench.cuts["connected"].value
    bench.has("mode_connectivity")
    beyond = column(bench.cells, "mode_connectivity").abs().dropna() > tolerance
    if beyond.all() or not beyond.any():
        raise CannotTell(
            f"{'No' if beyond.all() else 'Every'} cell is connected, so there is nothing to compare."
        )
    chart = Chart("scatter", ("cka", ACCURACY, "mode_connectivity"))
    n_best = 0

    def lowest(accuracy, mc, cka, curvature):
        nonlocal n_best
        n = accuracy.shape[1]
        n_best = max(3, -(-n // 10))
        best = np.argsort(-accuracy, axis=1, kind="stable")[:, :n_best]
        shares = [
            np.take_along_axis(ranks(x), best, 1).mean(1) / (n + 1)
            for x in (-np.maximum(np.abs(mc), tolerance), cka, -curvature)
        ]
        first.extend(float(s[0]) for s in shares)
        return np.min(shares, axis=0)

    first: list[float] = []
    values, n = bench.over_cells([ACCURACY, "mode_connectivity", "cka", local], lowest)
    note = (
        f"Their mean rank is {first[0]:.0%} in connectivity, {first[1]:.0%} in CKA and {first[2]:.0%} in "
        f"smoothness (low {spoken(local)}); chance would give 50%."
    ).replace("%", " %")
    said = f"Lowest mean rank of the {n_best} most accurate cells in the three measures, as a share"
    return Evidence(values[0], values[1:], "", said, f"{n} cells", null=0.5, least=0.6, note=note), chart


def smoothness_is_not_enough(bench: Bench) -> tuple[Evidence, Chart]:
    """Compare the accuracy of connected and unconnected cells, matched by their Hessian."""
    local = bench.curvature
    bench.has(ACCURACY, "mode_connectivity")
    accuracy, curvature = bench.draws.of(ACCURACY), bench.draws.of(local)
    with np.errstate(invalid="ignore", divide="ignore"):
        log = np.log(curvature)
    mc = column(bench.cells, "mode_connectivity").abs().to_numpy()
    known = np.isfinite(log[0]) & np.isfinite(accuracy[0]) & np.isfinite(mc)
    connected = np.flatnonzero(known & (mc <= bench.cuts["connected"].value))
    unconnected = np.flatnonzero(known & (mc > bench.cuts["connected"].value))
    if min(len(connected), len(unconnected)) < 3:
        raise CannotTell(
            f"{len(connected)} connected and {len(unconnected)} unconnected cells are too few to match."
        )
    caliper = CALIPER * float(np.std(log[0, known]))
    ordered = connected[np.argsort(log[0, connected], kind="stable")]
    after = np.clip(np.searchsorted(log[0, ordered], log[0, unconnected]), 1, len(ordered) - 1)
    below = log[0, unconnected] - log[0, ordered[after - 1]]
    above = log[0, ordered[after]] - log[0, unconnected]
    partner = ordered[np.where(below < above, after - 1, after)]
    close = np.abs(log[0, partner] - log[0, unconnected]) <= caliper
    partners, group = np.unique(partner[close], return_inverse=True)
    if len(partners) < FEWEST_MATCHED:
        raise CannotTell(
            f"{int(close.sum())} of {len(unconnected)} unconnected cells can be matched with a connected "
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
    matched = int(close.sum())
    said = f"Accuracy of connected minus unconnected cells with the same {spoken(local)}"
    basis = f"{matched} unconnected cells, matched with {len(partners)} connected cells"
    return Evidence(values[0], values[1:], "points", said, basis, least=0.5), Chart(
        "scatter", (local, ACCURACY, "mode_connectivity")
    )


def connectivity_adds(bench: Bench) -> tuple[Evidence, Chart]:
    """Compute the partial rank correlation of connectivity and accuracy given the Hessian, low-loss cells."""
    name = _connectivity(bench)
    given = [n for n in ("hessian_trace", "hessian_top_eigenvalue") if column(bench.cells, n).notna().any()]
    if not given:
        raise NotTestable("No Hessian was measured.")
    values, n = bench.over_cells(
        [name, ACCURACY, *given],
        lambda mc, accuracy, *hessian: partial_spearman(-np.abs(mc), accuracy, *hessian),
        among=bench.low_loss(),
        what="low-loss cells",
    )
    closeness = "−|mode connectivity|" if name == "mode_connectivity" else "the (negative) curve loss barrier"
    said = (
        f"Partial rank correlation of {closeness} and accuracy given {' and '.join(spoken(g) for g in given)}"
    )
    note = "" if name == "mode_connectivity" else (
        "In most low-loss cells the training error is 0 and mode connectivity is near 0, so the loss barrier "
        "is used instead."
    )  # fmt: skip
    found = Evidence(values[0], values[1:], "", said, f"{n} low-loss cells", least=RELEVANT_RHO, note=note)
    return found, Chart("scatter", (name, ACCURACY, given[0]))


def _connectivity(bench: Bench) -> str:
    """Return ``mode_connectivity``, or ``loss_barrier`` if mode connectivity is 0 in most low-loss cells."""
    bench.has("mode_connectivity")
    mc = column(bench.cells, "mode_connectivity")[bench.low_loss()].abs().dropna()
    flat = len(mc) > 0 and float((mc < 0.05).mean()) > 0.5
    return (
        "loss_barrier" if flat and column(bench.cells, "loss_barrier").notna().any() else "mode_connectivity"
    )


def cka_ranks(bench: Bench) -> tuple[Evidence, Chart]:
    """Compute the rank correlation of CKA and accuracy, low-loss cells."""
    values, n = bench.over_cells(["cka", ACCURACY], spearman, among=bench.low_loss(), what="low-loss cells")
    said = "Rank correlation of CKA and accuracy"
    found = Evidence(values[0], values[1:], "", said, f"{n} low-loss cells", least=RELEVANT_RHO)
    return found, Chart("scatter", ("cka", ACCURACY, "train_loss"))


def cka_ranks_better_than_distance(bench: Bench) -> tuple[Evidence, Chart]:
    """Compute how much better CKA ranks accuracy than a small parameter distance does, low-loss cells."""
    values, n = bench.over_cells(
        ["cka", "l2_distance", ACCURACY],
        lambda cka, l2, accuracy: spearman(cka, accuracy) - spearman(-l2, accuracy),
        among=bench.low_loss(),
        what="low-loss cells",
    )
    said = "Rank correlation with accuracy, CKA minus (negative) parameter distance"
    found = Evidence(values[0], values[1:], "", said, f"{n} low-loss cells", least=0.1)
    return found, Chart("scatter", ("l2_distance", ACCURACY, "cka"))


def width_connects(bench: Bench) -> tuple[Evidence, Chart]:
    """Compute the rank correlation of width and mode connectivity in the colder half of the grid."""
    width = bench.axis("width", "width")
    among, cold = None, ""
    if any(n in bench.cells and bench.numeric(n) for n in bench.axes.get("temperature", ())):
        temperature = bench.temperature
        heat = column(bench.cells, temperature)
        middle = float(np.median(np.unique(heat.dropna())))
        among = (heat >= middle if temperature in HOT_IS_SMALL else heat <= middle).to_numpy()
        side = "from" if temperature in HOT_IS_SMALL else "up to"
        cold = f" at {spoken(temperature)} {side} {number(middle)}"
    values, n = bench.over_cells([width, "mode_connectivity"], spearman, among=among, what="cold cells")
    said = f"Rank correlation of width and mode connectivity{cold}"
    found = Evidence(values[0], values[1:], "", said, f"{n} cells", least=RELEVANT_RHO)
    return found, Chart("slices", ("mode_connectivity", width))
