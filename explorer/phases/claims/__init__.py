"""Claims of Yang et al. (NeurIPS 2021), checked on the tables of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from explorer.phases.claims import across, along, settings, wanted
from explorer.phases.claims.checks import CannotTell, Check, ClaimTables, NotTestable
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
from explorer.phases.cuts import Cut, rival_cuts
from explorer.phases.numbers import format_number

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
    noise: float = 0.0,
    lacking: Mapping[str, str] | None = None,
    planned: Collection[str] = (),
) -> list[Claim]:
    """Return every claim with its verdict, effect, 95 % interval and chart; ``cells`` come from ``classify``.

    Claims about cells have bootstrap intervals over cells, claims about lines of the grid Student's t over
    lines. p is corrected by Holm's method over all claims tested. Claims that ask which cells have low loss
    are checked at rival cuts too (``rival_cuts``). If a verdict depends on the cut, the run cannot tell.
    Cells of one grid are not independent draws, so the intervals describe the noise of this grid, not other
    data sets.

    Args:
        noise: share of noisy training labels, if it is the same for all cells.
        lacking: what an unfinished run still needs, by column of ``cells``; under ``models`` what each claim
            needs. A claim that cannot be tested or told yet says so.
        planned: the axes and columns that the finished run will have.
    """
    run = ClaimTables(cells.reset_index(drop=True), cuts, axes, models, pairs, epochs, noise)
    claims, needs, hanging = [], {}, []
    for check in CHECKS:
        run.asked.clear()
        run.loss_cut.clear()
        claims.append(_judge(run, check))
        needs[check.name] = _needs(run.asked, lacking or {}, planned)
        hanging += [check] if run.loss_cut else []
    decided = _at_rival_cuts(run, claims, hanging)
    return [
        replace(c, why=f"{c.why} {needs[c.name]}".strip()) if c.verdict in (UNKNOWN, UNTESTED) else c
        for c in wanted.with_wants(decided, run.cells)
    ]


def _at_rival_cuts(run: ClaimTables, claims: list[Claim], hanging: list[Check]) -> list[Claim]:
    """Return the claims with verdicts; one that is another at a rival cut of the loss cannot be told."""
    decided = {c.name: c for c in decide(claims)}
    others: dict[str, dict[str, list[str]]] = {name: {} for name in decided}
    for cuts in rival_cuts(run.cells, run.cuts) if hanging else []:
        at_rival = replace(run, cuts=cuts)
        judged = {check.name: _judge(at_rival, check) for check in hanging}
        for other in decide([judged.get(c.name, c) for c in claims]):
            if other.verdict != decided[other.name].verdict:
                value = format_number(cuts["train_loss"].value)
                others[other.name].setdefault(other.verdict, []).append(value)
    return [_in_doubt(one, others[one.name]) if others[one.name] else one for one in decided.values()]


def _in_doubt(one: Claim, others: Mapping[str, Sequence[str]]) -> Claim:
    """Return a claim that has other verdicts at rival cuts: by verdict, the cuts of the training loss."""
    sure = one.verdict in (HOLDS, FAILS)
    why = [
        f"With the cut of training loss at {' or '.join(cuts)} nats, which is as plausible, the verdict is "
        f"{verdict!r}."
        for verdict, cuts in others.items()
    ]
    return replace(
        one, verdict=UNKNOWN if sure else one.verdict, why=" ".join([one.why, *why]), hangs_on_cut=sure
    )


def _needs(asked: set[str], lacking: Mapping[str, str], planned: Collection[str]) -> str:
    """Return what an unfinished run still needs for a claim; nothing if a finished one could not test it."""
    parts = dict.fromkeys(lacking[name] for name in ("models", *sorted(asked)) if name in lacking)
    return f"It still needs {' and '.join(parts)}." if parts and asked <= set(planned) else ""


def _judge(run: ClaimTables, check: Check) -> Claim:
    try:
        return summarise(check.name, check.statement, check.evidence(run))
    except NotTestable as reason:
        return Claim(check.name, check.statement, UNTESTED, str(reason), would_decide=reason.wanted)
    except CannotTell as reason:
        return Claim(check.name, check.statement, UNKNOWN, str(reason), would_decide=reason.wanted)
