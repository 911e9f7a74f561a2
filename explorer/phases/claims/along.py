"""Claims about what happens along one axis of the grid, other settings held fixed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explorer.phases.aggregate import column
from explorer.phases.claims.bench import Bench, CannotTell, NotTestable
from explorer.phases.claims.evidence import Chart, Evidence
from explorer.phases.claims.resampling import DRAWS, cells_again, lines, spearman
from explorer.phases.numbers import counted, number, spoken
from explorer.phases.words import ACCURACY
from explorer.settings import stream

RELEVANT_RHO = 0.2
HALVES = "picked and read off in separate halves of the noise"
TRANSITION = 2.0  # a Hessian that changes less than so many times between neighbours has no transition


def on_lines(
    bench: Bench, along: str, names: Sequence[str], fewest: int
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Whole lines along an axis: axis values, each measure as (1 + draws, lines, values), cells' places.

    Lines that lack a measure somewhere are left out. CannotTell where none is left.
    """
    bench.has(*names)
    grid, steps = lines(bench.cells, along, bench.names)
    known = np.all([column(bench.cells, n).notna() for n in names], axis=0)
    whole = grid[((grid >= 0) & known[grid]).all(axis=1)] if len(grid) else grid
    if len(steps) < fewest or not len(whole):
        raise CannotTell(f"No line of at least {fewest} complete cells along {spoken(along)}.")
    return steps, [bench.draws.of(n)[:, whole] for n in names], whole


def mean_trend(bench: Bench, along: str, name: str) -> tuple[np.ndarray, str]:
    """Rank correlation of a measure with an axis, mean over lines, (1 + draws,); and its basis."""
    steps, (measured,), _ = on_lines(bench, along, [name], 3)
    rho = spearman(np.broadcast_to(steps, measured.shape), measured)  # (1 + draws, lines)
    again = cells_again(rho.shape[1], along, name)
    basis = f"{counted(rho.shape[1], 'line')} of {len(steps)} cells"
    return np.take_along_axis(rho, again, axis=1).mean(axis=1), basis


def loss_falls_at_the_transition(bench: Bench) -> tuple[Evidence, Chart]:
    """Powers of ten of training loss across the Hessian's steepest step along temperature."""
    temperature, local = bench.temperature, bench.curvature
    _, (curvature, loss), _ = on_lines(bench, temperature, [local, "train_loss"], 3)
    log = np.log10(np.maximum(curvature, 1e-300))
    drop, fall = -np.diff(log, axis=2), -np.diff(np.log10(np.maximum(loss, 1e-300)), axis=2)
    steep = np.abs(drop[0]).max(axis=1) >= np.log10(TRANSITION)
    if steep.sum() < 2:
        raise CannotTell(
            f"The {spoken(local)} has no transition along {spoken(temperature)}: on {int(steep.sum())} of "
            f"{len(steep)} lines does it change more than {number(TRANSITION)} times between neighbours."
        )
    drop, fall = drop[:, steep], fall[:, steep]
    at = np.abs(drop).argmax(axis=2)[..., None]
    down = np.sign(np.take_along_axis(drop, at, 2)) * np.take_along_axis(fall, at, 2)
    again = cells_again(int(steep.sum()), "transition")
    values = np.median(np.take_along_axis(down[..., 0], again, axis=1), axis=1)
    said = f"Median drop of training loss at the steepest step of {spoken(local)} along {spoken(temperature)}"
    basis = f"{int(steep.sum())} lines with a transition"
    note = f"That is {number(10.0 ** float(values[0]))} times."
    return Evidence(values[0], values[1:], "powers of ten", said, basis, least=1.0, note=note), Chart(
        "slices", ("train_loss", temperature)
    )


