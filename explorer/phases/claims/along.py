"""Claims about changes along one axis of the grid, with the other settings fixed."""

from __future__ import annotations

import numpy as np

from explorer.phases.aggregate import column
from explorer.phases.claims.checks import (
    FEWEST_CELLS,
    FEWEST_LINES,
    SEEDS,
    CannotTell,
    ClaimTables,
    NotTestable,
    claim,
)
from explorer.phases.claims.dips import Dip, find_dip, gain_of_choosing
from explorer.phases.claims.estimates import mean_of
from explorer.phases.claims.evidence import Chart, Evidence
from explorer.phases.histories import gains_of_stopping
from explorer.phases.noise import moderated_errors
from explorer.phases.numbers import format_number, format_setting, words_of
from explorer.phases.words import ACCURACY
from explorer.units import plural

HALVES = "chosen and evaluated on separate halves of the noise"
BARRIERS = "cells behind a barrier, as narrow networks or wrong labels make them"
TRANSITION = 2.0  # a Hessian has a transition if it changes by at least this factor between neighbours


@claim("Along temperature, the Hessian's transition coincides with a tenfold drop of the training loss.")
def hessian_transition(run: ClaimTables) -> Evidence:
    """Measure the drop of training loss (powers of ten) at the Hessian's steepest step along temperature."""
    temperature, local = run.temperature, run.curvatures[0]
    measures = [local, "train_loss"]
    _, (curvature, _), whole = run.on_lines(temperature, measures, 3, logs=measures)
    drop = -np.diff(curvature, axis=1)
    steep = np.abs(drop).max(axis=1) >= np.log10(TRANSITION)
    if steep.sum() < FEWEST_LINES:
        raise CannotTell(
            f"The {words_of(local)} has no transition along {words_of(temperature)}: it changes by more than "
            f"a factor of {format_number(TRANSITION)} between neighbours on {int(steep.sum())} of "
            f"{plural(len(steep), 'line')}; {FEWEST_LINES} are needed.",
            f"hotter or colder values of {temperature}",
        )
    drop = drop[steep]
    at = np.abs(drop).argmax(axis=1)
    row = np.arange(len(at))

    def fall(loss: np.ndarray) -> np.ndarray:
        return np.sign(drop[row, at]) * -np.diff(loss, axis=2)[:, row, at]

    estimate = run.over_lines("train_loss", whole[steep], fall, log=True)
    at_step = f"at the steepest step of {words_of(local)} along {words_of(temperature)}"
    quantity = f"Mean drop of training loss {at_step}"
    basis = f"{int(steep.sum())} lines with a transition"
    note = f"That is a factor of {format_number(10.0**estimate.value)}."
    chart = Chart("slices", ("train_loss", temperature))
    return Evidence(quantity, estimate, basis, chart, "powers of ten", least=1.0, note=note)


@claim("Behind a barrier, the most accurate cell is not the one with the lowest training loss.")
def lowest_loss_is_not_best(run: ClaimTables) -> Evidence:
    """Compare accuracy at the best temperature and at the lowest loss, on lines that end behind a barrier."""
    temperature = run.temperature
    names = [ACCURACY, "train_loss", "mode_connectivity"]
    _, (accuracy, loss, mc), whole = run.on_lines(temperature, names, 2)
    lowest = loss.argmin(axis=1)
    behind = mc[np.arange(len(lowest)), lowest] < -run.cuts["connected"].value
    if not behind.any():
        raise CannotTell(
            "On no line does the cell with the lowest training loss lie behind a barrier.", BARRIERS
        )
    stderr, df = _noise_of_lines(run, whole[behind])
    estimate = gain_of_choosing(accuracy[behind], stderr, df, lowest[behind])
    quantity = f"Accuracy at the best {words_of(temperature)} minus accuracy at the lowest training loss"
    basis = f"{plural(int(behind.sum()), 'line')} behind a barrier; {HALVES}"
    chart = Chart("slices", (ACCURACY, temperature))
    return Evidence(quantity, estimate, basis, chart, "points", least=0.5)


@claim("Behind a barrier, models stopped early beat those trained to the end.")
def early_stopping_helps(run: ClaimTables) -> Evidence:
    """Measure accuracy gained by stopping where the *other* replicates were best, behind a barrier."""
    if not {"model_id", "step", ACCURACY} <= set(run.epochs) or run.epochs[ACCURACY].notna().sum() == 0:
        raise NotTestable("No test accuracy during training was recorded.", "test accuracy during training")
    run.require("mode_connectivity")
    behind = column(run.cells, "mode_connectivity") < -run.cuts["connected"].value
    inside = set(run.cells.loc[behind.to_numpy(), "cell_id"])
    if "cell_id" not in run.models:
        raise NotTestable(
            "The table of models does not name the cell of each model.", "a column cell_id of models"
        )
    gains = [g for cell, g in gains_of_stopping(run.models, run.epochs).items() if cell in inside]
    if len(gains) < 2 or sum(map(len, gains)) < FEWEST_CELLS:
        raise CannotTell(
            f"{plural(len(gains), 'cell')} behind a barrier with at least two training histories, "
            f"{plural(sum(map(len, gains)), 'model')} in all; 2 cells and {FEWEST_CELLS} models are needed.",
            BARRIERS,
        )
    every = np.concatenate(gains)
    if np.ptp(every) == 0:  # all 0, if accuracy rises to the end in each model
        raise CannotTell(
            f"The gain is {format_number(every[0])} points in all {len(every)} models behind a barrier; "
            "without a spread, its error is unknown.",
            BARRIERS,
        )
    # Models of a cell choose each other's step, so n of them count as n/2.
    noise = np.array([g.var(ddof=1) / max(1.0, len(g) / 2) for g in gains])
    estimate = mean_of(np.array([g.mean() for g in gains]), noise)
    quantity = "Accuracy when stopped at the best step of the other replicates, minus the final accuracy"
    basis = f"{len(gains)} cells behind a barrier"
    chart = Chart("scatter", ("train_loss", ACCURACY, "mode_connectivity"))
    return Evidence(quantity, estimate, basis, chart, "points", least=0.5)


