"""Claims about changes along one axis of the grid, with the other settings fixed."""

from __future__ import annotations

import numpy as np

from explorer.phases.aggregate import column
from explorer.phases.claims.checks import FEWEST_CELLS, CannotTell, NotTestable, RunTables, claim
from explorer.phases.claims.evidence import Chart, Evidence
from explorer.phases.claims.resampling import DRAWS, redraw
from explorer.phases.histories import gains_of_stopping
from explorer.phases.numbers import number, words_of
from explorer.phases.words import ACCURACY
from explorer.settings import seed_for
from explorer.units import plural

HALVES = "chosen and evaluated on separate halves of the noise"
TRANSITION = 2.0  # a Hessian has a transition if it changes by at least this factor between neighbours


@claim("Along temperature, the Hessian's transition coincides with a tenfold drop of the training loss.")
def hessian_transition(run: RunTables) -> Evidence:
    """Measure the drop of training loss (powers of ten) at the Hessian's steepest step along temperature."""
    temperature, local = run.temperature, run.curvatures[0]
    measures = [local, "train_loss"]
    _, values, _ = run.on_lines(temperature, measures, 3, logs=measures)
    drop, fall = (-np.diff(np.log10(np.maximum(v, 1e-300)), axis=2) for v in values)
    steep = np.abs(drop[0]).max(axis=1) >= np.log10(TRANSITION)
    if steep.sum() < 2:
        raise CannotTell(
            f"The {words_of(local)} has no transition along {words_of(temperature)}: it changes by more than "
            f"a factor of {number(TRANSITION)} between neighbours on {int(steep.sum())} of {len(steep)} "
            "lines."
        )
    drop, fall = drop[:, steep], fall[:, steep]
    at = np.abs(drop).argmax(axis=2)[..., None]
    down = np.sign(np.take_along_axis(drop, at, 2)) * np.take_along_axis(fall, at, 2)
    median = np.median(redraw(down[..., 0], "transition"), axis=1)
    at_step = f"at the steepest step of {words_of(local)} along {words_of(temperature)}"
    quantity = f"Median drop of training loss {at_step}"
    basis = f"{int(steep.sum())} lines with a transition"
    note = f"That is a factor of {number(10.0 ** float(median[0]))}."
    chart = Chart("slices", ("train_loss", temperature))
    return Evidence(quantity, median, basis, chart, "powers of ten", least=1.0, note=note)


@claim("Behind a barrier, the most accurate cell is not the one with the lowest training loss.")
def lowest_loss_is_not_best(run: RunTables) -> Evidence:
    """Compare accuracy at the best temperature and at the lowest loss, on lines that end behind a barrier."""
    temperature = run.temperature
    _, (accuracy, loss, mc), _ = run.on_lines(temperature, [ACCURACY, "train_loss", "mode_connectivity"], 2)
    lowest = loss[0].argmin(axis=1)
    behind = mc[0][np.arange(len(lowest)), lowest] < -run.cuts["connected"].value
    if not behind.any():
        raise CannotTell("On no line does the cell with the lowest training loss lie behind a barrier.")
    pick, read = _split_noise(accuracy[:, behind])
    best = pick.argmax(axis=2)[..., None]
    gain = np.take_along_axis(read, best, 2)[..., 0] - read[:, np.arange(int(behind.sum())), lowest[behind]]
    quantity = f"Accuracy at the best {words_of(temperature)} minus accuracy at the lowest training loss"
    basis = f"{plural(int(behind.sum()), 'line')} behind a barrier; {HALVES}"
    chart = Chart("slices", (ACCURACY, temperature))
    return Evidence(quantity, _with_mean(gain.mean(axis=1)), basis, chart, "points", least=0.5)


@claim("Behind a barrier, models stopped early beat those trained to the end.")
def early_stopping_helps(run: RunTables) -> Evidence:
    """Measure accuracy gained by stopping where the *other* replicates were best, behind a barrier."""
    if not {"model_id", "step", ACCURACY} <= set(run.epochs) or run.epochs[ACCURACY].notna().sum() == 0:
        raise NotTestable("No test accuracy during training was recorded.")
    run.require("mode_connectivity")
    behind = column(run.cells, "mode_connectivity") < -run.cuts["connected"].value
    inside = set(run.cells.loc[behind.to_numpy(), "cell_id"])
    if "cell_id" not in run.models:
        raise NotTestable("The table of models does not name the cell of each model.")
    gains = [g for cell, g in gains_of_stopping(run.models, run.epochs).items() if cell in inside]
    if len(gains) < 2 or sum(map(len, gains)) < FEWEST_CELLS:
        raise CannotTell(
            f"{plural(len(gains), 'cell')} behind a barrier with at least two training histories, "
            f"{plural(sum(map(len, gains)), 'model')} in all; 2 cells and {FEWEST_CELLS} models are needed."
        )
    random = np.random.default_rng(seed_for("stopping"))
    within = np.array([[g.mean(), *random.choice(g, (DRAWS, len(g))).mean(axis=1)] for g in gains]).T
    values = redraw(within, "stopping").mean(axis=1)
    quantity = "Accuracy when stopped at the best step of the other replicates, minus the final accuracy"
    basis = f"{len(gains)} cells behind a barrier"
    chart = Chart("scatter", ("train_loss", ACCURACY, "mode_connectivity"))
    return Evidence(quantity, values, basis, chart, "points", least=0.5)


