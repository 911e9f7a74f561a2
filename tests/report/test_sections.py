"""Claims, advice, export, foreign tables: what the pages and files say."""

from __future__ import annotations

import itertools
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from explorer import phases
from explorer.phases.claims import HOLDS, Claim
from explorer.report import charts, facts, figures, write
from explorer.report.export import export
from explorer.report.labels import measure, measure_title
from explorer.report.payload import details
from explorer.report.rows import exponent, format_compact, with_spread, with_texts
from explorer.results import RunTables, load
from explorer.settings import InputError
from report.synthetic import synthetic_run
from report.test_write import embedded, text

# ---- numbers in squares


def test_small_numbers_are_told_in_thousandths_and_never_in_powers():
    losses = pd.Series([0.772, 0.0137, 0.0025, 0.0017, 0.0041])
    label = measure("train_loss")
    assert exponent(losses, label) == -3
    assert [format_compact(v * 1e3, label) for v in losses] == ["772", "14", "2.5", "1.7", "4.1"]
    assert measure_title("train_loss", -3) == "Training loss (10⁻³ nats)"
    assert exponent(pd.Series([0.5, 0.2, 0.3, 0.4, 0.004]), label) == 0
    assert [format_compact(v, label) for v in (0.0083, -0.0083, 0.00001, 12345.0)] == [
        ".008",
        "−.008",
        "~0",
        "12k",
    ]


def test_no_label_overflows_its_square():
    random = np.random.default_rng(0)
    sizes = [format_compact(v, measure("train_loss")) for v in (999.4e3, 2.5e8, 9.96e8, 1.4e26, -1.4e26)]
    assert sizes == ["999k", "250M", "996M", "1e26", "−1e26"]
    for power in range(-6, 12):
        column = pd.Series(random.uniform(1, 9, 30) * 10.0**power)
        scale = 10.0 ** -exponent(column, measure("hessian_trace"))
        assert max(len(format_compact(v * scale, measure("hessian_trace"))) for v in column) <= 5


def test_a_spread_decides_how_many_decimals_are_told():
    assert with_spread(0.002529, 0.000521, None) == "0.00253 ± 0.00052"
    assert with_spread(12.345, 1.234, None) == "12.3 ± 1.2"


def test_a_cell_whose_models_all_diverged_lacks_no_measure(tmp_path: Path):
    run = synthetic_run(widths=(2, 8), batch_sizes=(4, 16), seeds=3)
    lost = run.models["cell_id"] == run.models["cell_id"].iloc[0]
    run.models.loc[lost, "status"] = "diverged"
    run.pairs = run.pairs[~run.pairs["model_a"].isin(run.models["model_id"][lost])]
    said = text(write(run, tmp_path, images=False))
    assert "1 cell has no model left" in said
    assert "lacks a measure" not in said


def test_one_seed_is_told_that_pairs_need_two_and_counts_are_grammatical(tmp_path: Path):
    run = synthetic_run(widths=(2, 8), batch_sizes=(4, 16), seeds=1)
    run.pairs, run.curves = run.pairs[:0], run.curves[:0]
    page = write(run, tmp_path, images=False)
    said = text(page)
    assert "no cell has a phase; a pair needs two seeds." in said
    assert "4 cells · 4 models · 0 pairs" in " ".join(said.split())
    assert re.search(r"Of (1 claim|[02-9]\d* claims) that", said)
    assert "train another seed: a pair needs two" in page.read_text(encoding="utf-8")


# ---- claims and advice on the page


def test_every_claim_is_on_the_page_with_verdict_interval_and_chart(page: Path):
    html = page.read_text(encoding="utf-8")
    said = text(page)
    assert "Of 9 claims that this run can test" in said
    assert said.count('<article class="card claim"') == 9
    assert "10 claims that this run cannot test" in said
    ids = {f["id"] for f in embedded(html, "data")["figures"]}
    assert {"claim-best-is-connected", "claim-width-connects", "claim-cka-ranks-accuracy"} <= ids
    assert re.search(r'aria-label="Effect [\d.]+, 95 % interval [\d.]+ to [\d.]+, p = [\d.]+ after', said)


def test_a_strip_keeps_the_order_of_its_marks():
    claim = Claim("a", "A.", HOLDS, "", None, effect=2.0, low=1.0, high=4.0, null=0.0, least=0.5, p=0.01)
    strip = facts.interval_strip(claim)
    assert strip is not None
    places = [strip[k] for k in ("null", "least", "low", "effect", "high")]
    assert places == sorted(places)
    assert places[0] > 0
    assert places[-1] < strip["width"]
    assert facts.interval_strip(replace(claim, p=np.nan)) is None


def test_the_page_advises_phases_and_cells(page: Path):
    said = text(page)
    assert "What to change next" in said
    assert "larger model: raise the width" in said
    data = embedded(page.read_text(encoding="utf-8"), "data")
    assert len(data["advice"]) == 40
    assert all(len(a) == 3 for a in data["advice"].values())
    assert any("IV-B" in shares for shares in data["cells"]["phase_shares"])


