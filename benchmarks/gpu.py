"""Does Explorer keep on a GPU what it promises, and how fast is it there?

One script for a person who has a GPU: it runs once, takes at most ten minutes, prints what it finds, and writes
it to one JSON file. It answers:

- placement: is everything on the GPU where it is used, with data there and in host memory?
- bits: does a training, and a Hessian, give the same bits twice, and what does that cost?
- tf32: how far is a Hessian off if convolutions are rounded to TF32?
- steps: steps and images a second, of stacked MLPs and of ResNet18, by precision; GPU and CPU.
- measures: steps of a curve and of Lanczos a second; GPU and CPU.
- sharing: images a second of one process, and of four that share the GPU.
- memory: what CUDA itself takes, and whether a share limits a process.

Each section has its own time; a section that fails is written with its error.

    python benchmarks/gpu.py            # a GPU; at most ten minutes
    python benchmarks/gpu.py --small    # no GPU needed: tiny networks, to see that the script works; only prints
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from explorer.engine.card import CONTEXT, REPEATABLE

os.environ |= REPEATABLE  # before the first product on the GPU

import torch

import explorer.models
from explorer.engine import card
from explorer.engine.worker import Worker
from explorer.landscape.connectivity import fit_paths
from explorer.landscape.hessian import hessian
from explorer.landscape.lanczos import lanczos
from explorer.landscape.operator import HessianOperator, Vectors
from explorer.models.base import network
from explorer.models.precision import ieee_float32
from explorer.models.rows import Rows, initial_rows
from explorer.plan import plan
from explorer.plan.units import data_source
from explorer.settings import plugin
from explorer.space.reading import parse
from explorer.train.loop import Recipe, Split, train

RESULTS = Path(__file__).parent / "results" / "gpu.json"
BUDGET_S = 420.0  # sections that would begin later are left out
SMALL, MEASURED = False, 256  # tiny networks; inputs of a Hessian
SPACE = {
    "name": "gpu", "data": {"name": "digits", "train_size": 120}, "seeds": 2, "load": {"width": [4]},
    "training": {"steps": 12, "learning_rate": 0.02, "batch_size": 16, "history_points": 3},
    "measures": {
        "hessian": {"inputs": 60, "lanczos_steps": 5, "probes": 4}, "connectivity": {"steps": 20, "points": 3},
        "similarity": {"inputs": 60}, "sharpness": {"inputs": 60}, "spectra": {}, "noise": {"batches": 4},
        "density": {"inputs": 60, "steps": 4, "probes": 2}, "alignment": {"inputs": 40, "points": 3}, "ensemble": {},
    },
}  # fmt: skip
PRECISIONS = {"float32": {}, "tf32": {"tf32": True}, "bf16": {"precision": "bf16", "channels_last": True}}


def built(name: str, device: str, models: int, way: Any = None, inputs: int = 0, **options: Any) -> Any:
    """Rows, initial models and random data on a device: images of 3 × 32 × 32, or 64 numbers for an MLP."""
    shape = (64,) if name == "mlp" else (3, 8, 8) if SMALL else (3, 32, 32)
    generator, inputs = torch.Generator().manual_seed(0), inputs or (64 if SMALL else 2048)
    x, y = torch.randn(inputs, *shape, generator=generator), torch.randint(10, (inputs,), generator=generator)
    x, y = x.to(device), y.to(device)
    build, rows = network(
        name, plugin(explorer.models, name, "architecture").Options(**options), shape, 10, way
    )
    theta, buffers = (t.to(device) for t in initial_rows(build, rows, range(models)))
    return rows.to(device), theta, buffers, Split(x, y, x[:64], y[:64], 10)


def seconds(work: Callable[[int], Any], device: str, budget_s: float) -> float:
    """Seconds of one unit of ``work(units)``, from a short and a long run, so that start and end cancel.

    Work that is slow for the budget runs two units only, once or twice.
    """

    def timed(units: int) -> float:
        began = time.perf_counter()
        work(units)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    if SMALL:
        return timed(1)
    took = timed(2)
    if took < 4 * budget_s:  # the first time, libraries have started too
        took = timed(2)
    if took > budget_s / 4:
        return took / 2
    units = 2
    while timed(units) < budget_s / 16 and units < 10_000:
        units *= 2
    short, long = (min(timed(count) for _ in range(3)) for count in (units, 4 * units))
    return max(1e-9, long - short) / (3 * units)


def training(
    device: str, models: int, name: str, batch: int, way: Any, precision: str, **options: Any
) -> Any:
    """Steps and images a second of a training."""
    rows, theta, buffers, data = built(name, device, models, way, inputs=16 * batch, **options)
    settings = dict(PRECISIONS[precision])
    tf32 = bool(settings.pop("tf32", False))
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32

    def work(steps: int) -> None:
        recipe = Recipe(batch_size=batch, steps=steps, learning_rate=0.01, history_points=2, **settings)
        train(rows, theta, buffers, data, recipe, seeds=range(models))

    with card.repeatable(set()):
        step_s = seconds(work, device, 4 if device == "cuda" else 2)
    return {
        "device": device, "network": name, **options, "models": models, "batch": batch, "way": way or "usual",
        "precision": precision, "steps_per_s": 1 / step_s, "images_per_s": models * batch / step_s,
    }  # fmt: skip


def placement(device: str) -> Any:
    """Small spaces through a worker, with data on the GPU and in host memory."""
    found = {}
    for name, where in itertools.product(
        ("mlp", "cnn", "resnet18", "vit")[: 1 if SMALL else 4], ("device", "host")
    ):
        parsed, wrong = parse({**SPACE, "model": {"name": name}}), []
        clean = {data_source(cell): cell.load_data() for cell in parsed.cells}
        with tempfile.TemporaryDirectory() as folder:
            worker = Worker(folder, clean.__getitem__, {}, threads=1, gpus=1.0, logical=device == "cpu")
            if where == "host" and device == "cuda":
                worker._data_bytes = lambda: 1.0
            for stack in plan.missing_stacks(parsed, worker.store):
                worker.train(stack)
            for task in plan.missing_tasks(parsed, worker.store):
                try:
                    worker.measure(task)
                except Exception as error:
                    wrong.append(f"{task.measure}: {error}")
        found[f"{name}, data on {where}"] = wrong or "ok"
    return found


def bits(device: str) -> Any:
    """A training and a Hessian, twice, with and without kernels that repeat."""
    found: dict[str, Any] = {}
    for deterministic in (True,) if SMALL else (True, False):
        names: set[str] = set()
        results, began = [], time.perf_counter()
        for _ in range(2):
            rows, theta, buffers, data = built("resnet18", device, 2, "vmap", width=2 if SMALL else 16)
            recipe = Recipe(batch_size=32, steps=2 if SMALL else 50, learning_rate=0.05, history_points=2)
            torch.backends.cudnn.deterministic = False
            with card.repeatable(names) if deterministic else torch.enable_grad():
                trained = train(rows, theta, buffers, data, recipe, seeds=[0, 1])
                rows.execution = "loop"
                x, y, end = data.x_train[:MEASURED], data.y_train[:MEASURED], trained.end
                curved = hessian(
                    rows, end.theta, x, y, seeds=[0, 1], buffers=end.buffers, lanczos_steps=3, probes_max=4
                )
            results.append([trained.theta.cpu(), curved.eigenvalues, curved.trace])
        found["deterministic" if deterministic else "fastest"] = {
            "same_training": torch.equal(results[0][0], results[1][0]),
            "same_hessian": all(map(torch.equal, results[0][1:], results[1][1:])),
            "unrepeatable": sorted(names),
            "seconds": time.perf_counter() - began,
        }
    return found


def tf32(device: str) -> Any:
    """Largest eigenvalue and trace of a trained ResNet18, with convolutions in TF32 and in IEEE float32."""
    rows, theta, buffers, data = built("resnet18", device, 1, "loop", width=2 if SMALL else 16)
    recipe = Recipe(batch_size=64, steps=2 if SMALL else 200, learning_rate=0.05, history_points=2)
    end = train(rows, theta, buffers, data, recipe, seeds=[0]).end
    x, y = data.x_train[:MEASURED], data.y_train[:MEASURED]

    def curvature() -> list[float]:
        found = hessian(
            rows,
            end.theta,
            x,
            y,
            seeds=[0],
            buffers=end.buffers,
            lanczos_steps=3 if SMALL else 20,
            probes_max=4,
        )
        return [found.top_eigenvalue.item(), found.trace.item()]

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    rounded = curvature()
    with ieee_float32(torch.device(device)):
        exact = curvature()
    off = [abs(a - b) / max(abs(b), 1e-12) for a, b in zip(rounded, exact, strict=True)]
    return {
        "top_eigenvalue": exact[0],
        "trace": exact[1],
        "off_by": {"top_eigenvalue": off[0], "trace": off[1]},
    }


def steps(device: str) -> Any:
    """Steps and images a second; on a CPU only what it can do in the time."""
    found = [training(device, models, "mlp", 32, None, "float32", width=64) for models in (1, 5, 40)]
    for width, precision in itertools.product((2,) if SMALL else (8, 64), PRECISIONS):
        if device == "cpu" and (width > 8 or precision != "float32"):
            continue
        for models, way in ((1, "loop"), (5, "vmap")):
            batch = 8 if SMALL else 128 if device == "cpu" else 512
            found.append(training(device, models, "resnet18", batch, way, precision, width=width))
    return found


def measures(device: str) -> Any:
    """Steps of a curve and of Lanczos a second."""
    found = []
    for name, options in (("mlp", {"width": 64}), ("resnet18", {"width": 8}))[: 1 if SMALL else 2]:
        rows, theta, buffers, data = built(
            name, device, 5, None if name == "mlp" else "loop", inputs=16 if SMALL else 256, **options
        )

        def curve(
            count: int, rows: Rows = rows, a: Any = theta, stats: Any = buffers, data: Split = data
        ) -> None:
            fit_paths(rows, a, a.flip(0), stats, data.x_train, data.y_train, seeds=range(5), steps=count)

        operator = HessianOperator(rows, theta, data.x_train, data.y_train, buffers)
        start = Vectors(range(5), theta).normal()

        def grow(count: int, operator: Any = operator, start: Any = start) -> None:
            for _ in range(count):
                lanczos(operator, start, steps=4, tolerance=-1.0)

        with ieee_float32(torch.device(device)):
            curve_s, space_s = seconds(curve, device, 3), seconds(grow, device, 3)
        found.append({"device": device, "network": name, **options, "models": 5,
                      "curve_steps_per_s": 1 / curve_s, "lanczos_steps_per_s": 4 / space_s})  # fmt: skip
    return found


def _process(share: float, device: str, small: bool, begin: Any, out: Any) -> None:
    global SMALL
    SMALL = small
    torch.set_num_threads(1)
    if device == "cuda":
        torch.ones(1, device=device)
        card.limit_memory(share)
    begin.wait()
    out.put(training(device, 5, "resnet18", 8 if small else 128, "vmap", "float32", width=2 if small else 8))


def sharing(device: str) -> Any:
    """Images a second of one process, and of four at a time."""
    context, found = multiprocessing.get_context("spawn"), {}
    for processes in (1,) if SMALL else (1, 4):
        begin, out = context.Barrier(processes), context.Queue()
        work = [
            context.Process(target=_process, args=(1 / processes, device, SMALL, begin, out), daemon=True)
            for _ in range(processes)
        ]
        for process in work:
            process.start()
        rates = [out.get(timeout=150)["images_per_s"] for _ in work]
        for process in work:
            process.join()
        found[f"{processes} processes"] = sum(rates)
    return found


def memory(device: str) -> Any:
    """What CUDA itself takes in a process, and whether a share is a limit."""
    if device == "cpu":
        return {"context_mb": None, "share_limits": None}
    torch.ones(1, device=device)
    free, whole = torch.cuda.mem_get_info()
    own = whole - free - torch.cuda.memory_reserved()  # with other processes'
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(card.usable_bytes(whole, 0.25) / whole)
    try:
        torch.empty(int(0.3 * whole), dtype=torch.uint8, device=device)
        limits = False
    except torch.cuda.OutOfMemoryError:
        limits = True
    torch.cuda.set_per_process_memory_fraction(1.0)
    return {"context_mb": own / 1e6, "assumed_mb": CONTEXT / 1e6, "share_limits": limits}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny networks; without a GPU, CPUs only")
    parser.add_argument("--out", type=Path, help=f"JSON file to write; without --small: {RESULTS}")
    given = parser.parse_args()
    global SMALL, MEASURED
    SMALL, MEASURED, began = given.small, 8 if given.small else MEASURED, time.perf_counter()
    reason = card.why_not()
    if reason and not SMALL:
        parser.error(f"torch cannot use a GPU: {reason}. Without one, --small shows that the script works")
    devices = ["cpu"] if reason else ["cuda", "cpu"]
    found: dict[str, Any] = {
        "card": card.describe(),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    for section in (placement, bits, tf32, steps, measures, sharing, memory):
        for device in devices if section in (steps, measures) else devices[:1]:
            mark, name = time.perf_counter(), f"{section.__name__} on {device}"
            if mark - began > BUDGET_S:
                found[name] = {"left out": "the time was over"}
                continue
            try:
                found[name] = section(device)
            except Exception as error:
                found[name] = {"error": f"{type(error).__name__}: {error}"}
            print(
                f"{name} ({time.perf_counter() - mark:.1f} s): {json.dumps(found[name])}",
                flush=True,
            )
    found["seconds"] = time.perf_counter() - began
    if out := given.out or (None if SMALL else RESULTS):
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
