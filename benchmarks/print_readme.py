"""Prints ``benchmarks/README.md`` from the raw results: python benchmarks/print_readme.py > benchmarks/README.md"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


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


def cka(d: dict[str, Any]) -> list[str]:
    return [f"{r['network']} of width {r['width']}: {r['times_faster']:.0f}×" for r in d["rows"]]


def memory(d: dict[str, Any]) -> list[str]:
    return [f"{r['inputs']:,} inputs: peak {r['rise_mb']:.0f} MB above the start" for r in d["rows"]]


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
        f"width {r['width']}, batch {r['batch_size']}, {r['replicates']} replicates: {r['ratio']:.2f}×"
        for r in d["cases"]
    ]


def many(d: dict[str, Any]) -> list[str]:
    resume = statistics.median(r["wall_s"] for r in d["resume"])
    status = statistics.median(r["wall_s"] for r in d["status"])
    return [f"resume {resume:.1f} s, status {status:.1f} s, peak memory {d['children_peak_mb']:.0f} MB"]


def chaos(d: dict[str, Any]) -> list[str]:
    victims = ", ".join(f"{number} × {title.removeprefix('ray::')}" for title, number in d["victims"].items())
    return [
        f"{d['kills']} kills ({victims}): {len(d['tables_that_differ'])} tables differ, "
        f"{len(d['models_trained_again'])} models trained twice, {d['times_as_long']:.2f}× the undisturbed time "
        f"({d['disturbed_s']:.0f} s against {d['undisturbed_s']:.0f} s, {d['starts']} starts)"
    ]


def scaling(d: dict[str, Any]) -> list[str]:
    two, shares, long = d["scaling"], d["share_of_digits"], d["share_of_long_trials"]
    return [
        f"two workers against one: training {two['training_times']:.2f}×, measuring {two['measuring_times']:.2f}×",
        *(f"Ray's share of the digits run, {s['workers']} workers: {100 * s['share']:.0f} %" for s in shares),
        f"Ray's share with trials of {long['seconds_a_trial']:.0f} s: {100 * long['share']:.1f} %",
    ]


def growth(d: dict[str, Any]) -> list[str]:
    return [
        f"{r['models']:,} models, {r['pairs']:,} pairs: {r['ms_a_model']:.1f} ms a model, {r['ms_a_pair']:.1f} ms a pair, "
        f"peak memory of the driver {r['driver_mb']:.0f} MB, of a worker {r['worker_mb']:.0f} MB, run folder {r['disk_mb']:.0f} MB"
        for r in d["rows"]
    ]


QUESTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "landscape_hessian": ("Hessian: faster than power iteration and Hutchinson?", hessian),
    "landscape_curves": ("Ten curves in one stack: faster than ten plain fits of the same steps?", curves),
    "landscape_cka": ("CKA of all pairs of five models: faster than pair by pair with Gram matrices?", cka),
    "landscape_memory": ("Does a Hessian's memory grow with the training set?", memory),
    "step_time": ("Does a training step cost more than in the plainest loop?", steps),
    "mlp_step": ("The MLP's hand-written gradient: faster than automatic differentiation?", mlp),
    "many_models": ("10,000 finished models: how long until it is clear what is missing?", many),
    "growth": ("Do time, memory and disk stay flat up to 20,000 models and 100,000 pairs?", growth),
    "scaling": ("How much faster are two workers than one, and how much of the time does Ray take?", scaling),
    "chaos": ("20 random kills in one run: is anything lost, or done twice?", chaos),
}


def markdown() -> str:
    parts = [
        "# Benchmarks",
        "One script a question; its head says the claim, the command and the method. Raw results, with hardware,\n"
        "versions and every time, lie in `results/`. They were measured on a busy machine of two cores without a GPU:\n"
        "ratios are of runs in turns, and mean more than seconds. This page is printed from them:\n"
        "`python benchmarks/print_readme.py > benchmarks/README.md`.",
    ]
    for name, (question, lines) in QUESTIONS.items():
        if not (RESULTS / f"{name}.json").exists():
            continue  # not measured yet
        data = json.loads((RESULTS / f"{name}.json").read_text())
        parts.append(f"## {question}\n\n`OMP_NUM_THREADS=1 python benchmarks/{name}.py`")
        parts.append("\n".join(f"- {line}" for line in lines(data)))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
