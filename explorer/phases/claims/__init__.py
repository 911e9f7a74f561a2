"""Claims of Yang et al. (NeurIPS 2021), checked on the tables of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from explorer.phases.claims import across, along, settings
from explorer.phases.claims.checks import CannotTell, Check, NotTestable, RunTables
from explorer.phases.claims.evidence import (
    FAILS,
    HOLDS,
    UNKNOWN,
    UNTESTED,
    Chart,
    Claim,
    decide,
    summarise,
)
from explorer.phases.cuts import Cut

__all__ = ["FAILS", "HOLDS", "UNKNOWN", "UNTESTED", "Chart", "Claim", "check_claims"]

CHECKS = (
    across.best_is_connected,
    across.smoothness_is_not_enough,
    along.hessian_transition,
    across.connectivity_adds,
    across.cka_ranks_accuracy,
    across.cka_beats_distance,
    across.width_connects,
    along.lowest_loss_is_not_best,
    along.early_stopping_helps,
    along.double_descent_in_temperature,
    along.double_descent_in_width,
    settings.more_data,
    settings.more_data_more_trace,
    settings.label_noise_lowers_similarity,
    settings.label_noise_spares_hessian,
    settings.pixel_noise_lowers_cka,
    settings.decay_helps_at_the_boundary,
    settings.small_decay_small_trace,
    settings.scaled_rate_flattens,
)


def check_claims(
    cells: pd.DataFrame,
    cuts: Mapping[str, Cut],
    axes: Mapping[str, Sequence[str]],
    *,
    models: pd.DataFrame,
    pairs: pd.DataFrame,
    epochs: pd.DataFrame,
    lacking: Mapping[str, str] | None = None,
    planned: Collection[str] = (),
) -> list[Claim]:
    """Return every claim with its verdict, effect, 95 % interval and chart; ``cells`` come from ``classify``.

    Intervals are bootstrapped over replicates. If a claim is about cells or lines of the grid, they are
    bootstrapped over cells or lines too. p is corrected by Holm's method over all claims tested. Cells of one
    grid are not independent draws, so the intervals describe the noise of this grid, not other data sets.

    Args:
        lacking: what an unfinished run still needs, by column of ``cells``; under ``models`` what each claim
            needs. A claim that cannot be tested or told yet says so.
        planned: the axes and columns that the finished run will have.
    """
    run = RunTables(cells.reset_index(drop=True), cuts, axes, models, pairs, epochs)
    claims, needs = [], {}
    for check in CHECKS:
        run.asked.clear()
        claims.append(_judge(run, check))
        needs[check.name] = _needs(run.asked, lacking or {}, planned)
    return [
        replace(c, why=f"{c.why} {needs[c.name]}".strip()) if c.verdict in (UNKNOWN, UNTESTED) else c
        for c in decide(claims)
    ]


def _needs(asked: set[str], lacking: Mapping[str, str], planned: Collection[str]) -> str:
    """Return what an unfinished run still needs for a claim; nothing if a finished one could not test it."""
    parts = dict.fromkeys(lacking[name] for name in ("models", *sorted(asked)) if name in lacking)
    return f"It still needs {' and '.join(parts)}." if parts and asked <= set(planned) else ""


def _judge(run: RunTables, check: Check) -> Claim:
    try:
        return summarise(check.name, check.statement, check.evidence(run))
    except NotTestable as reason:
        return Claim(check.name, check.statement, UNTESTED, str(reason))
    except CannotTell as reason:
        return Claim(check.name, check.statement, UNKNOWN, str(reason))