@claim("Under label noise, accuracy dips and recovers along temperature.")
def double_descent_in_temperature(run: RunTables) -> Evidence:
    """Measure the deepest dip of accuracy along temperature."""
    return _double_descent(run, run.temperature)


@claim("Under label noise, accuracy dips and recovers along width.")
def double_descent_in_width(run: RunTables) -> Evidence:
    """Measure the deepest dip of accuracy along width."""
    return _double_descent(run, run.axis("width", "width"))


def _double_descent(run: RunTables, along: str) -> Evidence:
    """Measure the depth of the deepest dip of accuracy along an axis that recovers on both sides."""
    run.asked.add("label_noise")
    if not _has_label_noise(run):
        raise NotTestable("The claim is about training with label noise, and this run has none.")
    steps, (accuracy,), whole = run.on_lines(along, [ACCURACY], 4)
    if "label_noise" in run.names:  # the claim is not about lines without noise
        noisy = (column(run.cells, "label_noise").to_numpy()[whole] > 0).all(axis=1)
        if not noisy.any():
            raise CannotTell(f"No line of at least 4 complete cells along {words_of(along)} has label noise.")
        accuracy, whole = accuracy[:, noisy], whole[noisy]
    pick, read = _split_noise(accuracy)
    before = np.maximum.accumulate(pick, axis=2)[..., :-2]
    after = np.maximum.accumulate(pick[..., ::-1], axis=2)[..., ::-1][..., 2:]
    depth = (np.minimum(before, after) - pick[..., 1:-1]).reshape(DRAWS, -1)
    line, middle = np.divmod(depth.argmax(axis=1), len(steps) - 2)
    row, middle = np.arange(DRAWS), middle + 1
    place = np.arange(len(steps))
    left = np.where(place < middle[:, None], pick[row, line], -np.inf).argmax(axis=1)
    right = np.where(place > middle[:, None], pick[row, line], -np.inf).argmax(axis=1)
    shoulders = np.minimum(read[row, line, left], read[row, line, right])
    at = np.bincount(middle, minlength=len(steps)).argmax()
    others = [n for n in run.names if n != along]
    cell = run.cells.iloc[whole[np.bincount(line, minlength=len(whole)).argmax(), at]]
    where = ", ".join(
        [f"{words_of(along)} {number(float(steps[at]))}", *(f"{words_of(n)} {cell[n]}" for n in others)]
    )
    values = _with_mean(shoulders - read[row, line, middle])
    quantity = (
        f"Depth of the deepest dip of accuracy along {words_of(along)}, below the lower of its two shoulders"
    )
    basis = f"{plural(len(whole), 'line')} of {len(steps)} cells; {HALVES}"
    note = f"The dip is most often at {where}."
    chart = Chart("slices", (ACCURACY, along))
    return Evidence(quantity, values, basis, chart, "points", least=1.0, note=note)


def _has_label_noise(run: RunTables) -> bool:
    """Return whether any model was trained with label noise, or whether this is unknown.

    Tables of a run have a ``task`` column. If they have it but no ``label_noise``, the data set has no noise.
    """
    for table in (run.cells, run.models):
        if "label_noise" in table:
            return bool((column(table, "label_noise") > 0).any())
    return "task" not in run.models


def _split_noise(measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split means into two versions with independent errors, m + e and m − e, by Gaussian data fission.

    A position is chosen in one version and its value is read from the other, so the choice does not bias the
    value (Leiner et al., "Data fission", 2023). ``measured`` is (1 + draws, lines, values); e has its spread.
    """
    spread = measured[1:].std(axis=0)
    if not (spread > 1e-9 * np.abs(measured[0])).any():  # more than rounding
        raise CannotTell("The spread between replicates is unknown, so a dip may be noise.")
    noise = spread * np.random.default_rng(seed_for("halves")).normal(size=(DRAWS, *spread.shape))
    return measured[0] + noise, measured[0] - noise


def _with_mean(draws: np.ndarray) -> np.ndarray:
    """Return the mean of values read from one half, and the values with their spread divided by √2."""
    effect = draws.mean()
    return np.append(effect, effect + (draws - effect) / np.sqrt(2))
