"""What is written: files, sizes, escaping, and pages from runs that lack this or that."""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vl_convert

from explorer import phases
from explorer.report import figures, pictures, write
from explorer.report.files import small_csv
from explorer.report.rows import with_texts
from explorer.results import RunTables, load
from explorer.runs.files import Files, name_file_in_errors
from explorer.settings import InputError
from report.synthetic import synthetic_run

NASTY = "<script>alert(1)</script>"


def embedded(html: str, name: str):
    return json.loads(
        re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.S).group(1)
    )


def text(index: Path) -> str:
    """The page without Vega, the data and the styles."""
    html = index.read_text(encoding="utf-8")
    return re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S)


def test_a_page_of_200_models_takes_at_most_3_mb_in_all(page: Path):
    files = [p for p in page.parent.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 3_000_000
    assert not [p for p in files if p.name.startswith(".")]  # temporary files were renamed
    names = {str(p.relative_to(page.parent)) for p in files}
    pictured = (
        "phase_map",
        "mode_connectivity",
        "test_accuracy_percent",
        "cka",
        "hessian_trace",
        "local_vs_global",
    )
    assert {f"charts/{n}.{e}" for n in pictured for e in ("svg", "png")} <= names
    assert {f"tables/{n}.{e}" for n in ("cells", "models", "pairs") for e in ("parquet", "csv")} <= names


def test_the_downloads_hold_the_tables(page: Path, run: RunTables):
    cells = pd.read_parquet(page.parent / "tables" / "cells.parquet")
    assert len(cells) == 40
    assert set(cells["phase"]) == {"I", "II", "III", "IV-B"}  # CKA has no two groups
    assert len(pd.read_csv(page.parent / "tables" / "models.csv")) == len(run.models)


def test_a_foreign_column_of_mixed_types_can_be_downloaded(run: RunTables, tmp_path: Path):
    models = run.models.assign(note=[1, "two"] * (len(run.models) // 2))
    write(replace(run, models=models), tmp_path, images=False)
    assert pd.read_parquet(tmp_path / "tables" / "models.parquet")["note"].tolist()[:2] == ["1", "two"]


def test_lists_of_numbers_are_downloaded_with_all_digits(run: RunTables, tmp_path: Path):
    values = [np.array([1 / 3, k]) for k in range(len(run.models))]
    write(replace(run, models=run.models.assign(hessian_eigenvalues=values)), tmp_path, images=False)
    models = pd.read_parquet(tmp_path / "tables" / "models.parquet")
    assert models["hessian_eigenvalues"][1].tolist() == [1 / 3, 1.0]


def test_a_csv_file_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch):
    table = pd.DataFrame({"a": [1.5, 2.0, 3.25], "b": ["x", None, "y"]})
    monkeypatch.setattr("explorer.report.files.ROWS_AT_ONCE", 2)
    assert small_csv(table) == table.to_csv(index=False, float_format="%.7g").encode()
    monkeypatch.setattr("explorer.report.files.CSV_BYTES", 10)
    assert small_csv(table) == b""


def test_every_link_on_the_page_leads_to_a_file_or_a_section(page: Path):
    html = text(page)
    for link in re.findall(r'href="([^"]+)"', html):
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in html, link
        else:
            assert (page.parent / link).is_file(), link


def test_the_data_are_embedded_once_and_the_specs_hold_none(page: Path, run: RunTables):
    html = page.read_text(encoding="utf-8")
    data, details = embedded(html, "data"), embedded(html, "details")
    assert len(data["cells"]["cell_id"]) == 40
    assert all(
        "datasets" not in f["spec"] and f["spec"]["data"] == {"name": "cells"} for f in data["figures"]
    )
    assert sum(len(d["models"]["model_id"]) for d in details.values()) == len(run.models)
    assert sum(len(line[2]) for d in details.values() for line in d["c"]) == len(run.curves)
    one = next(iter(details.values()))
    assert one["h"][1][1][-1] == 2500  # the last step of a history


def test_the_page_states_findings_budget_failures_and_how_it_came_to_be(page: Path):
    html = text(page)
    for said in (
        "The best test accuracy",
        "1,000 steps per curve",
        "loss is not finite",
        "Linux, 2 CPUs, 8 GB memory",
        "ray 2.60.0",
        "connectivity:",
        "Spearman correlation over cells",
    ):
        assert said in html, said


def test_text_of_others_is_escaped_everywhere(tmp_path: Path):
    run = synthetic_run(
        widths=(2, 4), batch_sizes=(8, 16), seeds=3, name=NASTY, description=NASTY, error=NASTY
    )
    run.models["cell_id"] = run.models["cell_id"] + NASTY
    run.info["space"]["data"]["name"] = NASTY
    run.info["sessions"][0] |= {
        "started": NASTY,
        "trained": NASTY,
        "stages": {NASTY: 1},
        "workers": {NASTY: 1},
    }
    html = write(run, tmp_path, images=False).read_text(encoding="utf-8")
    assert NASTY not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert all(NASTY in cell for cell in embedded(html, "data")["cells"]["cell_id"])  # whole, once read


def test_an_axis_of_words_may_hold_markup(tmp_path: Path):
    run = synthetic_run(widths=(2, 4), batch_sizes=(8, 16), seeds=2, third={"activation": [NASTY, "relu"]})
    index = write(run, tmp_path)
    assert NASTY not in index.read_text(encoding="utf-8")
    assert NASTY not in (tmp_path / "charts" / "phase_map.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("kept", ["models", "pairs", "curves", "epochs", ""])
def test_a_folder_with_only_some_tables_gets_a_page_that_says_what_is_missing(
    kept: str, run: RunTables, tmp_path: Path
):
    tables = {
        n: getattr(run, n) if n == kept else pd.DataFrame() for n in ("models", "epochs", "pairs", "curves")
    }
    html = text(write(replace(run, **tables, info={}), tmp_path))
    assert ("No models:" in html) == (kept != "models")
    assert ("No pairs:" in html) == (kept != "pairs")
    assert ("Test accuracy (%)" in html) == (kept == "models")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "width;batch_size;train_loss\n2;8;0,5\n",
            "has semicolons between its columns; save it with commas, and numbers with points",
        ),
        (
            "width,train_loss,train_loss\n2,0.5,0.1\n",
            "has several columns 'train_loss'; rename them, or keep one",
        ),
        ("width,train_loss\n2,low\n", "train_loss should hold numbers, not 'low'"),
    ],
)
def test_a_table_from_elsewhere_that_would_be_misread_is_refused(content: str, said: str, tmp_path: Path):
    (tmp_path / "models.csv").write_text(content)
    with pytest.raises(InputError, match=rf"models\.csv.*{said}"):
        load(tmp_path)


