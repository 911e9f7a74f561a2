"""Claims about changes along one axis of the grid, with the other settings fixed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explorer.phases.aggregate import column
from explorer.phases.claims.bench import FEWEST_CELLS, Bench, CannotTell, NotTestable
from explorer.phases.claims.evidence import Chart, Evidence
from explorer.phases.claims.resampling import DRAWS, cells_again, lines, spearman
from explorer.phases.histories import gains_of_stopping
from explorer.phases.numbers import counted, number, spoken
from explorer.phases.words import ACCURACY
from explorer.settings import seed_for

RELEVANT_RHO = 0.2
HALVES = "chosen and evaluated on separate halves of the noise"
TRANSITION = 2.0  # a Hessian has a transition if it changes by at least this factor between neighbours


def on_lines(
    bench: Bench, along: str, names: Sequence[str], fewest: int, *, logs: Sequence[str] = ()
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Return complete lines along an axis: axis values, measures (1 + draws, lines, values), cell positions.

    A line is left out if a cell of it lacks a measure, or if a measure of ``logs``, whose logarithm is taken,
    is not positive.

    Raises:
        CannotTell: no line is left, or neither replicates nor many lines show how much a line varies.
    """
    bench.has(*names)
    grid, steps = lines(bench.cells, along, bench.names)
    known = np.all([column(bench.cells, n).notna() for n in names], axis=0)
    known &= np.all([column(bench.cells, n) > 0 for n in logs], axis=0)
    whole = grid[((grid >= 0) & known[grid]).all(axis=1)] if len(grid) else grid
    if len(steps) < fewest or not len(whole):
        raise CannotTell(f"No line of at least {fewest} complete cells along {spoken(along)}.")
    if not bench.replicated(*names) and len(whole) < FEWEST_CELLS:
        raise CannotTell(
            f"The spread between replicates is unknown, and {counted(len(whole), 'line')} of cells along "
            f"{spoken(along)} cannot replace it; {FEWEST_CELLS} lines could."
        )
    return steps, [bench.draws.of(n)[:, whole] for n in names], whole


def mean_trend(bench: Bench, along: str, name: str) -> tuple[np.ndarray, str]:
    """Return the rank correlation of a measure with an axis, mean over lines (1 + draws,), and its basis."""
    steps, (measured,), _ = on_lines(bench, along, [name], 3)
    rho = spearman(np.broadcast_to(steps, measured.shape), measured)  # (1 + draws, lines)
    again = cells_again(rho.shape[1], along, name)
    basis = f"{counted(rho.shape[1], 'line')} of {len(steps)} cells"
    return np.take_along_axis(rho, again, axis=1).mean(axis=1), basis


def loss_falls_at_the_transition(bench: Bench) -> tuple[Evidence, Chart]:
    """Measure the drop of training loss (powers of ten) at the Hessian's steepest step along temperature."""
    temperature, local = bench.temperature, bench.curvature
    measures = [local, "train_loss"]
    _, (curvature, loss), _ = on_lines(bench, temperature, measures, 3, logs=measures)
    log = np.log10(np.maximum(curvature, 1e-300))
    drop, fall = -np.diff(log, axis=2), -np.diff(np.log10(np.maximum(loss, 1e-300)), axis=2)
    steep = np.abs(drop[0]).max(axis=1) >= np.log10(TRANSITION)
    if steep.sum() < 2:
        raise CannotTell(
            f"The {spoken(local)} has no transition along {spoken(temperature)}: it changes by more than a "
            f"factor of {number(TRANSITION)} between neighbours on {int(steep.sum())} of {len(steep)} lines."
        )
    drop, fall = drop[:, steep], fall[:, steep]
    at = np.abs(drop).argmax(axis=2)[..., None]
    down = np.sign(np.take_along_axis(drop, at, 2)) * np.take_along_axis(fall, at, 2)
    again = cells_again(int(steep.sum()), "transition")
    values = np.median(np.take_along_axis(down[..., 0], again, axis=1), axis=1)
    said = f"Median drop of training loss at the steepest step of {spoken(local)} along {spoken(temperature)}"
    basis = f"{int(steep.sum())} lines with a transition"
    note = f"That is a factor of {number(10.0 ** float(values[0]))}."
    return Evidence(values[0], values[1:], "powers of ten", said, basis, least=1.0, note=note), Chart(
        "slices", ("train_loss", temperature)
    )


