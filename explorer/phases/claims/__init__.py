"""Claims of Yang et al. (NeurIPS 2021), checked on the tables of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from explorer.phases.claims import across, along, settings
from explorer.phases.claims.bench import Bench, CannotTell, NotTestable
from explorer.phases.claims.evidence import (
    FAILS,
    HOLDS,
    UNKNOWN,
    UNTESTED,
    Chart,
    Claim,
    Evidence,
    corrected,
    judged,
)
from explorer.phases.cuts import Cut

__all__ = ["FAILS", "HOLDS", "UNKNOWN", "UNTESTED", "Chart", "Claim", "check_claims"]

Check = Callable[[Bench], tuple[Evidence, Chart]]


def check_claims(
    cells: pd.DataFrame,
    cuts: Mapping[str, Cut],
    axes: Mapping[str, Sequence[str]],
    *,
    models: pd.DataFrame,
    pairs: pd.DataFrame,
    epochs: pd.DataFrame,
) -> list[Claim]:
    """Return every claim with its verdict, effect, 95 % interval and chart; ``cells`` come from ``classify``.

    Intervals are bootstrapped over replicates. If a claim is about cells or lines of the grid, they are
    bootstrapped over cells or lines too. p is corrected by Holm's method over all claims tested. Cells of one
    grid are not independent draws, so the intervals describe the noise of this grid, not other data sets.
    """
    bench = Bench(cells.reset_index(drop=True), cuts, axes, models, pairs, epochs)
    return corrected([_checked(bench, *claim) for claim in _claims()])


def _checked(bench: Bench, name: str, statement: str, check: Check) -> Claim:
    try:
        found, chart = check(bench)
    except NotTestable as reason:
        return Claim(name, statement, UNTESTED, str(reason))
    except CannotTell as reason:
        return Claim(name, statement, UNKNOWN, str(reason))
    return judged(name, statement, chart, found)


def _claims() -> list[tuple[str, str, Check]]:
    return [
        (
            "best-is-connected",
            "Test accuracy is best where models are connected and similar and the loss is smooth.",
            across.best_is_connected,
        ),
        (
            "smoothness-is-not-enough",
            "Smoothness alone is not enough: at equal Hessian, connected cells generalise better.",
            across.smoothness_is_not_enough,
        ),
        (
            "hessian-transition",
            "Along temperature, the Hessian's transition coincides with a tenfold drop of the training loss.",
            along.loss_falls_at_the_transition,
        ),
        (
            "connectivity-adds",
            "Among low-loss cells, connectivity ranks accuracy even when the Hessian is accounted for.",
            across.connectivity_adds,
        ),
        ("cka-ranks-accuracy", "CKA ranks accuracy among low-loss cells.", across.cka_ranks),
        (
            "cka-beats-distance",
            "CKA ranks accuracy better than parameter distance does.",
            across.cka_ranks_better_than_distance,
        ),
        (
            "width-connects",
            "Connectivity increases with width when training is cold.",
            across.width_connects,
        ),
        (
            "lowest-loss-is-not-best",
            "Behind a barrier, the most accurate cell is not the one with the lowest training loss.",
            along.zero_loss_is_not_best,
        ),
        (
            "early-stopping-helps",
            "Behind a barrier, models stopped early beat those trained to the end.",
            along.early_stopping_helps,
        ),
        (
            "double-descent-in-temperature",
            "Under label noise, accuracy dips and recovers along temperature.",
            lambda b: along.double_descent(b, b.temperature),
        ),
        (
            "double-descent-in-width",
            "Under label noise, accuracy dips and recovers along width.",
            lambda b: along.double_descent(b, b.axis("width", "width")),
        ),
        ("more-data", "With more data, CKA and accuracy grow.", settings.more_data),
        ("more-data-more-trace", "With more data, the Hessian trace grows.", settings.more_data_more_trace),
        (
            "label-noise-lowers-similarity",
            "Label noise lowers mode connectivity and CKA.",
            settings.label_noise_lowers,
        ),
        (
            "label-noise-spares-hessian",
            "Label noise barely changes the Hessian.",
            settings.label_noise_spares_the_hessian,
        ),
        (
            "pixel-noise-lowers-cka",
            "Pixel noise leaves mode connectivity near 0 and lowers CKA.",
            settings.pixel_noise_lowers_cka,
        ),
        (
            "decay-helps-at-the-boundary",
            "Learning-rate decay helps most at the boundary of connectivity.",
            settings.decay_at_the_boundary,
        ),
        (
            "small-decay-small-trace",
            "A small weight decay gives a tiny Hessian trace, but no better accuracy.",
            settings.small_decay_small_trace,
        ),
        (
            "scaled-rate-flattens",
            "Scaling the learning rate with the batch size flattens the temperature axis.",
            settings.scaled_rate_flattens,
        ),
    ]
