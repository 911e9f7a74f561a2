"""What is said where another gap between cells might as well hold the cut of the loss."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from explorer import phases
from explorer.report.diagnosis import diagnose
from explorer.results import load


def rivals(*losses: float, **columns) -> tuple[str, int]:
    """What is said of gaps that are nearly as wide as the widest; cells that ``--cut`` at the first moves."""
    cells = pd.DataFrame({"train_loss": losses, "mode_connectivity": 0.0, "cka": 0.5, **columns})
    cuts = phases.find_cuts(cells)
    said = cuts["train_loss"].reason.partition(" nats; ")[2]
    if not said:
        return "", 0
    other = phases.find_cuts(cells, {"train_loss": float(said.partition(" at ")[2].partition(",")[0])})
    moved = phases.classify(cells, cuts)["phase"] != phases.classify(cells, other)["phase"]
    return said, int(moved.sum())


def test_a_gap_that_is_nearly_as_wide_is_named_with_the_cells_that_it_would_move():
    said = "another, from 0.02 to 0.19 nats, is 98 % as wide: with the cut there, at 0.0616, "  # log 9.5 / log 10
    said += "1 of 5 cells would be in another phase"
    assert rivals(0.001, 0.002, 0.02, 0.19, 0.3) == (said, 1)
    assert rivals(0.001, 0.002, 0.02, 0.15, 0.3) == ("", 0)  # log 7.5 / log 10 is 88 %
    assert rivals(0.002, 0.02, 0.02, 0.2, 2.0)[0].startswith(
        "another, from 0.02 "
    )  # no cut may lie above 0.2
    assert rivals(0.02, 0.02, 0.02) == ("", 0)


def test_of_several_gaps_the_one_is_named_that_moves_most_cells():
    said, moved = rivals(0.001, 0.0125, 0.0125, 0.15)
    assert said.startswith("another, from 0.0125 to 0.15 nats, is 98 % as wide")
    said, moved = rivals(0.004, 0.0125, 0.0125, 0.038, 0.115)
    assert said.startswith("2 others are nearly as wide; one, from 0.038 to 0.115 nats, is 97 % as wide")
    assert moved == 3
    assert ", 3 of 5 cells would be" in said


def test_where_the_loss_cut_moves_that_of_cka_is_found_again():
    said, moved = rivals(
        0.001, 0.001, 0.001, 0.001, 0.02, 0.02, 0.39, cka=[0.7, 0.7, 0.71, 0.71, 0.98, 0.99, 0.1]
    )
    assert moved == 6  # four fall below the cut of CKA that the two new ones bring
    assert " 6 of 7 cells " in said


def test_a_loss_cut_that_the_user_gave_has_no_rival():
    cells = pd.DataFrame({"train_loss": [0.001, 0.002, 0.02, 0.19, 0.3]})
    assert phases.find_cuts(cells, {"train_loss": 0.05})["train_loss"].reason == "given by the user"


def test_the_diagnosis_names_the_other_gap(tmp_path: Path):
    losses = [0.001, 0.002, 0.02, 0.19, 0.3]
    table = {"width": [32, 16, 8, 4, 2], "train_loss": losses, "mode_connectivity": 0.0, "cka": 0.5}
    pd.DataFrame(table).to_csv(tmp_path / "cells.csv", index=False)
    said = "another, from 0.02 to 0.19 nats, is 98 % as wide: with the cut there, at 0.0616, 1 of 5 cells"
    assert said in "\n".join(diagnose(load(tmp_path)))