def test_charts_of_claims_keep_altairs_schema(run: RunTables, monkeypatch: pytest.MonkeyPatch):
    cells = phases.classify(run.grid, cuts := phases.find_cuts(run.grid))
    from explorer.phases.claims import check_claims

    claims = check_claims(cells, cuts, run.axes, models=run.models, pairs=run.pairs, epochs=run.epochs)
    strict = []
    monkeypatch.setattr(figures, "spec", lambda chart, data: strict.append(chart.to_dict()) or {})
    figures.of_claims(with_texts(cells), "width", "batch_size", claims)
    figures.of_any(with_texts(cells))
    assert len(strict) >= 7


# ---- elsewhere


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_an_export_has_a_row_a_model_with_its_phase(run: RunTables, tmp_path: Path, ending: str):
    table, page = export(run, tmp_path / f"all{ending}")
    read = pd.read_csv(table) if ending == ".csv" else pd.read_parquet(table)
    assert len(read) == len(run.models)
    by_cell = read.groupby(["width", "batch_size"])["cell_cka"].first()
    expected = run.cells.set_index(["width", "batch_size"])["cka"]
    np.testing.assert_allclose(by_cell, expected.reindex(by_cell.index))
    summary = page.read_text(encoding="utf-8")
    assert "| IV-B | connected and alike |" in summary
    assert "Connectivity increases with width" in summary


def test_an_export_that_is_broken_off_leaves_the_one_before(
    run: RunTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out.csv"
    export(run, out)
    before = out.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("explorer.runs.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        export(run, out)
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "out.md"]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_only_an_export_of_the_run_is_replaced(run: RunTables, tmp_path: Path, ending: str):
    table, page = export(run, tmp_path / f"all{ending}")
    export(run, table)
    for file, content in ((table, b"width,note\n2,mine\n"), (page, b"# My notes\n"), (table, b"\x00\xff")):
        before = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(InputError, match=rf"{file.name} is there already, and is no export of this run"):
            export(run, table)
        assert file.read_bytes() == content
        file.write_bytes(before)
    other = replace(run, models=run.models.assign(model_id=run.models["model_id"] + "x"))
    with pytest.raises(InputError, match="no export of this run; move or delete it, or give another name"):
        export(other, table)


def test_an_export_of_another_kind_is_refused(run: RunTables, tmp_path: Path):
    with pytest.raises(InputError, match=r"must end in \.csv or \.parquet"):
        export(run, tmp_path / "all.xlsx")


WIDTHS = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128)
BATCHES = (16, 24, 32, 44, 64, 92, 128, 180, 256, 364, 512, 724, 1024)


def test_a_table_of_1690_cells_from_elsewhere_is_a_page_in_seconds(tmp_path: Path):
    random = np.random.default_rng(0)
    rows = []
    for width, batch_size, share in itertools.product(WIDTHS, BATCHES, range(1, 11)):
        room = np.log2(width)
        rows.append(
            {
                "width": width,
                "batch_size": batch_size,
                "train_size": 5000 * share,
                "train_loss": 10 ** (1 - 0.7 * room),
                "mode_connectivity": -max(0.0, 12 - 3 * room) + random.normal(0, 0.3),
                "cka": 1 - 0.5 * np.exp(-0.4 * room) - 0.01 * (10 - share),
                "hessian_trace": 100 / width,
                "test_accuracy_percent": 60 + 4 * room + share + random.normal(0, 0.3),
            }
        )
    pd.DataFrame(rows).to_csv(tmp_path / "cells.csv", index=False)
    started = time.process_time()
    index = write(load(tmp_path), tmp_path / "page")
    assert time.process_time() - started < 40, "a few seconds on most machines"
    said = text(index)
    assert "1690 cells" in said
    assert "No curves: paths are not shown in the details of a cell." in said
    assert "Only means of cells are known: no replicates" in said
    assert "No models" not in said
    assert "diverged or failed." not in said
    assert "The spread between replicates is unknown" in said
    assert '<select data-axis="train_size">' in said or '<select data-axis="batch_size">' in said
    assert "With more data, CKA and accuracy grow." in said


def test_foreign_rows_that_share_a_place_are_refused(tmp_path: Path):
    pd.DataFrame({"width": [2, 2, 4], "train_loss": [0.1, 0.2, 0.3]}).to_csv(
        tmp_path / "cells.csv", index=False
    )
    with pytest.raises(InputError, match="2 rows with the same values of the axes width"):
        load(tmp_path)


