"""A shallow decision tree from landscape measures to the change that helped, similar to *MD tree*.

Zhou et al., "MD tree: a model-diagnostic tree grown on loss landscape" (ICML 2024), fit cuts on training
error, connectivity, sharpness and similarity to diagnose why a model fails. Here the tree learns to predict
the step to a neighbouring cell that gained most accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from explorer.phases.advice.moves import Move, moves
from explorer.phases.advice.tried import COUNTS
from explorer.phases.aggregate import axis_names, column
from explorer.settings import InputError

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

FEATURES = ("training error (%)", "barrier (points)", "log10 Hessian trace", "CKA")
DEPTH, LEAF, FEWEST = 3, 3, 12


@dataclass(frozen=True)
class Tree:
    """A fitted decision tree.

    ``accuracy`` is cross-validated over held-out lines of load (or runs). ``baseline`` is the accuracy of
    always giving the most common answer, on the same folds. ``rules`` is the tree as text.
    """

    accuracy: float
    baseline: float
    n_cells: int
    n_folds: int
    rules: str
    model: DecisionTreeClassifier

    def advise(self, cells: pd.DataFrame) -> list[tuple[str, float]]:
        """Return the change advised for each cell, and the share of similar cells that it helped."""
        shares = np.asarray(self.model.predict_proba(_features(cells).fillna(-1.0).to_numpy()))
        best = shares.argmax(axis=1)
        return [(str(self.model.classes_[k]), float(s[k])) for k, s in zip(best, shares, strict=True)]


def grow(runs: Sequence[tuple[str, pd.DataFrame, Mapping[str, Sequence[str]]]]) -> Tree:
    """Fit the tree on the cells of some runs, each with its name and axes.

    Raises:
        InputError: fewer than FEWEST cells with all four features and a neighbour.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, export_text

    parts = [_labelled(*run) for run in runs]
    table = pd.concat(parts, ignore_index=True)
    if len(table) < FEWEST:
        raise InputError(
            f"a tree needs at least {FEWEST} cells with training error, mode connectivity, Hessian trace, "
            f"CKA and a neighbour; {', '.join(name for name, _, _ in runs)}: {len(table)}"
        )
    x, y = table[list(FEATURES)].to_numpy(), table["answer"].to_numpy()
    groups = table["run"] if len(runs) > 2 else table["run"] + " " + table["line"]
    folds = GroupKFold(min(5, groups.nunique()))
    model = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=LEAF, random_state=0)
    predicted, most_common = cross_val_predict(model, x, y, groups=groups, cv=folds), y.copy()
    for train, test in folds.split(x, y, groups):
        most_common[test] = pd.Series(y[train]).value_counts().index[0]
    model.fit(x, y)
    return Tree(
        accuracy=float(np.mean(predicted == y)),
        baseline=float(np.mean(most_common == y)),
        n_cells=len(table),
        n_folds=folds.n_splits,
        rules=export_text(model, feature_names=list(FEATURES), decimals=2),
        model=model,
    )


def _features(cells: pd.DataFrame) -> pd.DataFrame:
    mc = column(cells, "mode_connectivity")
    barrier = column(cells, "barrier").fillna((-mc).clip(lower=0))
    trace = np.log10(column(cells, "hessian_trace").clip(lower=1e-12))
    error, cka = column(cells, "train_error_percent"), column(cells, "cka")
    return pd.DataFrame(dict(zip(FEATURES, (error, barrier, trace, cka), strict=True)))


def _labelled(name: str, cells: pd.DataFrame, axes: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return the features of each cell, its line of load, and the move that gained most (or ``keep``)."""
    cells = cells.reset_index(drop=True)
    names = [n for n in axis_names(axes) if n in cells]
    steps = pd.DataFrame(moves(cells, names), columns=list(Move._fields))
    worth = steps[(steps["gain"] > COUNTS) & ~(steps["gain"] < 2 * steps["stderr"])]
    best = (
        worth.sort_values("gain", ascending=False, kind="stable")
        .drop_duplicates("cell")
        .set_index("cell")["direction"]
    )
    load = next((n for n in names if cells[n].nunique() > 1), None)  # load before temperature
    table = _features(cells).assign(
        run=name,
        line=cells[load].astype(str) if load else "",
        answer=best.reindex(cells.index).fillna("keep"),
    )
    return table[table.index.isin(steps["cell"])].dropna(subset=list(FEATURES))
