"""Changes that a run has tried: their mean gain with a simultaneous interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from explorer.phases.advice.moves import DIRECTIONS, Move
from explorer.phases.noise import Errors, t_quantile
from explorer.phases.numbers import format_number, words_of

COUNTS = 0.3  # points of accuracy; smaller changes are not mentioned
LEVEL = 0.05


@dataclass(frozen=True)
class Tried:
    """A change made in the run: the mean gain of its ``n`` steps in points; ``helped`` of them were gains.

    ``low`` and ``high`` are the ends of the 95 % interval of the gain, simultaneous with the other changes
    that were tried from the same cells; NaN if a spread is unknown. ``surely`` is the low end of an interval
    that is simultaneous with all steps of the run. ``loss`` is the mean change of log training loss.
    """

    axis: str
    direction: str
    gain: float
    stderr: float
    df: float
    n: int
    helped: int
    loss: float = math.nan
    low: float = math.nan
    high: float = math.nan
    surely: float = math.nan

    @property
    def surely_helped(self) -> bool:
        return self.gain > COUNTS and self.low > 0  # false if the error is unknown

    @property
    def surely_hurt(self) -> bool:
        return self.high < 0

    def surely_above(self, other: Tried) -> bool:
        limit = float(t_quantile(1 - LEVEL / 2, min(self.df, other.df)))
        return self.gain - other.gain > limit * math.hypot(self.stderr, other.stderr)

    @property
    def change(self) -> str:
        if not self.axis:
            return f"{self.direction}: stop earlier"
        up = DIRECTIONS[self.axis][0] == self.direction
        return f"{self.direction}: {'raise' if up else 'lower'} the {words_of(self.axis)}"

    def describe(self) -> str:
        """Return a sentence with the gain and its interval."""
        signed = f"{'+' if self.gain >= 0.005 else ''}{format_number(self.gain, 2)}"
        interval = ""
        if math.isfinite(self.low):
            interval = f" (95 % interval {format_number(self.low, 2)} to {format_number(self.high, 2)})"
        if not self.axis:
            return (
                f"Models stopped at the best step of the other replicates gained {signed} points of accuracy"
                f"{interval} compared with the end of training; {self.helped} of {self.n} models improved."
            )
        often = f"; it helped in {self.helped} of {self.n} steps" if self.n > 1 else ""
        return (
            f"One step of {self.direction} ({words_of(self.axis)}) changed accuracy by {signed} points"
            f"{interval}{often}."
        )


def mean_gains(steps: Iterable[Move], errors: Errors) -> list[Tried]:
    """Return the mean gain of each change over its steps.

    A mean gain is a weighted sum of means of cells, and its variance the weighted sum of theirs, so cells
    that several steps share count once. If the spread over replicates is unknown, the spread over at least
    four steps is used instead; steps of a line share cells, so n of them count as n/2.
    """
    groups: dict[tuple[str, str], list[Move]] = defaultdict(list)
    for step in steps:
        groups[step.axis, step.direction].append(step)
    found = []
    for (axis, direction), group in groups.items():
        gains = np.array([step.gain for step in group])
        weights: dict[int, float] = defaultdict(float)
        for step in group:
            weights[step.to] += 1 / len(group)
            weights[step.cell] -= 1 / len(group)
        cells = np.array(list(weights))
        variances = np.array(list(weights.values())) ** 2 * errors.stderr[cells] ** 2
        variance, df = float(variances.sum()), 0.0
        if np.isnan(variance) and len(gains) >= 4:
            variance, df = float(gains.var(ddof=1)) / (len(gains) / 2), float(len(gains) // 2)
        elif variance == 0:
            df = float(errors.df[cells].min())
        elif not np.isnan(variance):
            df = variance**2 / float((variances**2 / errors.df[cells]).sum())
        loss = float(np.mean([step.loss for step in group]))
        helped = int((gains > 0).sum())
        found.append(
            Tried(axis, direction, float(gains.mean()), math.sqrt(variance), df, len(gains), helped, loss)
        )
    return found


def stopped_early(gains: Sequence[np.ndarray]) -> list[Tried]:
    """Return what early stopping gained the models of some cells (at most one change; none without models).

    Models of a cell choose each other's step, so a mean over n of them counts as a mean over n/2.
    """
    if not gains:
        return []
    every = np.concatenate(gains)
    n = len(every)
    stderr = float(every.std(ddof=1)) / max(1.0, n / 2) ** 0.5
    helped = int((every > 0).sum())
    return [Tried("", "shorter training", float(every.mean()), stderr, n - 1.0, n, helped)]


def with_joint_intervals(tried: Sequence[Tried], family: int) -> list[Tried]:
    """Return the changes with intervals that hold for all of them at once.

    ``family`` is the number of all steps of the run, for ``Tried.surely``.
    """
    if not tried:
        return []
    df = np.array([t.df for t in tried])
    reach = t_quantile(1 - LEVEL / 2 / len(tried), df)
    far = t_quantile(1 - LEVEL / 2 / max(family, len(tried)), df)
    return [
        t
        if math.isnan(t.stderr)
        else replace(
            t,
            low=t.gain - float(r) * t.stderr,
            high=t.gain + float(r) * t.stderr,
            surely=t.gain - float(f) * t.stderr,
        )
        for t, r, f in zip(tried, reach, far, strict=True)
    ]