def _halved(bench: Bench, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two versions of the means with independent errors, by Gaussian data fission: m + e and m − e.

    A place that is picked in one version and read off in the other is not flattered by having been picked
    (Leiner et al., "Data fission", 2023). ``measured`` is (1 + draws, lines, values); e spreads as it does.
    """
    spread = measured[1:].std(axis=0)
    if not (spread > 0).any():
        raise CannotTell("The spread between replicates is unknown, so noise cannot be told from a dip.")
    noise = spread * np.random.default_rng(stream("halves")).normal(size=(DRAWS, *spread.shape))
    return measured[0] + noise, measured[0] - noise


def _fission(values: np.ndarray, **words) -> Evidence:
    """Evidence from values that were read off in a half: those spread √2 times too wide."""
    effect = float(values.mean())
    return Evidence(effect, effect + (values - effect) / np.sqrt(2), "points", **words)


def double_descent(bench: Bench, along: str) -> tuple[Evidence, Chart]:
    """Depth of the deepest dip of accuracy along an axis that recovers on both sides."""
    if not _noisy(bench):
        raise NotTestable("The claim is about training with label noise, and there is none.")
    steps, (accuracy,), whole = on_lines(bench, along, [ACCURACY], 4)
    pick, read = _halved(bench, accuracy)
    before = np.maximum.accumulate(pick, axis=2)[..., :-2]
    after = np.maximum.accumulate(pick[..., ::-1], axis=2)[..., ::-1][..., 2:]
    depth = (np.minimum(before, after) - pick[..., 1:-1]).reshape(DRAWS, -1)
    line, middle = np.divmod(depth.argmax(axis=1), len(steps) - 2)
    row, middle = np.arange(DRAWS), middle + 1
    place = np.arange(len(steps))
    left = np.where(place < middle[:, None], pick[row, line], -np.inf).argmax(axis=1)
    right = np.where(place > middle[:, None], pick[row, line], -np.inf).argmax(axis=1)
    shoulders = np.minimum(read[row, line, left], read[row, line, right])
    values = shoulders - read[row, line, middle]
    at = np.bincount(middle, minlength=len(steps)).argmax()
    others = [n for n in bench.names if n != along]
    cell = bench.cells.iloc[whole[np.bincount(line, minlength=len(whole)).argmax(), at]]
    where = ", ".join(
        [f"{spoken(along)} {number(float(steps[at]))}", *(f"{spoken(n)} {cell[n]}" for n in others)]
    )
    said = f"Depth of the deepest dip of accuracy along {spoken(along)}, against the lower of its shoulders"
    note = f"The dip is most often at {where}."
    basis = f"{counted(len(whole), 'line')} of {len(steps)} cells; {HALVES}"
    return _fission(values, said=said, basis=basis, least=1.0, note=note), Chart("slices", (ACCURACY, along))


def _noisy(bench: Bench) -> bool:
    """Whether any model was trained with label noise, or the tables do not say."""
    for table in (bench.cells, bench.models):
        if "label_noise" in table:
            return bool((column(table, "label_noise") > 0).any())
    return True


def zero_loss_is_not_best(bench: Bench) -> tuple[Evidence, Chart]:
    """On lines that end behind a barrier: accuracy of the best temperature less that of the lowest loss."""
    temperature = bench.temperature
    _, (accuracy, loss, mc), _ = on_lines(
        bench, temperature, [ACCURACY, "train_loss", "mode_connectivity"], 2
    )
    lowest = loss[0].argmin(axis=1)
    apart = mc[0][np.arange(len(lowest)), lowest] < -bench.cuts["connected"].value
    if not apart.any():
        raise CannotTell("No cell of lowest training loss on its line lies behind a barrier.")
    pick, read = _halved(bench, accuracy[:, apart])
    best = pick.argmax(axis=2)[..., None]
    gain = np.take_along_axis(read, best, 2)[..., 0] - read[:, np.arange(int(apart.sum())), lowest[apart]]
    said = f"Accuracy at the best {spoken(temperature)} less that at the lowest training loss"
    basis = f"{counted(int(apart.sum()), 'line')} behind a barrier; {HALVES}"
    found = _fission(gain.mean(axis=1), said=said, basis=basis, least=0.5)
    return found, Chart("slices", (ACCURACY, temperature))


def early_stopping_helps(bench: Bench) -> tuple[Evidence, Chart]:
    """Accuracy gained by stopping where the *other* replicates were best, in cells behind a barrier."""
    if not {"model_id", "step", ACCURACY} <= set(bench.epochs) or bench.epochs[ACCURACY].notna().sum() == 0:
        raise NotTestable("No test accuracy during training was recorded.")
    bench.has("mode_connectivity")
    apart = column(bench.cells, "mode_connectivity") < -bench.cuts["connected"].value
    inside = set(bench.cells.loc[apart.to_numpy(), "cell_id"])
    ok = bench.models[bench.models["status"].eq("ok")] if "status" in bench.models else bench.models
    if "cell_id" not in ok:
        raise NotTestable("The models do not say which cell they belong to.")
    known = ok.loc[ok["cell_id"].isin(inside), ["model_id", "cell_id"]]
    history = bench.epochs.merge(known, on="model_id")
    gains = []
    for _, rows in history.groupby("cell_id"):
        table = rows.pivot_table(index="model_id", columns="step", values=ACCURACY).dropna(axis=1).to_numpy()
        if min(table.shape) >= 2:
            others = (table.sum(axis=0) - table) / (len(table) - 1)  # (models, steps)
            stop = others.argmax(axis=1)
            gains.append(table[np.arange(len(table)), stop] - table[:, -1])
    if len(gains) < 2:
        raise CannotTell(f"{len(gains)} cells behind a barrier have histories of two or more models.")
    random, again = np.random.default_rng(stream("stopping")), cells_again(len(gains), "stopping")
    within = np.array([[g.mean(), *random.choice(g, (DRAWS, len(g))).mean(axis=1)] for g in gains]).T
    values = np.take_along_axis(within, again, axis=1).mean(axis=1)
    said = "Accuracy when stopped at the step that was best for the other replicates, less the final accuracy"
    found = Evidence(values[0], values[1:], "points", said, f"{len(gains)} cells behind a barrier", least=0.5)
    return found, Chart("scatter", ("train_loss", ACCURACY, "mode_connectivity"))


def more_data(bench: Bench) -> tuple[Evidence, Chart]:
    """The weaker of the trends of CKA and accuracy with training-set size."""
    size = bench.axis("train_size", "the training-set size")
    (cka, basis), (accuracy, _) = mean_trend(bench, size, "cka"), mean_trend(bench, size, ACCURACY)
    values = np.minimum(cka, accuracy)
    said = "Rank correlation with training-set size along lines, the smaller of CKA's and accuracy's"
    note = f"CKA {number(float(cka[0]))}, accuracy {number(float(accuracy[0]))}."
    return Evidence(values[0], values[1:], "", said, basis, least=RELEVANT_RHO, note=note), Chart(
        "slices", ("cka", size)
    )


def more_data_more_trace(bench: Bench) -> tuple[Evidence, Chart]:
    """Trend of the Hessian trace with training-set size."""
    size = bench.axis("train_size", "the training-set size")
    values, basis = mean_trend(bench, size, "hessian_trace")
    said = "Rank correlation of training-set size and Hessian trace along lines"
    return Evidence(values[0], values[1:], "", said, basis, least=RELEVANT_RHO), Chart(
        "slices", ("hessian_trace", size)
    )


def label_noise_lowers(bench: Bench) -> tuple[Evidence, Chart]:
    """The weaker of the falls of mode connectivity and CKA with label noise."""
    noise = bench.axis("label_noise", "the label noise")
    (mc, basis), (cka, _) = mean_trend(bench, noise, "mode_connectivity"), mean_trend(bench, noise, "cka")
    values = np.minimum(-mc, -cka)
    said = (
        "Fall with label noise as a rank correlation along lines, the weaker of mode connectivity's and CKA's"
    )
    note = f"Mode connectivity {number(float(mc[0]))}, CKA {number(float(cka[0]))}."
    return Evidence(values[0], values[1:], "", said, basis, least=RELEVANT_RHO, note=note), Chart(
        "slices", ("cka", noise)
    )


def label_noise_spares_the_hessian(bench: Bench) -> tuple[Evidence, Chart]:
    """How far below twofold the Hessian's change over the whole range of label noise stays."""
    noise, local = bench.axis("label_noise", "the label noise"), bench.curvature
    _, (curvature,), _ = on_lines(bench, noise, [local], 2)
    log = np.log2(np.maximum(curvature, 1e-300))
    change = np.abs(log[..., -1] - log[..., 0])
    again = cells_again(change.shape[1], "spared")
    values = 1.0 - np.median(np.take_along_axis(change, again, axis=1), axis=1)
    said = f"One less the median change (doublings) of the {spoken(local)} from least to most label noise"
    note = f"Median change {number(float(2.0 ** (1 - values[0])))} times; below two counts as barely moved."
    basis = f"{change.shape[1]} lines"
    return Evidence(values[0], values[1:], "doublings", said, basis, note=note), Chart(
        "slices", (local, noise)
    )


def pixel_noise_lowers_cka(bench: Bench) -> tuple[Evidence, Chart]:
    """Fall of CKA with pixel noise; the note says whether mode connectivity stayed near 0."""
    noise = bench.axis("pixel_noise", "the pixel noise")
    values, basis = mean_trend(bench, noise, "cka")
    mc = column(bench.cells, "mode_connectivity").abs()
    kept = float((mc.dropna() <= bench.cuts["connected"].value).mean()) if mc.notna().any() else np.nan
    note = (
        ""
        if np.isnan(kept)
        else f"Mode connectivity stays near 0 in {kept:.0%} of the cells.".replace("%", " %")
    )
    said = "Fall of CKA with pixel noise as a rank correlation along lines"
    found = Evidence(-values[0], -values[1:], "", said, basis, least=RELEVANT_RHO, note=note)
    return found, Chart("slices", ("cka", noise))


def decay_at_the_boundary(bench: Bench) -> tuple[Evidence, Chart]:
    """Accuracy gained by a decaying rate, in cells at the connectivity boundary less elsewhere."""
    if "schedule" not in bench.names or not {"constant"} < set(bench.cells["schedule"].astype(str)):
        raise NotTestable("The run does not vary the schedule of the learning rate against a constant one.")
    bench.has(ACCURACY, "mode_connectivity")
    others = [n for n in bench.names if n != "schedule"]
    named = bench.cells["schedule"].astype(str)
    place = np.arange(len(bench.cells))
    left, right = (
        bench.cells.assign(place=place)[rows][[*others, "place"]]
        for rows in (named == "constant", named != "constant")
    )
    both = left.merge(right, on=others, suffixes=("_constant", "_decay"))
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
    if min(edge.sum(), (~edge).sum()) < 3:
        raise CannotTell(
            f"{int(edge.sum())} cells lie at the connectivity boundary (within a factor of 2 of the cut)."
        )
    gain = bench.draws.of(ACCURACY)[:, b] - bench.draws.of(ACCURACY)[:, a]
    means = [
        np.take_along_axis(gain[:, side], cells_again(int(side.sum()), "decay", str(k)), axis=1).mean(axis=1)
        for k, side in enumerate((edge, ~edge))
    ]
    values = means[0] - means[1]
    said = "Accuracy gained by a decaying learning rate at the connectivity boundary, less the gain elsewhere"
    found = Evidence(
        values[0], values[1:], "points", said, f"{int(edge.sum())} and {int((~edge).sum())} cells", least=0.2
    )
    return found, Chart("scatter", ("mode_connectivity", ACCURACY, "cka"))


def small_decay_small_trace(bench: Bench) -> tuple[Evidence, Chart]:
    """How many powers of ten smaller the trace is at the smallest weight decay than at the others."""
    decay = bench.axis("weight_decay", "the weight decay")
    _, (trace, accuracy), _ = on_lines(bench, decay, ["hessian_trace", ACCURACY], 2)
    log = np.log10(np.maximum(trace, 1e-300))
    again = cells_again(log.shape[1], "decay")
    ratio = log[..., 1:].mean(axis=2) - log[..., 0]
    gain = float((accuracy[0, :, 0] - accuracy[0, :, 1:].max(axis=1)).mean())
    values = np.take_along_axis(ratio, again, axis=1).mean(axis=1)
    said = "Hessian trace at the larger weight decays less that at the smallest, in logarithms"
    note = f"Accuracy at the smallest less the best of the others: {number(gain, 2)} points."
    found = Evidence(
        values[0], values[1:], "powers of ten", said, f"{log.shape[1]} lines", least=0.3, note=note
    )
    return found, Chart("slices", ("hessian_trace", decay))


def scaled_rate_flattens(bench: Bench) -> tuple[Evidence, Chart]:
    """Spread of accuracy along batch size at a fixed rate, less that where the rate grows with the batch."""
    batch, rate = bench.axis("batch_size", "the batch size"), bench.axis("learning_rate", "the learning rate")
    bench.has(ACCURACY)
    accuracy = bench.draws.of(ACCURACY)
    others = [n for n in bench.names if n not in (batch, rate)]
    ratio = (column(bench.cells, rate) / column(bench.cells, batch)).map(lambda v: float(f"{v:.4g}"))

    def spread(keys) -> np.ndarray:
        groups = bench.cells.assign(ratio=ratio).groupby([*keys, *others], dropna=False).indices.values()
        kept = [g[np.isfinite(accuracy[0, g])] for g in groups]
        kept = [g for g in kept if len(g) >= 3]
        if len(kept) < 2:
            raise CannotTell(
                "Fewer than two diagonals of three cells share the ratio of rate and batch size."
            )
        return np.mean([accuracy[:, g].std(axis=1, ddof=1) for g in kept], axis=0)

    values = spread([rate]) - spread(["ratio"])
    said = (
        "Spread of accuracy over batch sizes at a fixed learning rate, less that at a fixed ratio of the two"
    )
    found = Evidence(values[0], values[1:], "points", said, "replicates drawn again", least=0.1)
    return found, Chart("slices", (ACCURACY, batch))
