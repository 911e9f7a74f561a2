"""Runs side by side: what is compared, what cannot be, and what is said of it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest

from explorer.report import charts, compare, differences
from explorer.report.rows import with_texts
from explorer.results import RunTables
from explorer.settings import InputError
from report.synthetic import synthetic_run
from report.test_write import embedded, text


def made(
    name: str, *, widths: Sequence[int] = (2, 8, 32), seeds: int = 3, third: dict | None = None
) -> RunTables:
    return synthetic_run(widths=widths, batch_sizes=(8, 16), seeds=seeds, name=name, third=third)


def tables(*runs: RunTables) -> list[pd.DataFrame]:
    """The cells of the runs at settings that all have, in one order."""
    names = ["width", "batch_size"]
    common = runs[0].cells[names]
    for run in runs[1:]:
        common = common.merge(run.cells[names], on=names)
    return [common.merge(run.cells, on=names) for run in runs]


def test_runs_are_compared_cell_by_cell_on_shared_scales(tmp_path: Path):
    one = synthetic_run(widths=(2, 8, 32), batch_sizes=(8, 16), seeds=3, name="clean")
    other = synthetic_run(widths=(8, 32, 64), batch_sizes=(8, 16), seeds=3, name="noisy")
    other.models["test_accuracy_percent"] -= 5.0
    other.info["space"]["training"]["learning_rate"] = 0.1
    index = compare([one, other], tmp_path)
    said = text(index)
    assert "4 cells at the same Width, Batch size" in said
    assert "training.learning_rate" in said
    data = embedded(index.read_text(encoding="utf-8"), "data")
    gap = np.mean(data["sets"]["test_accuracy_percent-gap1"]["difference"])
    assert gap == pytest.approx(-5.0, abs=0.8)
    scales = [
        layer["encoding"]["color"]["scale"]
        for f in data["figures"]
        if re.fullmatch("mode_connectivity-[01]", f["id"])
        for layer in f["spec"]["layer"]
        if layer["encoding"].get("color", {}).get("field") == "mode_connectivity"
    ]
    assert len(scales) == 2
    assert scales[0] == scales[1]


def test_runs_that_share_nothing_are_not_compared(tmp_path: Path):
    one, other = synthetic_run(widths=(2, 8), seeds=2), synthetic_run(widths=(16, 32), seeds=2)
    with pytest.raises(InputError, match=r"no cell at the same width, batch_size: .* has width 2/8, batch"):
        compare([one, other], tmp_path)
    other.models, other.pairs = other.models[:0], other.pairs[:0]
    with pytest.raises(InputError, match=r"has no cell yet"):
        compare([one, replace(other)], tmp_path)  # whose cells are not known from before
    third = synthetic_run(widths=(2, 8), seeds=2, third={"label_noise": [0.0, 0.2]})
    with pytest.raises(
        InputError,
        match=r"several cells at the same .* it varies label_noise too. Choose .* --where label_noise=",
    ):
        compare([one, third], tmp_path)


def test_a_difference_map_keeps_altairs_schema_and_centres_on_zero():
    cells = pd.DataFrame({"cell_id": ["a", "b"], "width": [2, 4], "difference": [-1.0, 3.0], "n_models": 1})
    chart = charts.difference_map(cells, "cka", "width").to_dict()
    domain = chart["layer"][1]["encoding"]["color"]["scale"]["domain"]
    assert (domain[0], domain[-1]) == (-3.0, 3.0)


def test_a_difference_is_that_of_the_means_of_models():
    one, other = made("clean"), made("noisy", widths=(8, 32, 64))
    (row,) = [
        r for r in differences.of_measures([one, other], tables(one, other)) if "accuracy" in r["title"]
    ]
    gaps, apart = [], {"above": 0, "below": 0}
    accuracy = [
        run.models.groupby(["width", "batch_size"])["test_accuracy_percent"].agg(["mean", "sem"])
        for run in (one, other)
    ]
    for place in itertools.product((8, 32), (8, 16)):
        (a, a_error), (b, b_error) = (table.loc[place] for table in accuracy)
        gaps.append(b - a)
        apart["above"] += gaps[-1] > 2 * np.hypot(a_error, b_error)
        apart["below"] += gaps[-1] < -2 * np.hypot(a_error, b_error)
    assert (row["mean"], row["n"]) == (f"{np.mean(gaps):.1f}".replace("-", "−"), 4)
    assert {k: row[k] for k in apart} == apart


def test_cells_whose_phase_a_run_does_not_know_are_not_of_another_phase():
    one, part = made("clean"), made("part")
    part.pairs = part.pairs[part.pairs["width"] > 2]  # what is measured so far
    said = differences.of_phases([one, part], tables(one, part), [one.cuts(), one.cuts()])
    assert said == "Cells in a different phase than in clean: 0 of 4 cells in part."
    single = made("one", seeds=1)
    said = differences.of_phases([one, single], tables(one, single), [one.cuts()] * 2)
    assert said == "Cells in a different phase than in clean: unknown in one."


def test_phases_that_differ_by_the_cuts_alone_are_told_from_others():
    one, other = made("clean"), made("strict")
    cuts = [one.cuts({"cka": 0.8}), other.cuts({"cka": 0.99})]
    sorted_so = [differences.phases.classify(t, c) for t, c in zip(tables(one, other), cuts, strict=True)]
    said = differences.of_phases([one, other], sorted_so, cuts)
    moved = int((sorted_so[0]["phase"] != sorted_so[1]["phase"]).sum())
    assert moved > 0
    assert said == (
        f"Cells in a different phase than in clean: {moved} of 6 cells in strict. Each run has its own cuts "
        "(CKA 0.8, 0.99). With the cuts of clean: 0 of 6 cells in strict."
    )


def test_what_only_some_runs_have_is_named():
    one, other = made("clean"), made("text")
    other.models = other.models.drop(columns=["hessian_trace"])
    other.pairs = other.pairs.drop(columns="cka")
    other.info["space"]["task"] = "language"
    said = differences.only_some([one, other], tables(one, other), ["width"])
    assert said == [
        "Only some of the runs have these axes: Batch size.",
        "Only some of the runs have these measures in these cells: CKA similarity, Hessian trace.",
        "The runs have different tasks (classification, language), so their accuracies, errors and losses "
        "are of different kinds.",
    ]
    assert differences.only_some([one, one], tables(one, one), ["width", "batch_size"]) == []


def test_without_replicates_no_cell_is_counted_as_above_or_below():
    one, other = made("clean"), made("single", seeds=1)
    rows = differences.of_measures([one, other], [t.tail(1) for t in tables(one, other)])
    assert {(r["above"], r["below"], r["interval"], r["n"]) for r in rows} == {("", "", "", 1)}


def test_maps_of_a_third_axis_are_of_one_value_on_scales_of_all(tmp_path: Path):
    third = {"label_noise": [0.0, 0.2]}
    one, other = (made(name, widths=(4, 8), seeds=2, third=third) for name in ("clean", "clean"))
    other.models.loc[other.models["label_noise"] > 0, "test_accuracy_percent"] -= 9.0
    index = compare([one, other], tmp_path)
    said, data = text(index), embedded(index.read_text(encoding="utf-8"), "data")
    assert (
        "8 cells at the same Width, Label noise, Batch size (of 8 in clean (runs/digits), 8 in clean" in said
    )
    assert '<select data-axis="label_noise">' in said
    assert (data["others"], data["values"]) == (["label_noise"], {"label_noise": [0, 0.2]})
    gaps = data["sets"]["test_accuracy_percent-gap1"]
    assert gaps["difference"] == pytest.approx([-9.0 * (v > 0) for v in gaps["label_noise"]], abs=1e-4)
    assert gaps["difference_label"] == ["−9.0" if v > 0 else "0.0" for v in gaps["label_noise"]]
    (spec,) = [f["spec"] for f in data["figures"] if f["id"] == "test_accuracy_percent-gap1"]
    (domain,) = [d for d in re.findall(r'"domain": ?(\[[^]]*\])', json.dumps(spec)) if "9" in d]
    assert "-9" in domain


@pytest.mark.parametrize("name", ["test_accuracy_percent", "cka", "train_loss", "mode_connectivity"])
def test_planes_and_runs_that_are_shown_on_one_scale_have_one(name: str):
    rows = with_texts(pd.concat([made("one").cells.head(2), made("other").cells.tail(2)], ignore_index=True))
    spread = rows[f"{name}_std"].fillna(0.0)
    halves = rows.head(2), rows.tail(2)

    def scales(chart: alt.LayerChart, channel: str) -> list[dict]:
        channels = [layer["encoding"].get(channel, {}) for layer in chart.to_dict()["layer"]]
        return [c["scale"] for c in channels if c.get("field", "").startswith((name, "low"))]

    maps = [scales(charts.heat_map(h, name, "width", "batch_size", scale_from=rows), "color") for h in halves]
    lines = [scales(charts.slices(h, name, "width", "batch_size", scale_from=rows), "y") for h in halves]
    assert maps[0] == maps[1]
    assert lines[0] == lines[1]
    if name != "mode_connectivity":
        assert maps[0][0]["domain"] == pytest.approx([rows[name].min(), rows[name].max()])
    low, high = lines[0][0]["domain"]
    assert high == pytest.approx((rows[name] + spread).max())
    if name != "train_loss":
        assert low == pytest.approx((rows[name] - spread).min())
