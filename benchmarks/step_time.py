"""Does a training step cost more here than in the plainest PyTorch loop over tensors in memory?

For every architecture one model is trained by ``explorer.train.loop.train`` and by a loop of
``torch.optim.SGD`` over the same tensors, with the same batches in the same order. Bars: at most 1.1 times
the plain loop's time a step for every architecture; for the perceptron on digits at least twice as fast as
the usual loop over a ``DataLoader``. Beside it the time a model and step when five replicates are trained
side by side, in the fastest execution.

A time is a difference of two runs (short and long), so that start, evaluation and end cancel; of each
run the fastest of several repeats counts, taken in turns, since other processes disturb only upwards.
It is the processor time of one thread, which is the time on the clock of a machine that does nothing else.

    python benchmarks/step_time.py                     # about seven minutes on one core
    python benchmarks/step_time.py --only mlp cnn

Writes hardware, versions, settings and every single time to ``benchmarks/results/step_time.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import explorer.models
from explorer.data import digits
from explorer.data.base import prepare
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.settings import plugin
from explorer.train.loop import Recipe, Split, train

RATE, MOMENTUM, SEED, REPLICATES = 0.01, 0.9, 7, 5
RESULTS = Path(__file__).parent / "results" / "step_time.json"


@dataclass(frozen=True)
class Case:
    """An architecture on random images, or on digits where ``shape`` is None."""

    name: str
    options: dict[str, Any]
    shape: tuple[int, ...] | None
    batch_size: int
    steps: int


CASES = [
    Case("mlp", {"width": 16}, None, 16, 1000),
    Case("cnn", {"width": 8}, (1, 14, 14), 32, 200),
    Case("resnet18", {"width": 4}, (1, 28, 28), 32, 30),
    Case("resnet18", {"width": 16}, (3, 32, 32), 32, 10),
    Case("resnet50", {"width": 4}, (3, 32, 32), 32, 10),
    Case("vgg11", {"width": 8}, (3, 32, 32), 32, 30),
    Case("densenet40", {"width": 4}, (3, 32, 32), 32, 6),
    Case("vit", {"width": 32}, (3, 32, 32), 32, 20),
]


def data_of(case: Case) -> Split:
    """Digits, or 64 random images to train on and 8 to test: time does not depend on what is learnt."""
    if case.shape is None:
        return Split.of(prepare(digits.load(digits.Options()), digits.Options(), "digits"))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(72, *case.shape, generator=generator), torch.randint(10, (72,), generator=generator)
    return Split(x[:64], y[:64], x[64:], y[64:], 10)


def plain_loop(module: nn.Module, data: Split, batch_size: int, steps: int) -> None:
    """What one would write by hand: a permutation a pass, index, forward, backward, step."""
    optimiser = torch.optim.SGD(module.parameters(), lr=RATE, momentum=MOMENTUM)
    generator = torch.Generator().manual_seed(SEED)
    per_pass = len(data.x_train) // batch_size
    module.train()
    for step in range(steps):
        if step % per_pass == 0:
            order = torch.randperm(len(data.x_train), generator=generator)
        index = order[step % per_pass * batch_size :][:batch_size]
        optimiser.zero_grad()
        functional.cross_entropy(module(data.x_train[index]), data.y_train[index]).backward()
        optimiser.step()


def loader_loop(module: nn.Module, data: Split, batch_size: int, steps: int) -> None:
    """The usual loop over a ``DataLoader``."""
    optimiser = torch.optim.SGD(module.parameters(), lr=RATE, momentum=MOMENTUM)
    loader = DataLoader(TensorDataset(data.x_train, data.y_train), batch_size, shuffle=True, drop_last=True)
    module.train()
    done = 0
    while done < steps:
        for x, y in loader:
            optimiser.zero_grad()
            functional.cross_entropy(module(x), y).backward()
            optimiser.step()
            done += 1
            if done == steps:
                break


def runs(case: Case, data: Split) -> tuple[dict[str, Callable[[int], Any]], float]:
    """Each way of training as a function of the number of steps; the largest difference of the weights."""
    shape, classes = data.x_train.shape[1:], data.classes
    options = plugin(explorer.models, case.name, "architecture").Options(**case.options)
    build, own = network(case.name, options, tuple(shape), classes)

    def explorer_run(replicates: int, execution: Any) -> Callable[[int], Any]:
        rows = network(case.name, options, tuple(shape), classes, execution)[1]
        theta, buffers = initial_rows(build, rows, range(replicates))
        seeds = range(SEED, SEED + replicates)
        recipe = Recipe(case.batch_size, 1, RATE, momentum=MOMENTUM, schedule="constant", history_points=2)
        return lambda steps: train(rows, theta, buffers, data, replace(recipe, steps=steps), seeds=seeds)

    theta, buffers = initial_rows(build, own, [0])

    def by_hand(loop: Callable[..., None]) -> Callable[[int], nn.Module]:
        def run(steps: int) -> nn.Module:
            module = own.to_module(theta[0], buffers[0])
            loop(module, data, case.batch_size, steps)
            return module

        return run

    ways: dict[str, Callable[[int], Any]] = {
        "plain": by_hand(plain_loop),
        "explorer": explorer_run(1, own.execution),
    }
    executions = ["loop", "vmap", *(["stacked"] if own.forward else [])]
    ways |= {f"explorer, {REPLICATES} replicates, {e}": explorer_run(REPLICATES, e) for e in executions}
    if case.name == "mlp":
        ways["DataLoader"] = by_hand(loader_loop)
    ours, theirs = ways["explorer"](5).theta[0], own.row(ways["plain"](5))[0]
    return ways, float((ours - theirs).abs().max())


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Milliseconds a model and step of each way."""
    ways, difference = runs(case, data_of(case))
    short, long = max(1, case.steps // 10), max(1, case.steps // 10) + case.steps
    times: dict[str, dict[int, list[float]]] = {name: {short: [], long: []} for name in ways}
    for _ in range(repeats):
        for steps in (short, long):
            for name, run in ways.items():
                started = time.process_time()
                run(steps)
                times[name][steps].append(time.process_time() - started)
    milliseconds = {}
    for name, of_steps in times.items():
        models = REPLICATES if "replicates" in name else 1
        milliseconds[name] = 1000 * (min(of_steps[long]) - min(of_steps[short])) / case.steps / models
    return {
        **asdict(case),
        "ms_per_model_and_step": milliseconds,
        "explorer_over_plain": milliseconds["explorer"] / milliseconds["plain"],
        "largest_difference_of_weights_after_5_steps": difference,
        "seconds": {name: {str(steps): values for steps, values in of.items()} for name, of in times.items()},
    }


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    """Measure, print a table, write the raw results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="ARCHITECTURE", help="these only; the others are kept")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case for case in CASES if not arguments.only or case.name in arguments.only]
    results = []
    for case in cases:
        result = measure(case, arguments.repeats)
        results.append(result)
        times = ", ".join(f"{name} {value:.3f}" for name, value in result["ms_per_model_and_step"].items())
        ratio = result["explorer_over_plain"]
        print(f"{case.name} {case.options}: {ratio:.2f} of the plain loop (ms: {times})", flush=True)
    machine = {"processor": processor(), "cores": os.cpu_count(), "threads_used": 1, "load": os.getloadavg()}
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    content = {"machine": machine, "versions": versions, "repeats": arguments.repeats}
    if arguments.only:  # the others stay as they were measured, each with its own machine
        before = json.loads(RESULTS.read_text(encoding="utf-8"))
        results = [{**r, **content} for r in results]
        named = {(r["name"], str(r["options"])): r for r in results}
        results = [named.get((r["name"], str(r["options"])), r) for r in before.pop("cases")]
        content = before
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**content, "cases": results}, indent=1) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