@claim("Under label noise, accuracy dips and recovers along temperature.")
def double_descent_in_temperature(run: ClaimTables) -> Evidence:
    """Measure the deepest dip of accuracy along temperature."""
    return _double_descent(run, run.temperature)


@claim("Under label noise, accuracy dips and recovers along width.")
def double_descent_in_width(run: ClaimTables) -> Evidence:
    """Measure the deepest dip of accuracy along width."""
    return _double_descent(run, run.axis("width", "width"))


def _double_descent(run: ClaimTables, along: str) -> Evidence:
    """Measure the depth of a dip of accuracy at the same place of most lines, or at the border of phases."""
    run.asked.add("label_noise")
    if not _has_label_noise(run):
        raise NotTestable(
            "The claim is about training with label noise, and the tables record none.", "an axis label_noise"
        )
    steps, (accuracy,), whole = run.on_lines(along, [ACCURACY], 4)
    if "label_noise" in run.names:  # the claim is not about lines without noise
        noisy = (column(run.cells, "label_noise").to_numpy()[whole] > 0).all(axis=1)
        accuracy, whole = accuracy[noisy], whole[noisy]
    if len(whole) < FEWEST_LINES:
        raise CannotTell(
            f"{plural(len(whole), 'line')} of at least 4 complete cells along {words_of(along)} with label "
            f"noise; {FEWEST_LINES} are needed to see a dip at the same place.",
            f"at least {plural(FEWEST_LINES - len(whole), 'more line')} of cells with label noise",
        )
    noise = _noise_of_lines(run, whole)[0] ** 2
    border = _border(run.low_loss[whole])
    looks = 1 if border is None else 2
    dip = find_dip(accuracy, noise, np.ones(len(steps), dtype=bool), looks)
    where, left, right = (format_setting(steps[place]) for place in (dip.place, dip.left, dip.right))
    note = _note(dip, f"{words_of(along)} {where}, between {left} and {right}", len(whole))
    if border is not None:
        kept, places, allowed = border
        at = np.take_along_axis(accuracy[kept], places, 1), np.take_along_axis(noise[kept], places, 1)
        moving = find_dip(at[0], at[1], allowed, looks)
        if moving.depth.tails(0.0)[0] < dip.depth.tails(0.0)[0]:
            dip, note = moving, _note(moving, "the border between high and low loss", len(kept))
    quantity = f"Depth of the dip of accuracy along {words_of(along)}, below the lower of its two shoulders"
    basis = f"mean over {plural(len(whole), 'line')} of {len(steps)} cells; {HALVES}"
    chart = Chart("slices", (ACCURACY, along))
    return Evidence(quantity, dip.depth, basis, chart, "points", least=1.0, note=note)


def _note(dip: Dip, where: str, lines: int) -> str:
    text = f"Deepest at {where}; {dip.lines} of {plural(lines, 'line')} "
    return text + f"{'dips' if dip.lines == 1 else 'dip'} there."


def _border(low: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Align lines at their border between high and low loss; ``low`` is (lines, n).

    Return the lines with one border, the positions (lines, offsets) that all of them have around it, and
    which offsets are next to the border. None if the border is at the same place everywhere, or if less than
    half of the lines have one, or fewer than four offsets.
    """
    changes = low[:, 1:] != low[:, :-1]
    kept = np.flatnonzero(changes.sum(axis=1) == 1)
    if len(kept) < max(FEWEST_LINES, len(low) / 2):
        return None
    first = changes[kept].argmax(axis=1) + 1  # the first cell behind the border
    offsets = np.arange(-first.min(), low.shape[1] - first.max())
    if len(offsets) < 4 or first.min() == first.max():
        return None
    return kept, first[:, None] + offsets, (offsets >= -1) & (offsets <= 0)


def _has_label_noise(run: ClaimTables) -> bool:
    """Return whether the tables or the space record that any model was trained with label noise."""
    tables = (table for table in (run.cells, run.models) if "label_noise" in table)
    return run.noise > 0 or any(bool((column(table, "label_noise") > 0).any()) for table in tables)


def _noise_of_lines(run: ClaimTables, whole: np.ndarray) -> tuple[np.ndarray, float]:
    """Return standard errors of accuracy (lines, n), and their least degrees of freedom."""
    stderr, df = moderated_errors(run.cells, ACCURACY)
    if not (stderr[whole] > 1e-9).all():  # more than rounding
        raise CannotTell("The spread between replicates is unknown, so a difference may be noise.", SEEDS)
    return stderr[whole], float(df[whole].min())