def test_models_and_pairs_from_elsewhere_without_seeds_or_cells(tmp_path: Path):
    random = np.random.default_rng(0)
    models, pairs, curves = [], [], []
    for width, batch_size in itertools.product((2, 8, 32), (16, 64)):
        ids = [f"{width}/{batch_size}/{k}" for k in range(3)]
        place = {"width": width, "batch_size": batch_size, "train_loss": 1 / width}
        accuracy = 80 + width / 4 + random.normal(size=3)
        models += [
            {"model_id": i, **place, "test_accuracy_percent": v} for i, v in zip(ids, accuracy, strict=True)
        ]
        for a, b in itertools.combinations(ids, 2):
            pairs.append({"model_a": a, "model_b": b, "mode_connectivity": -8.0 / width, "cka": 0.5})
            curves += [{"model_a": a, "model_b": b, "t": t, "train_error_percent": t} for t in (0, 0.5, 1)]
    pd.DataFrame(models).to_parquet(tmp_path / "models.parquet")
    pd.DataFrame(pairs).to_csv(tmp_path / "pairs.csv", index=False)
    pd.DataFrame(curves).to_csv(tmp_path / "curves.csv", index=False)
    index = write(load(tmp_path), tmp_path / "page", images=False)
    details = embedded(index.read_text(encoding="utf-8"), "details")
    assert len(details) == 6
    assert all(len(d["c"]) == 3 for d in details.values())


def test_cells_from_elsewhere_that_only_a_rare_setting_tells_apart_are_not_averaged(tmp_path: Path):
    rows = [
        {"cell_id": f"{width} {rho} {beta}", "width": width, "rho": rho, "beta": beta, "fixed": 1.0,
         "seed": seed, "score": 0.1 * seed, "test_accuracy_percent": 90 + rho, "eigen": [1.0, 2.0]}
        for width in (2, 4) for rho in (0.1, 0.5) for beta in (1, 2) for seed in (0, 1)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "models.parquet")
    run = load(tmp_path)
    assert run.axes == {"load": ["width", "beta"], "temperature": ["rho"]}
    assert len(run.cells) == 8
    pd.DataFrame(rows).drop(columns="cell_id").to_parquet(tmp_path / "models.parquet")
    assert load(tmp_path).axes == {"load": ["width"], "temperature": []}


# ---- while it runs


def test_a_page_of_a_run_under_way_loads_itself_again(run: RunTables, tmp_path: Path):
    assert '<meta http-equiv="refresh" content="7">' in text(write(run, tmp_path, images=False, refresh_s=7))
    assert "refresh" not in text(write(run, tmp_path, images=False))


def test_details_and_models_of_a_large_run_lie_in_scripts(
    run: RunTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("explorer.report.site.DETAIL_BYTES", 1000)
    index = write(run, tmp_path, images=False)
    data = embedded(index.read_text(encoding="utf-8"), "data")
    script = (tmp_path / data["modelsFile"]).read_text(encoding="utf-8")
    models = json.loads(script.removeprefix("explorerModels(").removesuffix(")"))
    assert sum(len(m["seed"]) for m in models.values()) == len(run.models)


def test_spectra_of_a_cell_come_with_its_details(tmp_path: Path):
    run = synthetic_run(widths=(2, 4), batch_sizes=(8,), seeds=2)
    nodes = [np.array([-0.5, 0.0, 3.0])] * len(run.models)
    run.models["density_nodes"], run.models["density_weights"] = (
        nodes,
        [np.array([0.1, 0.9, 0.0])] * len(run.models),
    )
    html = write(run, tmp_path, images=False).read_text(encoding="utf-8")
    assert "spectra" in {f["id"] for f in embedded(html, "data")["detailFigures"]}
    lines = next(iter(embedded(html, "details").values()))["s"]
    assert lines[0] == [0, [-0.5, 0], [0.1, 0.9]]  # a node without weight is none
    assert charts.spectra(pd.DataFrame({"seed": [0], "eigenvalue": [1.0], "weight": [0.5]})).to_dict()


def test_a_pair_of_two_cells_says_where_its_second_model_is():
    run = synthetic_run(widths=(4, 8), batch_sizes=(8, 16), seeds=3)  # of the first cell one is lost
    here, there = run.cells["cell_id"][run.cells["width"] == 4]
    within = run.pairs.assign(cell_id_b=run.pairs["cell_id"])
    across = within[within["cell_id"] == here].assign(seed_b=0, cell_id_b=there, model_b="other")
    both = replace(run, pairs=pd.concat([within, across], ignore_index=True))
    pairs = json.loads(dict(details(both, run.cells))[here]["pairs"])
    assert pairs["seed_b"] == [2, "0 (batch size 16)"]
    assert dict(details(run, run.cells)) == dict(details(replace(run, pairs=within), run.cells))


def test_details_of_many_cells_are_made_in_parts(monkeypatch: pytest.MonkeyPatch):
    run = synthetic_run(widths=(4, 8), batch_sizes=(8, 16, 32), seeds=3)
    expected = dict(details(run, run.cells))
    monkeypatch.setattr("explorer.report.payload.CELLS_AT_ONCE", 2)
    assert dict(details(run, run.cells)) == expected