def _halved(bench: Bench, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split means into two versions with independent errors, m + e and m − e, by Gaussian data fission.

    A position is chosen in one version and its value is read from the other, so the choice does not bias the
    value (Leiner et al., "Data fission", 2023). ``measured`` is (1 + draws, lines, values); e has its spread.
    """
    spread = measured[1:].std(axis=0)
    if not (spread > 1e-9 * np.abs(measured[0])).any():  # more than rounding
        raise CannotTell("The spread between replicates is unknown, so a dip may be noise.")
    noise = spread * np.random.default_rng(seed_for("halves")).normal(size=(DRAWS, *spread.shape))
    return measured[0] + noise, measured[0] - noise


def _fission(values: np.ndarray, **words) -> Evidence:
    """Return evidence from values read from one half, with their spread divided by √2."""
    effect = float(values.mean())
    return Evidence(effect, effect + (values - effect) / np.sqrt(2), "points", **words)


def double_descent(bench: Bench, along: str) -> tuple[Evidence, Chart]:
    """Measure the depth of the deepest dip of accuracy along an axis that recovers on both sides."""
    if not _noisy(bench):
        raise NotTestable("The claim is about training with label noise, and this run has none.")
    steps, (accuracy,), whole = on_lines(bench, along, [ACCURACY], 4)
    if "label_noise" in bench.names:  # the claim is not about lines without noise
        noisy = (column(bench.cells, "label_noise").to_numpy()[whole] > 0).all(axis=1)
        if not noisy.any():
            raise CannotTell(f"No line of at least 4 complete cells along {spoken(along)} has label noise.")
        accuracy, whole = accuracy[:, noisy], whole[noisy]
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
    said = f"Depth of the deepest dip of accuracy along {spoken(along)}, below the lower of its two shoulders"
    note = f"The dip is most often at {where}."
    basis = f"{counted(len(whole), 'line')} of {len(steps)} cells; {HALVES}"
    return _fission(values, said=said, basis=basis, least=1.0, note=note), Chart("slices", (ACCURACY, along))


def _noisy(bench: Bench) -> bool:
    """Return whether any model was trained with label noise, or whether this is unknown.

    Tables of a run have a ``task`` column. If they have it but no ``label_noise``, the data set has no noise.
    """
    for table in (bench.cells, bench.models):
        if "label_noise" in table:
            return bool((column(table, "label_noise") > 0).any())
    return "task" not in bench.models


def zero_loss_is_not_best(bench: Bench) -> tuple[Evidence, Chart]:
    """Compare accuracy at the best temperature and at the lowest loss, on lines that end behind a barrier."""
    temperature = bench.temperature
    _, (accuracy, loss, mc), _ = on_lines(
        bench, temperature, [ACCURACY, "train_loss", "mode_connectivity"], 2
    )
    lowest = loss[0].argmin(axis=1)
    apart = mc[0][np.arange(len(lowest)), lowest] < -bench.cuts["connected"].value
    if not apart.any():
        raise CannotTell("On no line does the cell with the lowest training loss lie behind a barrier.")
    pick, read = _halved(bench, accuracy[:, apart])
    best = pick.argmax(axis=2)[..., None]
    gain = np.take_along_axis(read, best, 2)[..., 0] - read[:, np.arange(int(apart.sum())), lowest[apart]]
    said = f"Accuracy at the best {spoken(temperature)} minus accuracy at the lowest training loss"
    basis = f"{counted(int(apart.sum()), 'line')} behind a barrier; {HALVES}"
    found = _fission(gain.mean(axis=1), said=said, basis=basis, least=0.5)
    return found, Chart("slices", (ACCURACY, temperature))


def early_stopping_helps(bench: Bench) -> tuple[Evidence, Chart]:
    """Measure accuracy gained by stopping where the *other* replicates were best, behind a barrier."""
    if not {"model_id", "step", ACCURACY} <= set(bench.epochs) or bench.epochs[ACCURACY].notna().sum() == 0:
        raise NotTestable("No test accuracy during training was recorded.")
    bench.has("mode_connectivity")
    apart = column(bench.cells, "mode_connectivity") < -bench.cuts["connected"].value
    inside = set(bench.cells.loc[apart.to_numpy(), "cell_id"])
    if "cell_id" not in bench.models:
        raise NotTestable("The table of models does not name the cell of each model.")
    gains = [g for cell, g in gains_of_stopping(bench.models, bench.epochs).items() if cell in inside]
    if len(gains) < 2 or sum(map(len, gains)) < FEWEST_CELLS:
        raise CannotTell(
            f"{counted(len(gains), 'cell')} behind a barrier with at least two training histories, "
            f"{counted(sum(map(len, gains)), 'model')} in all; 2 cells and {FEWEST_CELLS} models are needed."
        )
    random, again = np.random.default_rng(seed_for("stopping")), cells_again(len(gains), "stopping")
    within = np.array([[g.mean(), *random.choice(g, (DRAWS, len(g))).mean(axis=1)] for g in gains]).T
    values = np.take_along_axis(within, again, axis=1).mean(axis=1)
    said = "Accuracy when stopped at the best step of the other replicates, minus the final accuracy"
    found = Evidence(values[0], values[1:], "points", said, f"{len(gains)} cells behind a barrier", least=0.5)
    return found, Chart("scatter", ("train_loss", ACCURACY, "mode_connectivity"))