def test_a_table_as_other_programs_write_it_is_read(tmp_path: Path):
    (tmp_path / "models.csv").write_text("\ufeffwidth, train_loss\r\n2, 0.5\r\n4, 0.1\r\n", newline="")
    models = load(tmp_path).models
    assert models.to_dict("list") == {"width": [2, 4], "train_loss": [0.5, 0.1]}


@pytest.mark.filterwarnings("error")
def test_a_csv_in_which_nothing_has_failed_gives_a_page_without_warnings(tmp_path: Path):
    models = synthetic_run(widths=(2, 4), batch_sizes=(8,), seeds=2).models
    models.assign(status="ok", error="").to_csv(tmp_path / "models.csv", index=False)
    assert write(load(tmp_path), tmp_path / "page", images=False).exists()


def test_files_are_readable_for_whom_the_user_lets_and_a_full_disk_is_named(tmp_path: Path):
    before = os.umask(0o077)
    try:
        Files(tmp_path).write("page.html", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600
    with (
        pytest.raises(OSError, match=r"No space left on device: '/dev/full'"),
        name_file_in_errors("/dev/full"),
    ):
        Path("/dev/full").write_bytes(b"x")


def test_a_sweep_under_way_shows_cells_that_are_missing(run: RunTables, tmp_path: Path):
    begun = replace(
        run, models=run.models[run.models["width"] < 8], pairs=run.pairs.iloc[:0], curves=run.curves.iloc[:0]
    )
    cells = embedded(write(begun, tmp_path, images=False).read_text(encoding="utf-8"), "data")["cells"]
    assert len(cells["note"]) == 40
    assert cells["note"].count("not run") == 20
    assert "No curves between models have been measured yet" in text(tmp_path / "index.html")


@pytest.mark.parametrize(
    ("axes", "right", "up"),
    [
        ({"load": ["width"], "temperature": []}, "width", None),
        ({"load": [], "temperature": ["width"]}, "width", None),
        ({}, None, None),
    ],
)
def test_runs_with_one_axis_or_none(axes: dict, right: str | None, up: str | None, tmp_path: Path):
    run = replace(synthetic_run(widths=(2, 4, 8), batch_sizes=(8,), seeds=3), axes=axes)
    run.info["space"].update(load={}, temperature={})
    data = embedded(write(run, tmp_path).read_text(encoding="utf-8"), "data")
    assert (data["right"], data["up"]) == (right, up)
    assert bool(data["figures"]) == (right is not None)


def test_a_third_axis_becomes_a_selector_and_every_plane_shares_one_scale(tmp_path: Path):
    run = synthetic_run(widths=(2, 8), batch_sizes=(8, 16), seeds=2, third={"label_noise": [0.0, 0.2, 0.4]})
    index = write(run, tmp_path)
    assert '<select data-axis="label_noise">' in text(index)
    data = embedded(index.read_text(encoding="utf-8"), "data")
    assert data["others"] == ["label_noise"]
    assert len(data["cells"]["cell_id"]) == 12
    mc = next(f["spec"] for f in data["figures"] if f["id"] == "map-mode_connectivity")
    squares = next(
        la for la in mc["layer"] if la["encoding"].get("color", {}).get("field") == "mode_connectivity"
    )
    assert max(squares["encoding"]["color"]["scale"]["domain"]) == pytest.approx(
        max(abs(v) for v in data["cells"]["mode_connectivity"] if v is not None), rel=1e-4
    )


def test_each_cut_comes_from_the_call_or_else_from_the_space(run: RunTables, tmp_path: Path):
    space = {**run.info["space"], "phases": {"connected": 7.5, "cka": None}}
    there = replace(run, info={**run.info, "space": space})
    assert "given by the user" in text(write(there, tmp_path / "a", images=False))
    given = text(write(there, tmp_path / "b", cuts={"cka": 0.777}, images=False))
    assert "0.777" in given
    assert "7.5" in re.search(r'class="cuts">.*?</table>', given, re.S).group(0)
    with pytest.raises(InputError, match="unknown cut 'conected'"):
        write(run, tmp_path / "c", cuts={"conected": 1})
    assert not (tmp_path / "c").exists()


def test_details_that_are_too_large_for_the_page_lie_beside_it(
    run: RunTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("explorer.report.site.DETAIL_BYTES", 1000)
    index = write(run, tmp_path, images=False)
    html = index.read_text(encoding="utf-8")
    files = embedded(html, "data")["files"]
    assert len(files) == 40
    assert embedded(html, "details") == {}
    cell, file = next(iter(files.items()))
    assert (tmp_path / file).read_text(encoding="utf-8").startswith(f'explorerDetails("{cell}",{{"models"')


def test_a_large_run_has_few_files(run: RunTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("explorer.report.site.DETAIL_BYTES", 1000)
    monkeypatch.setattr("explorer.report.files.SCRIPT_BYTES", 50_000)
    monkeypatch.setattr("explorer.report.site.PICTURED_CELLS", 39)
    html = write(run, tmp_path).read_text(encoding="utf-8")
    files = embedded(html, "data")["files"]
    assert len(files) == 40 > 3 * len(set(files.values()))
    for cell, file in files.items():
        assert f'explorerDetails("{cell}",' in (tmp_path / file).read_text(encoding="utf-8")
    assert not (tmp_path / "charts").exists()
    assert "menu of each chart saves it" in html


def test_writing_again_replaces_the_page(run: RunTables, tmp_path: Path):
    first = write(run, tmp_path, images=False).read_text(encoding="utf-8")
    second = write(replace(run, name="renamed"), tmp_path, images=False).read_text(encoding="utf-8")
    assert "<h1>renamed</h1>" in second
    assert "<h1>renamed</h1>" not in first


def test_every_spec_on_the_page_keeps_altairs_schema(run: RunTables, monkeypatch: pytest.MonkeyPatch):
    """``write`` leaves the check out for speed; here each chart is built and written with it."""
    cells = phases.cells(run.models, run.pairs, run.axes)
    rows = with_texts(phases.classify(cells, phases.find_cuts(cells)))
    checked = []

    def strict(chart, data):
        checked.append(chart.to_dict())
        return {}

    monkeypatch.setattr(figures, "spec", strict)
    figures.of_cells(rows, "width", "batch_size")
    figures.of_one_cell(run)
    assert len(checked) == 27


def chunks(png: bytes) -> dict[bytes, bytes]:
    """The chunks of a PNG by kind, those of one kind joined, each checked against its checksum."""
    found: dict[bytes, bytes] = {}
    at = 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        found[kind] = found.get(kind, b"") + body
        at += 12 + size
    return found


def test_a_repacked_png_has_the_same_pixels():
    circle = '<circle cx="9" cy="9" r="7" fill="red"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="400" height="200">{circle}</svg>'
    png = vl_convert.svg_to_png(svg, scale=2)
    small = pictures.repacked(png)
    assert len(small) < len(png)
    before, after = chunks(png), chunks(small)
    assert zlib.decompress(before.pop(b"IDAT")) == zlib.decompress(after.pop(b"IDAT"))
    assert before == after
    assert small[:8] == png[:8]
