"""Prints the pages about benchmarks from the raw results.

    python benchmarks/print_readme.py            # benchmarks/README.md
    python benchmarks/print_readme.py --table    # the table in README.md
    python benchmarks/print_readme.py --write    # puts both into their files

A benchmark that has no results yet is left out.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(?<=<!-- benchmarks -->\n).*?(?=<!-- /benchmarks -->)", flags=re.S)  # of README.md


def _counted(n: int, one: str, more: str = "") -> str:
    return f"{n:,} {one if n == 1 else more or one + 's'}"


def hessian(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['network']} of width {r['width']}: at an equal measured error {r['coarse_1_times_faster']:.1f}× for one model, "
        f"{r['coarse_5_times_faster']:.1f}× for five; at the default 2 % of trace error {r['ours_1_times_faster']:.1f}× and "
        f"{r['ours_5_times_faster']:.1f}× (error {100 * r['ours_trace_rms_error']:.1f} % against "
        f"{100 * r['plain_trace_rms_error']:.0f} %)"
        for r in d["rows"]
    ]


def curves(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['network']} of width {r['width']}: {r['times_faster']:.1f}×, loss {r['loss_ratio']:.3f} of the plain fits'"
        for r in d["rows"]
    ]


def together(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['network']} of width {r['width']}, {_counted(r['inputs'], 'input')}: {r['times_faster']:.2f}×"
        for r in d["rows"]
    ]


def _promised(rate: dict[str, Any]) -> str:
    free = (rate["low"], rate["high"]) == (0.0, 1.0)
    return "no promise" if free else f"promised {rate['low']:g} to {rate['high']:g}"


def truth(d: dict[str, Any]) -> list[str]:
    return [f"{r['says']}: {r['rate']:.3f}, {_promised(r)} (n = {r['worlds']:,})" for r in d["rows"]]


def cka(d: dict[str, Any]) -> list[str]:
    return [f"{r['network']} of width {r['width']}: {r['times_faster']:.0f}×" for r in d["rows"]]


def memory(d: dict[str, Any]) -> list[str]:
    return [
        f"{_counted(r['inputs'], 'input')}: peak {r['rise_mb']:.0f} MB above the start" for r in d["rows"]
    ]


def card(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['what']} on {r['share_gb']:.0f} GiB of one {r['card']}: {r['times_faster']:.1f}×, peak {r['peak_of_share']:.0%} "
        f"of the share, results within {r['largest_relative_difference']:.0e}"
        for r in d["rows"]
    ]


def steps(d: dict[str, Any]) -> list[str]:
    lines = []
    for case in d["cases"]:
        ms = case["ms_per_model_and_step"]
        line = f"{case['name']} {case['options']}: {case['explorer_over_plain']:.2f} of the plain loop's time"
        if "DataLoader" in ms:
            stacked = min(v for k, v in ms.items() if "5 replicates" in k)
            line += (
                f"; a DataLoader loop takes {ms['DataLoader'] / ms['explorer']:.1f}× of it for one model, "
                f"{ms['DataLoader'] / stacked:.1f}× for five in a stack"
            )
        lines.append(line)
    return lines


def mlp(d: dict[str, Any]) -> list[str]:
    return [
        f"width {r['width']}, batch {r['batch_size']}, {_counted(r['replicates'], 'replicate')}: {r['ratio']:.2f}×"
        for r in d["cases"]
    ]


def cnn(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['inputs']}, width {r['width']}, {r['what']} of {_counted(r['models'], 'model')}, batch {r['batch_size']}: "
        f"{r['times_faster']:.1f}× ({r['us']['stacked']:,.0f} µs; vmap {r['us']['vmap']:,.0f}, "
        f"one by one {r['us']['loop']:,.0f})"
        for r in d["rows"]
    ]


def sequences(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['network']} of width {r['options']['width']}, batch {r['batch_size']}, {_counted(r['replicates'], 'replicate')}: "
        f"{r['times_faster']:.1f}× ({r['ms']['stacked']:.1f} ms a step of all; "
        f"vmap {r['ms']['vmap']:.1f}, one by one {r['ms']['one by one']:.1f})"
        for r in d["rows"]
    ]


def aligned(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['network']} of width {r['width']}, {_counted(r['pairs'], 'pair')}: "
        + "; ".join(
            f"{way}: loss barrier {mean['loss_barrier']:.2f}, distance {mean['distance']:.1f}"
            for way, mean in r["means"].items()
        )
        for r in d["rows"]
    ]


def many(d: dict[str, Any]) -> list[str]:
    resume = statistics.median(r["wall_s"] for r in d["resume"])
    status = statistics.median(r["wall_s"] for r in d["status"])
    return [f"resume {resume:.1f} s, status {status:.1f} s, peak memory {d['children_peak_mb']:.0f} MB"]


def usual(d: dict[str, Any]) -> list[str]:
    ratios, share = d["ratios"], d["cells_of_the_usual_way"] / d["cells"]
    scaled = (
        ""
        if share == 1
        else f", scaled up from {d['cells_of_the_usual_way']} of the {_counted(d['cells'], 'cell')}"
    )
    return [
        f"{d['times_faster']:.1f}× ({min(ratios):.1f} to {max(ratios):.1f}, n = {d['n']}): {_seconds(d)}{scaled}; "
        f"{_counted(d['models'], 'model')}, {_counted(d['pairs'], 'pair')}, {_counted(d['processes'], 'process', 'processes')} at a time",
        *(f"{r['quantity']}: {_number(r['usual'])} in the usual way, {_number(r['explorer'])} here; {_apart(r)}"
          for r in d["agreement"]),
    ]  # fmt: skip


def _seconds(d: dict[str, Any]) -> str:
    theirs = statistics.median(run["whole_job_s"] for run in d["usual"])
    return f"{theirs:,.0f} s in the usual way, {statistics.median(d['explorer_s']):.0f} s here"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 10 else f"{value:,.1f}"


def _apart(r: dict[str, Any]) -> str:
    scale, unit = (100, " %") if r["compared_by"] == "log" else (1, "")
    error = f" ± {_number(scale * r['stderr'])}" if r["stderr"] is not None else ""
    return f"apart by {_number(scale * r['difference'])}{error}{unit} (mean of {_counted(r['cells'], 'cell')} ± standard error)"


def stacked(d: dict[str, Any]) -> list[str]:
    return [
        f"batch {r['batch_size']}, {_counted(r['replicates'], 'replicate')}: {r['times_faster']:.1f}× "
        f"({r['least']:.1f} to {r['greatest']:.1f}, n = {r['n']})"
        for r in d["rows"]
    ]


def side_by_side(d: dict[str, Any]) -> list[str]:
    (rows,) = d["rows"]
    lines = [
        f"{r['space']} at width {r['width']}: {r['times_faster']:.1f}× ({r['least']:.1f} to {r['greatest']:.1f}, n = {r['n']}), "
        f"in {_counted(r['stacks'], 'stack')} instead of {r['stacks_apart']}"
        for r in rows["spaces"]
    ]
    for r in rows["sizes"]:
        by_models = ", ".join(f"{models}: {us:.0f}" for models, us in r["us"].items())
        lines.append(
            f"{r['parameters']:,} parameters, µs of a step and model by the models side by side: {by_models}"
        )
    return lines


def start_up(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['what']}: {r['median_s']:.2f} s ({r['least_s']:.2f} to {r['greatest_s']:.2f}, n = {r['n']}; processor {r['cpu_s']:.2f} s); "
        f"imports {', '.join(r['imported']) or 'nothing heavy'}"
        for r in d["rows"]
    ]


def chaos(d: dict[str, Any]) -> list[str]:
    victims = ", ".join(f"{number} × {kind}" for kind, number in sorted(d["victims"].items()))
    bad = {name: sum(len(run[name]) for run in d["runs"]) for name in ("differ", "trained_again", "left")}
    note = f" ({d['note']})" if "note" in d else f"; {d['times_as_long']:.2f}× the undisturbed time (median)"
    return [
        f"{_counted(len(d['runs']), 'run')} with {_counted(d['kills'], 'kill')} in all ({victims}): tables that "
        f"differ {bad['differ']}, models trained twice {bad['trained_again']}, processes left {bad['left']}{note}"
    ]


def before(d: dict[str, Any]) -> list[str]:
    return [
        f"digits: {d['now_s']:.1f} s, and {d['before_s']:.1f} s at {d['commit'][:7]} (medians, n = {d['n']}): "
        f"{d['times_as_long']:.2f}× as long"
    ]


def scaling(d: dict[str, Any]) -> list[str]:
    two, shares, long = d["scaling"], d["share_of_digits"], d["share_of_long_trials"]
    return [
        f"two workers against one: training {two['training_times']:.2f}×, measuring {two['measuring_times']:.2f}×",
        *(
            f"Ray's share of the digits run, {_counted(s['workers'], 'worker')}: {100 * s['share']:.0f} % "
            f"({100 * s['share_of_alone']:.0f} % against one process alone)"
            for s in shares
        ),
        f"with trials of {long['seconds_a_trial']:.0f} s: {100 * long['share']:.1f} %; workers are idle for "
        f"{100 * long['share_idle']:.1f} % of the time",
    ]


def large_report(d: dict[str, Any]) -> list[str]:
    return [
        f"report on {d['cells']:,} cells of {d['models']:,} models: {d['processor_s']:.0f} s of processor time, {d['peak_mb']:.0f} MB; "
        f"page {d['page_mb']:.1f} MB, with all files {d['folder_mb']:.0f} MB"
    ]


def trials(d: dict[str, Any]) -> list[str]:
    memory = ", ".join(f"{mb:.0f} MB after {n:,}" for mb, n in zip(d["memory_mb"], d["at"], strict=True))
    return [
        f"{d['trials']:,} trials of a training of one step: {d['driver_ms_a_trial']:.1f} ms of the driver's "
        f"processor time a trial, {d['wall_ms_a_trial']:.1f} ms on the clock; memory of the driver {memory}"
    ]


def growth(d: dict[str, Any]) -> list[str]:
    return [
        f"{_counted(r['models'], 'model')}, {_counted(r['pairs'], 'pair')}: {r['ms_a_model']:.1f} ms a model, {r['ms_a_pair']:.1f} ms a pair, "
        f"peak memory of the driver {r['driver_mb']:.0f} MB, of a worker {r['worker_mb']:.0f} MB, run folder {r['disk_mb']:.0f} MB"
        for r in d["rows"]
    ]


def gpu(d: dict[str, Any]) -> list[str]:
    """A line for each section that has ended."""
    lines = [f"{d['card']['card']}, driver {d['card']['driver']}, CUDA {d['card']['cuda']}"]
    lines += [
        f"{r['network']} of width {r['width']}, {_counted(r['models'], 'model')}, batch {r['batch']}, {r['precision']}, "
        f"{r['way']}, on {r['device']}: {r['steps_per_s']:,.0f} steps/s, {r['images_per_s']:,.0f} inputs/s"
        for device in ("cuda", "cpu")
        for r in (d.get(f"steps on {device}") or [])
        if isinstance(r, dict)
    ]
    return lines + [
        f"{name}: {json.dumps(found)}"
        for name, found in d.items()
        if name.split()[0] in ("placement", "bits", "tf32", "measures", "sharing", "memory")
    ]


def diagnosers(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['question'].replace('_', ' ')}, {asked}: right in {100 * r['accuracy' + way]:.0f} % of the cells of runs of other data "
        f"and architectures, the commonest answer in {100 * r['commonest']:.0f} %"
        + (
            f" (at least ten points more in {r['clearly_better' + way]} of {len(r['runs'])} runs); calibration error "
            f"{r['calibration_error' + way]:.3f} (true probabilities would have {r['calibration_error_by_chance' + way]:.3f}); in a "
            f"single run, {100 * r['distance_in_a_run' + way]:.0f} points between the mean probability and the share of right answers"
            if r["accuracy" + way] >= r["enough"]
            else ", so no answer is given"
        )
        for r in d["questions"]
        for way, asked in (("", "with the table of a run"), ("_alone", "for a cell alone"))
    ] + [
        f"{r['question'].replace('_', ' ')}, fitted on one run without noisy labels and asked about the same grid with 20 %: right in "
        f"{100 * r['noisier_right']:.0f} %, with a mean probability of {100 * r['noisier_probability']:.0f} %"
        for r in d["questions"]
    ]


def refined(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['cells']} of {r['of']} cells run: {100 * r['right']:.1f} % of the phases of the whole grid ({100 * r['expected']:.1f} % "
        f"expected); as many at random {100 * r['random']:.1f} %, an evenly coarser grid {100 * r['coarser']:.1f} %"
        for r in d["rows"]
    ]


QUESTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "usual_way_digits": ("The whole digits job, command to page: faster than in the usual way?", usual),
    "usual_way_fashion": ("The whole Fashion-MNIST job: faster than in the usual way?", usual),
    "usual_way_small_cnn": ("A job of small convolutional networks: faster than in the usual way?", usual),
    "stacked": ("Stacked MLPs: faster than the plainest loop over one after the other?", stacked),
    "landscape_hessian": ("Hessian: faster than power iteration and Hutchinson?", hessian),
    "landscape_together": ("Hessians of five models together: no slower than one after the other?", together),
    "landscape_curves": ("Ten curves in one stack: faster than ten plain fits of the same steps?", curves),
    "landscape_cka": ("CKA of all pairs of five models: faster than pair by pair with Gram matrices?", cka),
    "alignment_transformers": (
        "Does alignment bring Transformers of other seeds nearer, and lower the line between?",
        aligned,
    ),
    "landscape_memory": ("Does a Hessian's memory grow with the training set?", memory),
    "gpu": ("A GPU: is all in its place, are bits the same twice, and how fast is it?", gpu),
    "card_memory": ("Chunks sized by the share of a GPU: faster than those of a processor, within it?", card),
    "step_time": ("Does a training step cost more than in the plainest loop?", steps),
    "mlp_step": ("The MLP's hand-written gradient: faster than automatic differentiation?", mlp),
    "cnn_step": ("Stacks of small convolutional networks: faster than vmap and than one by one?", cnn),
    "sequence_step": ("Transformers, GPTs and PINNs in a stack: faster than one after the other?", sequences),
    "side_by_side": (
        "Cells side by side, large models one by one: faster than a stack a cell?",
        side_by_side,
    ),
    "start_up": ("How long until a command answers?", start_up),
    "many_models": ("10,000 finished models: how long until it is clear what is missing?", many),
    "refined": ("The map of 30 % of the cells: that of the whole grid?", refined),
    "growth": ("Do time, memory and disk stay flat up to 20,000 models and 100,000 pairs?", growth),
    "scaling": ("How much faster are two workers than one, and how much of the time does Ray take?", scaling),
    "before": ("The digits job, command to page: as fast as at an earlier commit?", before),
    "chaos": (
        "Runs under random kills among all processes: is anything lost, done twice, or left behind?",
        chaos,
    ),
    "trials": ("What does a trial cost the driver, and does its memory stay flat?", trials),
    "large_report": ("What do the pages of a run of 5,000 cells cost?", large_report),
    "truth": ("Do conclusions keep the rates that they promise, in worlds whose truth is known?", truth),
    "fit_diagnoser": (
        "Do diagnosers answer for data sets and architectures that they have not seen?",
        diagnosers,
    ),
}


# Scripts that answer several questions.
COMMANDS = {
    "usual_way_digits": "python benchmarks/usual_way.py benchmarks/digits.yaml",
    "usual_way_fashion": "python benchmarks/usual_way.py spaces/fashion.yaml",
    "usual_way_small_cnn": "python benchmarks/usual_way.py benchmarks/small_cnn.yaml",
}


def _times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def job(d: dict[str, Any]) -> str:
    return f"{_times(d['times_faster'])} ({_seconds(d)})"


def at_batch(replicates: int) -> Callable[[dict[str, Any]], str]:
    """How many times faster a stack of so many is, at the least and the most favourable batch size."""

    def cell(d: dict[str, Any]) -> str:
        return _range([r["times_faster"] for r in d["rows"] if r["replicates"] == replicates])

    return cell


def _range(ratios: list[float]) -> str:
    low, high = (f"{v:.1f}" if v < 10 else f"{v:.0f}" for v in (min(ratios), max(ratios)))
    return f"{low}×" if low == high else f"{low} to {high}×"


# The table of README.md: results, what is compared, how many times faster.
TABLE: list[tuple[str, str, Callable[[dict[str, Any]], str]]] = [
    ("usual_way_digits", "whole digits job, command to page, against a script a model and a cell", job),
    ("usual_way_fashion", "whole Fashion-MNIST job, likewise", job),
    ("usual_way_small_cnn", "job of small convolutional networks, likewise", job),
    ("stacked", "training 5 MLPs in a stack, against the plainest loop", at_batch(5)),
    ("stacked", "training 50 MLPs in a stack, likewise", at_batch(50)),
    ("landscape_curves", "ten curves in a stack, against one after the other", lambda d: _range([r["times_faster"] for r in d["rows"]])),
    ("landscape_hessian", "Hessians of five models, against power iteration and Hutchinson at equal error",
     lambda d: _range([r["coarse_5_times_faster"] for r in d["rows"]])),
    ("landscape_cka", "CKA of five models, against Gram matrices pair by pair", lambda d: _range([r["times_faster"] for r in d["rows"]])),
]  # fmt: skip


def results(name: str) -> dict[str, Any] | None:
    """Raw results of a benchmark, if it was run."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def table() -> str:
    lines = ["| what, on two cores | times faster |", "| --- | --- |"]
    for name, what, cell in TABLE:
        data = results(name)
        if data is not None:
            lines.append(f"| {what} | {cell(data)} |")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    parts = [
        "# Benchmarks",
        "One script a question; its head says the claim, the command and the method. Raw results, with hardware,\n"
        "versions and every time, lie in `results/`. They were measured on a busy machine of two cores without a GPU:\n"
        "ratios are of runs in turns, and mean more than seconds. This page is printed from them:\n"
        "`python benchmarks/print_readme.py --write`.",
    ]
    for name, (question, lines) in QUESTIONS.items():
        data = results(name)
        if data is None:
            if name == "gpu":
                parts.append(
                    f"## {question}\n\nNot yet measured: `python benchmarks/gpu.py`, on a machine with a GPU."
                )
            continue
        command = COMMANDS.get(name, f"python benchmarks/{name}.py")
        parts.append(f"## {question}\n\n`OMP_NUM_THREADS=1 {command}`")
        parts.append("\n".join(f"- {line}" for line in lines(data)))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print the table of README.md")
    parser.add_argument("--write", action="store_true", help="write both files")
    given = parser.parse_args()
    if given.write:
        readme = ROOT / "README.md"
        readme.write_text(BLOCK.sub(lambda _: table(), readme.read_text(encoding="utf-8")), encoding="utf-8")
        (ROOT / "benchmarks/README.md").write_text(markdown(), encoding="utf-8")
    else:
        print(table() if given.table else markdown(), end="")


if __name__ == "__main__":
    main()
