"""What holds a cell back, from its own numbers and from steps to neighbouring cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from explorer.phases.advice.moves import OPPOSITES
from explorer.phases.advice.tried import Tried
from explorer.phases.cuts import MISSED
from explorer.phases.numbers import format_number, words_of

GAP = 5.0  # points by which test error exceeds training error before it counts as overfitting
FALL = np.log(1.1)  # a step that lowers the training loss by less does not explain why models do not fit
WHY = {
    "larger model": "the model is too small",
    "colder training": "training is too hot",
    "hotter training": "training is too cold",
    "longer training": "training stops too early",
}
# By phase, the changes that the taxonomy suggests, most important first.
SUGGESTED: dict[str, tuple[str, ...]] = {
    "I": ("larger model", "longer training", "colder training"),
    "II": ("colder training", "longer training"),
    "III": ("larger model", "cleaner data", "more data", "hotter training"),
    "IV-A": ("larger model", "more data", "cleaner data", "hotter training", "colder training"),
    "IV-B": ("more data", "cleaner data", "larger model"),
}
LEARN_LESS = ("smaller model", "shorter training")
AGAINST_OVERFITTING = ("more data", "cleaner data", "shorter training", "hotter training")


class Cause(NamedTuple):
    """A cause in words with the numbers that speak for it, and the changes that would remove it."""

    text: str
    wanted: tuple[str, ...]


def cause_of(
    numbers: Mapping[str, Any], phase: str, tried: Sequence[Tried], connected: float, noise: float
) -> Cause:
    """Return the cause that the numbers of a cell (or means over cells) speak for.

    ``connected`` is the tolerance of mode connectivity, ``noise`` the share of training labels that are noise
    (0 if unknown). Test error far above training error is overfitting: at least twice as large, or models
    that learn less are surely better. So is test error of models that learnt most noisy labels. If a larger
    model, or another step that lowers the training loss, is surely better, phases I and II do not overfit.
    Training error beyond the label noise is
    underfitting. Its reason is the step to a neighbour that lowers the training loss most without a loss of
    test accuracy. Otherwise connectivity and similarity of the replicates count.
    """
    train, test = (float(numbers.get(n, np.nan)) for n in ("train_error_percent", "test_error_percent"))
    mc, cka, loss = (float(numbers.get(n, np.nan)) for n in ("mode_connectivity", "cka", "train_loss"))
    missed = max(0.0, train - 100 * noise) if np.isfinite(train) else np.nan
    labels = f", with {format_number(100 * noise)} % noisy labels" if noise > 0 else ""
    errors = f"training error {format_number(train)} %{labels}"
    memorised = noise > 0 and train < 50 * noise
    less = tuple(t.direction for t in tried if t.surely_helped and t.direction in LEARN_LESS)
    learning = [t for t in tried if t.surely_helped and (t.direction == "larger model" or t.loss < -FALL)]
    more = phase in ("I", "II") and any(t.direction in WHY for t in learning)
    gap = test - missed >= GAP and (memorised or test - train >= GAP)
    if gap and (memorised or not more) and (less or test >= 2 * missed):
        memory = " and memorises noisy labels" if memorised else ""
        text = f"it overfits{memory}: {errors}, test error {format_number(test)} %"
        rest = () if phase in ("I", "II") else SUGGESTED[phase]
        wanted = tuple(dict.fromkeys((*less, *AGAINST_OVERFITTING, *rest)))
        return Cause(f"{text}{_barrier(mc, connected)}", wanted)
    if phase in ("I", "II") and not missed < MISSED:
        said = errors if np.isfinite(train) else f"training loss {format_number(loss)} nats"
        return _underfitted(phase, tried, said, mc, connected)
    if phase in ("I", "II"):
        what = "what can be learnt" if noise > 0 else "most labels"
        unsure = f"without confidence: training loss {format_number(loss)} nats"
        text = f"it fits {what} ({errors}), but {_outdone(mc) if mc > connected else unsure}"
        wanted = SUGGESTED["IV-B" if noise > 0 else phase]  # longer training would fit noisy labels
        return Cause(f"{text}{_barrier(mc, connected)}", wanted)
    texts = {
        "III": "replicates fit the data, but each in its own basin: mode connectivity "
        f"{format_number(mc)} points",
        "IV-A": f"replicates are connected, but answer differently: CKA {format_number(cka)}",
        "IV-B": "nothing visible in the loss landscape: "
        f"mode connectivity {format_number(mc)} points, CKA {format_number(cka)}",
    }
    return Cause(texts[phase], SUGGESTED[phase])


def _underfitted(phase: str, tried: Sequence[Tried], errors: str, mc: float, connected: float) -> Cause:
    helps = {t.direction for t in tried if t.surely_helped}
    lowering = [t for t in tried if t.direction in WHY and t.loss < -FALL]
    reasons = [t for t in lowering if t.gain >= 0 and OPPOSITES[t.direction] not in helps]
    if reasons:
        step = min(reasons, key=lambda t: t.loss)
        text = (
            f"{WHY[step.direction]} to fit the data: {errors}, and a step of {step.direction} "
            f"({words_of(step.axis)}) divides the training loss by {format_number(float(np.exp(-step.loss)))}"
        )
        rest = tuple(w for w in SUGGESTED[phase] if w not in (step.direction, OPPOSITES[step.direction]))
        return Cause(text, (step.direction, *rest))
    if mc > connected:
        return Cause(f"it does not fit the data: {errors}; {_outdone(mc)}", SUGGESTED[phase])
    known, also = any(np.isfinite(t.loss) for t in tried), " and gains accuracy" if lowering else ""
    why = f", and no step to a neighbouring cell lowers its training loss by 10 %{also}" if known else ""
    return Cause(f"it does not fit the data: {errors}{why}", SUGGESTED[phase])


def _outdone(mc: float) -> str:
    return f"curves find points with {format_number(mc)} points less training error than the models reached"


def _barrier(mc: float, connected: float) -> str:
    return f"; replicates lie behind a barrier of {format_number(-mc)} points" if mc < -connected else ""
