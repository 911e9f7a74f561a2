"""The charts by their encodings, never by pixels; Altair's schema checks each of them in ``to_dict``."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
import vl_convert

import explorer.measures
from explorer import phases
from explorer.measures import ensemble
from explorer.measures.tables import (
    AVERAGED_MODELS,
    AVERAGED_PAIRS,
    EVERY,
    columns_on_pages,
    columns_with_maps,
)
from explorer.report import charts, theme, write
from explorer.report.labels import AXES, axis_title, measure, measure_title
from explorer.report.rows import plane, values, with_missing_points, with_texts
from explorer.results import RunTables
from explorer.settings import plugin
from report.synthetic import synthetic_run


@pytest.fixture(scope="module")
def cells(run: RunTables) -> pd.DataFrame:
    table = phases.cells(run.models, run.pairs, run.axes)
    return phases.classify(table, phases.find_cuts(table))


def layers(chart) -> list[dict]:
    return chart.to_dict()["layer"]


def layer_with(chart, channel: str, field: str) -> dict:
    return next(la for la in layers(chart) if la["encoding"].get(channel, {}).get("field") == field)


def test_the_phase_map_colours_and_labels_every_phase_and_tells_all_numbers(cells):
    chart = charts.phase_map(cells, "width", "batch_size")
    squares = layer_with(chart, "color", "phase")
    assert squares["encoding"]["color"]["scale"] == {
        "domain": ["I", "II", "III", "IV-A", "IV-B"],
        "range": list(theme.PHASE_COLOURS.values()),
    }
    assert squares["encoding"]["x"]["title"] == "Width (small = high load)"
    assert squares["encoding"]["y"]["title"] == "Batch size (small = hot)"
    assert squares["encoding"]["y"]["sort"] == [4, 8, 16, 32, 64]  # hot on top
    told = {t["field"] for t in squares["encoding"]["tooltip"]}
    assert {f"{m}_text" for m in columns_on_pages() if m in cells} | {
        "phase",
        "near_cut",
        "n_models",
        "n_pairs",
    } <= told
    label = layer_with(chart, "text", "phase")
    assert label["mark"]["type"] == "text"
    ring = next(la for la in layers(chart) if la["mark"].get("shape") == "circle")
    assert ring["transform"] == [{"filter": "datum.phase !== '' && !isValid(datum.phase_probability)"}]


def test_a_cell_with_unconverged_curves_has_a_triangle_and_says_how_many_converged(cells):
    some = cells.assign(n_curves=10, curves_converged_share=[0.3, *[1.0] * (len(cells) - 1)])
    chart = charts.phase_map(some, "width", "batch_size")
    mark = next(la for la in layers(chart) if la["mark"].get("shape") == "triangle-up")
    assert {"field": "curves_text", "title": "Curves converged"} in mark["encoding"]["tooltip"]
    assert with_texts(some)["curves_text"].tolist() == ["3 of 10", *["10 of 10"] * (len(cells) - 1)]
    assert with_texts(some.drop(columns="n_curves"))["curves_text"].iloc[0] == "30 %"
    assert set(with_texts(some.drop(columns="curves_converged_share"))["curves_text"]) == {""}
    drawn = (
        vl_convert.vegalite_to_svg(chart.to_dict()),
        vl_convert.vegalite_to_svg(
            charts.phase_map(cells.assign(curves_converged_share=1.0), "width", "batch_size").to_dict()
        ),
    )
    assert drawn[0].count("Curves converged: 3 of 10") > 0
    assert drawn[0].count("<path") == drawn[1].count("<path") + 1


def test_mode_connectivity_diverges_from_zero_and_losses_are_on_a_log_scale(cells):
    mc = layer_with(
        charts.heat_map(cells, "mode_connectivity", "width", "batch_size"), "color", "mode_connectivity"
    )
    domain = mc["encoding"]["color"]["scale"]["domain"]
    assert domain[len(domain) // 2] == 0
    assert domain[0] == -domain[-1] == -cells["mode_connectivity"].abs().max()
    loss = layer_with(charts.heat_map(cells, "train_loss", "width", "batch_size"), "color", "train_loss")
    assert loss["encoding"]["color"]["scale"]["type"] == "log"
    zero = cells.assign(train_loss=0.0)
    flat = layer_with(charts.heat_map(zero, "train_loss", "width", "batch_size"), "color", "train_loss")
    assert "type" not in flat["encoding"]["color"]["scale"]


def test_a_negative_trace_is_drawn_among_others_on_the_log_scale(cells):
    places = cells.assign(hessian_trace=np.linspace(-0.02, 40, len(cells)))
    chart = charts.heat_map(places, "hessian_trace", "width", "batch_size")
    assert layer_with(chart, "color", "shade")["encoding"]["color"]["scale"]["type"] == "log"
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    drawn = with_texts(places)["hessian_trace_label"]
    assert set(drawn) <= set(re.findall(r">([^<>]+)</text>", svg))
    dots = charts.scatter(places, "cka", "test_accuracy_percent", "hessian_trace")
    assert layer_with(dots, "color", "shade")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1.7e-3, 0.77, ["10", "100"]),  # in thousandths
        (0.12, 6.0, ["0.2", "0.5", "1", "2", "5"]),
        (0.15, 1.4e26, ["1", "10M", "1e+14", "1e+21"]),
    ],
)
def test_a_legend_has_few_numbers_and_short_ones(cells, low, high, ticks):
    places = cells.assign(train_loss=np.geomspace(low, high, len(cells)))
    chart = charts.heat_map(places, "train_loss", "width", "batch_size")
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    legend = svg.split("role-legend")[-1]
    assert re.findall(r">([^<>]+)</text>", legend)[: len(ticks)] == ticks


def test_the_ends_of_a_legend_are_short_too(cells):
    places = cells.assign(test_accuracy_percent=np.linspace(46.2987, 93.3921, len(cells)))
    svg = vl_convert.vegalite_to_svg(
        charts.heat_map(places, "test_accuracy_percent", "width", "batch_size").to_dict()
    )
    told = re.findall(r">([^<>]+)</text>", svg.split("role-legend")[-1])[:2]
    assert max(map(len, told)) <= 4, told


def test_a_log_axis_of_a_short_range_has_more_than_one_number(cells):
    places = cells.assign(hessian_trace=np.geomspace(4.1, 19, len(cells)))
    chart = charts.scatter(places, "hessian_trace", "mode_connectivity", "phase")
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    assert {"5", "10"} <= set(re.findall(r">([^<>]+)</text>", svg))
    assert "1" not in re.findall(r">([^<>]+)</text>", svg)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ((8, 32), ["8", "32"]),
        ((100, 1000, 20000), ["100", "1000", "20000"]),
        ((0.5, 1.0, 2.0), ["0.5", "1", "2"]),
    ],
)
def test_an_axis_tells_its_values_as_they_are(steps, told):
    rows = pd.DataFrame({"cell_id": list("abc")[: len(steps)], "width": steps, "cka": 0.5, "n_models": 3})
    svg = vl_convert.vegalite_to_svg(charts.slices(rows, "cka", "width").to_dict())
    assert re.findall(r">([^<>]+)</text>", svg)[: len(steps)] == told


def test_settings_of_many_digits_stay_in_order_and_are_told_short(tmp_path):
    rates = np.geomspace(0.001, 0.3, 6).tolist()
    run = synthetic_run(widths=(2, 8), batch_sizes=(4,), third={"learning_rate": rates}, seeds=3)
    html = write(run, tmp_path).read_text(encoding="utf-8")
    rows = json.loads(re.findall(r'id="data">(.*?)</script>', html)[0])
    (rate,) = [a for a in rows["axes"] if a["name"] == "learning_rate"]
    assert sorted(set(rows["cells"]["learning_rate"])) == rate["values"] == [float(f"{r:.6g}") for r in rates]
    chart = charts.heat_map(
        pd.DataFrame({"cell_id": list("abcdef"), "learning_rate": rates, "cka": 0.5, "n_models": 3}),
        "cka",
        "learning_rate",
    )
    told = re.findall(r">([^<>]+)</text>", vl_convert.vegalite_to_svg(chart.to_dict()))
    places = [told.index(t) for t in ("0.001", "0.00313", "0.00979", "0.0306", "0.0959", "0.3")]
    assert places == sorted(places)
    details = json.loads(re.findall(r'id="details">(.*?)</script>', html)[0])
    assert set(details) == set(rows["cells"]["cell_id"])


def test_a_difference_and_its_legend_are_in_the_same_units(cells):
    rows = cells.assign(difference=np.linspace(-2e-3, 2e-3, len(cells)))
    chart = charts.difference_map(rows, "train_loss", "width", "batch_size", power=-3)
    legend = vl_convert.vegalite_to_svg(chart.to_dict()).split("role-legend")[-1]
    assert re.findall(r">([^<>]+)</text>", legend)[:5] == ["−2", "−1", "0", "1", "2"]


def test_a_loss_of_zero_does_not_break_a_history():
    points = pd.DataFrame({"step": [0, 10, 20], "seed": [0, 0, 0], "train_loss": [2.0, 0.5, 0.0]})
    (line,) = layers(charts.histories(points))
    assert line["transform"] == [{"filter": "datum['train_loss'] > 0"}]


def test_learning_rates_count_downwards_so_that_hot_is_on_top():
    cells = pd.DataFrame(
        {
            "cell_id": ["a", "b"],
            "width": [4, 4],
            "learning_rate": [0.01, 0.1],
            "n_models": [1, 1],
            "cka": [0.1, 0.2],
        }
    )
    chart = charts.heat_map(cells, "cka", "width", "learning_rate")
    assert layer_with(chart, "color", "cka")["encoding"]["y"]["sort"] == [0.1, 0.01]


def test_charts_of_cells_share_their_marks_by_parameter(cells):
    for chart in (
        charts.phase_map(cells, "width", "batch_size"),
        charts.heat_map(cells, "cka", "width", "batch_size"),
        charts.scatter(cells, "cka", "test_accuracy_percent", "phase", "width", "batch_size"),
        charts.slices(cells, "cka", "width", "batch_size"),
    ):
        spec = chart.to_dict()
        assert [p["name"] for p in spec["params"]] == ["marked", "chosen"]
        assert any("datum.cell_id === chosen" in str(la.get("transform")) for la in spec["layer"])


def test_slices_draw_a_line_a_temperature_on_a_log_axis_with_spread(cells):
    chart = charts.slices(cells, "test_accuracy_percent", "width", "batch_size")
    line = next(la for la in layers(chart) if la["mark"]["type"] == "line")
    assert line["encoding"]["x"]["scale"]["type"] == "log"
    assert line["encoding"]["color"]["scale"]["domain"] == [4, 8, 16, 32, 64]
    bars = next(la for la in layers(chart) if la["mark"]["type"] == "rule")
    made = {t["as"]: t["calculate"] for t in bars["transform"] if "as" in t}
    assert made == {
        "low": "datum['test_accuracy_percent'] - datum['test_accuracy_percent_std']",
        "high": "datum['test_accuracy_percent'] + datum['test_accuracy_percent_std']",
    }


def test_curves_show_every_pair_thin_and_their_mean_bold():
    points = pd.DataFrame({"t": [0.0, 1.0], "path": "bezier", "pair": "0 – 1", "train_loss": [0.1, 0.2]})
    thin, mean = layers(charts.curves(points, "train_loss"))
    assert thin["encoding"]["detail"]["field"] == "pair"
    assert mean["encoding"]["y"]["aggregate"] == "mean"
    assert mean["mark"]["strokeWidth"] > thin["mark"]["strokeWidth"]
    assert mean["encoding"]["color"]["scale"]["domain"] == ["bezier", "linear"]


def test_a_column_name_with_a_dot_is_a_name_not_a_path(cells):
    dotted = cells.rename(columns={"width": "model.width"})
    spec = layer_with(charts.heat_map(dotted, "cka", "model.width", "batch_size"), "color", "cka")
    assert spec["encoding"]["x"]["field"] == "model\\.width"


def test_two_cells_on_one_place_are_refused():
    run = synthetic_run(widths=(4, 8), batch_sizes=(8,), seeds=2, third={"label_noise": [0.0, 0.2]})
    cells = phases.cells(run.models, run.pairs, run.axes)
    with pytest.raises(
        ValueError, match="several cells share a position on the plane of width and batch_size"
    ):
        charts.heat_map(cells, "cka", "width", "batch_size")


# ---- rows


def test_points_of_the_grid_that_were_not_run_are_rows_too(cells, run):
    partial = cells[cells["width"] < 64].drop(index=3)
    full = with_texts(with_missing_points(partial, run.axes, run.info["space"]))
    assert len(full) == 40
    notes = full.set_index("cell_id")["note"]
    assert (notes == "not run").sum() == 40 - len(partial)
    assert set(full.loc[full["note"] == "not run", "width"]) >= {64}
    lost = cells.drop(columns=list(columns_on_pages()), errors="ignore").assign(
        n_models=0, n_pairs=0, n_diverged=5
    )
    assert set(with_texts(lost)["note"]) == {"no model left"}


def test_a_scattered_search_is_not_blown_up_to_a_grid():
    scattered = pd.DataFrame(
        {
            "cell_id": [str(i) for i in range(200)],
            "width": np.arange(200),
            "learning_rate": np.linspace(0.1, 1, 200),
            "n_models": 1,
        }
    )
    axes = {"load": ["width"], "temperature": ["learning_rate"]}
    assert len(with_missing_points(scattered, axes, {})) == 200


def test_numbers_come_with_their_spread_as_text():
    rows = with_texts(
        pd.DataFrame(
            {
                "cell_id": ["a", "b"],
                "n_models": [5, 1],
                "test_accuracy_percent": [93.14, 90.0],
                "test_accuracy_percent_std": [0.43, np.nan],
            }
        )
    )
    assert rows["test_accuracy_percent_text"].tolist() == ["93.1 ± 0.4", "90.0"]
    assert rows["test_accuracy_percent_label"].tolist() == ["93.1", "90.0"]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({"load": ["width"], "temperature": ["batch_size"]}, ("width", "batch_size", [])),
        ({"load": ["width"], "temperature": []}, ("width", None, [])),
        ({"load": [], "temperature": ["batch_size"]}, ("batch_size", None, [])),
        ({"load": ["width", "label_noise"], "temperature": []}, ("width", "label_noise", [])),
        ({"load": ["width", "label_noise"], "temperature": ["a", "b"]}, ("width", "a", ["label_noise", "b"])),
        ({}, (None, None, [])),
    ],
)
def test_which_axes_make_the_plane(axes, expected):
    assert plane(axes) == expected


def test_values_of_an_axis_are_sorted_as_numbers_and_kept_as_words():
    assert values(pd.DataFrame({"a": [8, 2, 16, 2]}), "a") == [2, 8, 16]
    assert values(pd.DataFrame({"a": ["relu", "gelu", "relu"]}), "a") == ["relu", "gelu"]


# ---- words and colours


def test_every_averaged_measure_has_a_title_of_its_own():
    of_cells = {*ensemble.COLUMNS, "generalization_gap"} - {"ensemble_models"}
    assert {*AVERAGED_MODELS, *AVERAGED_PAIRS, *of_cells} == set(columns_on_pages())
    assert len({measure(name).title for name in columns_on_pages()}) == len(columns_on_pages())
    assert all(EVERY[name].caption for name in columns_on_pages())


def test_what_is_measured_has_a_map():
    found = {n: set(plugin(explorer.measures, n, "measure").COLUMNS) for n in explorer.measures.NAMES}
    unseen = [name for name, columns in found.items() if not columns & set(columns_with_maps())]
    assert unseen == ["density"]  # a line a model, beside its cell
    assert set(columns_with_maps()) <= set(columns_on_pages())


def test_titles_of_unknown_names_are_made_from_the_name():
    assert axis_title("weight_of_prior") == "Weight of prior"
    assert measure_title("train_loss") == "Training loss (nats)"
    assert all(a.title for a in AXES.values())


def luminance(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    light = sorted((float(luminance(c) @ weights) for c in (a, b)), reverse=True)
    return (light[0] + 0.05) / (light[1] + 0.05)


def test_labels_on_phases_have_aa_contrast():
    for phase, colour in theme.PHASE_COLOURS.items():
        assert contrast(colour, theme.PHASE_INKS[phase]) >= 4.5, phase


# Machado, Oliveira and Fernandes (2009), severity 1, linear RGB
BLINDNESS = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "grey": [[0.2126, 0.7152, 0.0722]] * 3,
}


def lab(colour: str, seen: str) -> np.ndarray:
    rgb = np.clip(np.array(BLINDNESS[seen]) @ luminance(colour), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 1e-6))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(
    ("seen", "least"), [("none", 25), ("protan", 15), ("deutan", 15), ("tritan", 15), ("grey", 3)]
)
def test_phases_stay_apart_for_the_colour_blind_and_in_print(seen, least):
    for a, b in itertools.combinations(theme.PHASE_COLOURS.values(), 2):
        assert np.linalg.norm(lab(a, seen) - lab(b, seen)) >= least, (a, b)
