"""Choice of the cells of the next round of a refined run."""

from __future__ import annotations

from explorer.engine.session import Session
from explorer.plan.refinement import Round, is_open, rounds_of
from explorer.refine import PartialGrid, expected_share, propose_places, share_in_words, start_size
from explorer.runs.store import Store
from explorer.space.model import CheckedSpace
from explorer.units import plural


def choose_round(space: CheckedSpace, store: Store, session: Session) -> None:
    """Add the next round to ``run.yaml``, or note there that it needs none. All rounds so far are finished.

    The choice is a function of the space and of the tables, so it is the same on any machine, with any number
    of workers, and after any interruption.
    """
    assert space.refine is not None
    rounds = rounds_of(store)
    with session.stage("choosing"):
        added, moved = _next(space, store, rounds) if rounds else (_first(space, store), "")
    store.update_info(rounds=[*rounds, *([{"cells": added}] if added else [])])
    then = f"{plural(len(added), 'cell')} of the grid are next." if added else "No other cell is chosen."
    number = sum(len(one["cells"]) for one in rounds)
    so_far = share_in_words(number, len(space.domain), rounds[-1]["expected"]) if rounds else ""
    session.say(" ".join(filter(None, [so_far, then, moved])))


def _first(space: CheckedSpace, store: Store) -> list[str]:
    """Return the cells of the start: a coarse grid, and the cells that have models already."""
    import pandas as pd

    assert space.refine is not None
    ids = [cell.id for cell in space.domain]
    models = set(store.read_records("models", ["cell_id"]).to_pydict().get("cell_id", []))
    before = [cell for cell in ids if cell in models]
    domain, most = pd.DataFrame([cell.at for cell in space.domain]), space.refine.most(len(ids))
    number = min(start_size(domain, space.refine.start), max(most // 2, 1), max(most - len(before), 0))
    start = [ids[place] for place in propose_places(pd.DataFrame(), domain, number)]
    return [*before, *(cell for cell in start if cell not in before)]


def _next(space: CheckedSpace, store: Store, rounds: list[Round]) -> tuple[list[str], str]:
    """Note the share of phases that is expected to be right after the last round.

    Return the next cells; if there are none, also a sentence on cuts that the last round has moved.
    """
    from explorer import results

    assert space.refine is not None
    run = results.read(store)
    cells, domain = run.of_rounds(len(rounds))
    grid = PartialGrid(cells, domain, cuts := run.cuts())
    found = grid.predict()
    rounds[-1]["expected"] = round(expected_share(found), 4)
    if not is_open(space, rounds):
        return [], results.moved_cuts(run, cuts, found)
    left = space.refine.most(len(domain)) - len(cells)
    number = min(space.refine.next(len(domain)), left)
    ids = [cell.id for cell in space.domain]
    return [ids[place] for place in grid.propose_places(number)], ""
