"""How much faster are two workers than one, and how much of the time does Ray take?

Command:  python benchmarks/scaling.py          (about 20 minutes on two idle cores; --repeats 1 for a look)
Claim:    two workers do at least 1.8 times the work of one in the same time, in training and in measuring;
          Ray takes at most 25 % of the wall time of the digits run, start-up included, and at most 5 % where a
          trial takes 10 s.
Method:   the digits space, with three times its steps for the first claim, with one worker and with two in turns,
          each run in a process of its own. Throughput: a stage's models or
          measurements over its seconds in the session record, the start of the workers included; beside it the same
          from the first that was done to the last. Ray's share: wall seconds of the run less those of the work
          itself, over the former. The work itself: the same stacks and tasks done by the same functions, without
          Ray, in as many plain processes at once as the run has workers, each of which takes the next when it is
          free; their start is not counted. ``share_of_alone`` is the same with the seconds that one process
          alone takes over the number of workers: it holds against Ray, too, that two processes on one memory slow
          each other down. ``share_idle``: of the wall seconds, those in which a worker did none of the work.
Hardware, versions, n and all times: benchmarks/results/scaling.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine_common import ROOT, Clock, write

from explorer.space.reading import read

DIGITS = ROOT / "benchmarks/digits.yaml"
LONG = ["training.steps=7500", "measures.connectivity.steps=3000"]
TRIAL_S, TRIALS, SAMPLED = 10.0, 40, 4  # trials of ten seconds; so many of them are timed without Ray


def run(overrides: list[str], workers: int) -> dict[str, Any]:
    """One run with so many workers, in a process of its own: seconds of the whole, and of each stage."""
    with tempfile.TemporaryDirectory(prefix="scaling-") as storage:
        command = [sys.executable, __file__, "--child", storage, str(workers), *overrides]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def child(storage: str, workers: int, overrides: list[str]) -> None:
    import explorer

    clock, began = Clock(), time.perf_counter()
    done = explorer.run(DIGITS, set=overrides, storage=storage, workers=workers, observer=clock)
    wall_s = time.perf_counter() - began
    session = done.info["sessions"][-1]
    stages, busy = session["stages"], sum(session["workers"].values())
    each = {stage: clock.seconds_each(stage) for stage in clock.times}
    print(json.dumps({"wall_s": wall_s, "stages": stages, "seconds_each": each, "workers_s": busy}))


def work(overrides: list[str], processes: int, stacks_at_most: int | None = None) -> dict[str, float]:
    """Seconds of the work itself, in so many plain processes at once, without Ray.

    Each takes the next stack when it is free, and once all are trained the next task. Both are counted from when
    all have imported and loaded what they need to when the last has ended.
    """
    spawning = multiprocessing.get_context("spawn")
    taken = [spawning.Value("i", 0) for _ in range(2)]
    together, told = spawning.Barrier(processes), spawning.Queue()
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        given = (folder, overrides, stacks_at_most, taken, together, told)
        all_ = [spawning.Process(target=plain, args=given) for _ in range(processes)]
        for process in all_:
            process.start()
        times = [told.get(timeout=3600) for _ in all_]
        for process in all_:
            process.join()
    began, trained, planned, ended = zip(*(t["at"] for t in times), strict=True)
    return {
        "stacks": times[0]["stacks"],
        "training_s": max(trained) - max(began),
        "measuring_s": max(ended) - max(planned),
    }


def plain(
    folder: str, overrides: list[str], stacks_at_most: int | None, taken: Any, together: Any, told: Any
) -> None:
    """One of the plain processes."""
    import explorer.data
    from explorer.engine.worker import Worker
    from explorer.plan import plan
    from explorer.plan.units import data_source
    from explorer.runs.store import Store
    from explorer.settings import plugin

    def each(pieces: list[Any], counter: Any) -> Iterator[Any]:
        while True:
            with counter.get_lock():
                place = counter.value
                counter.value += 1
            if place >= len(pieces):
                return
            yield pieces[place]

    space = read(DIGITS, overrides)
    sources = {data_source(cell): cell for cell in space.cells}
    clean = {s: plugin(explorer.data, c.data_name, "data set").load(c.data) for s, c in sources.items()}
    worker, store = Worker(folder, clean.__getitem__, {}, threads=1, gpus=0), Store(folder)
    stacks = plan.stacks(space)[:stacks_at_most]
    together.wait()
    began = time.perf_counter()
    for stack in each(stacks, taken[0]):
        worker.train(stack)
    trained = time.perf_counter()
    together.wait()
    tasks = plan.missing_tasks(space, store) if stacks_at_most is None else []
    together.wait()
    planned = time.perf_counter()
    for task in each(tasks, taken[1]):
        worker.measure(task)
    told.put({"stacks": len(stacks), "at": (began, trained, planned, time.perf_counter())})


def scaling(repeats: int, overrides: list[str]) -> dict[str, Any]:
    """Two workers against one, in turns."""
    runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for _ in range(repeats):
        for workers in (1, 2):
            runs[workers].append(run(overrides, workers))
    result: dict[str, Any] = {"n": repeats, "one": runs[1], "two": runs[2]}
    for stage in ("training", "measuring"):
        one, two = ([r["stages"][f"{stage}_s"] for r in runs[w]] for w in (1, 2))
        first_one, first_two = ([r["seconds_each"][stage] for r in runs[w]] for w in (1, 2))
        result[f"{stage}_times"] = statistics.median(one) / statistics.median(two)
        result[f"{stage}_times_after_the_first"] = statistics.median(first_one) / statistics.median(first_two)
    return result


def share(repeats: int, overrides: list[str], workers: int) -> dict[str, Any]:
    """Ray's share of the wall time of whole runs."""
    walls, plain_s, alone_s = [], [], []
    for _ in range(repeats):
        walls.append(run(overrides, workers)["wall_s"])
        for processes, times in (workers, plain_s), (1, alone_s):
            own = work(overrides, processes)
            times.append(own["training_s"] + own["measuring_s"])
    wall = statistics.median(walls)
    return {
        "n": repeats,
        "workers": workers,
        "wall_s": walls,
        "work_s": plain_s,
        "alone_s": alone_s,
        "share": 1 - statistics.median(plain_s) / wall,
        "share_of_alone": 1 - statistics.median(alone_s) / workers / wall,
    }


def long_trials(seconds: float, trials: int, sampled: int, workers: int) -> dict[str, Any]:
    """Ray's share where every trial takes so many seconds: one width, as many learning rates as trials."""
    rates = json.dumps([round(0.01 + 0.0005 * i, 6) for i in range(trials)])
    base = [
        "load={width: [16]}",
        f"temperature={{learning_rate: {rates}}}",
        "training.batch_size=32",
        "measures={}",
        "resources.cells_per_trial=1",
    ]

    def seconds_each(steps: int, count: int) -> float:
        own = work([*base, f"training.steps={steps}"], workers, count)
        return own["training_s"] / own["stacks"] * workers

    few, many = (seconds_each(steps, workers) for steps in (2000, 10000))
    # Evaluations take the same however many steps there are.
    steps = round(2000 + (seconds - few) / (many - few) * 8000)
    each = seconds_each(steps, sampled)
    done = run([*base, f"training.steps={steps}"], workers)
    wall_s, workers_s = done["wall_s"], done["workers_s"]
    return {
        "trials": trials,
        "seconds_a_trial": each,
        "workers": workers,
        "wall_s": wall_s,
        "work_s": each * trials / workers,
        "workers_s": workers_s,
        "share": 1 - each * trials / workers / wall_s,
        "share_idle": 1 - workers_s / workers / wall_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a few short trials, to see that it works")
    parser.add_argument(
        "--out", type=Path, help="where the result goes; left out: benchmarks/results/scaling.json"
    )
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        storage, workers, *overrides = arguments.child
        child(storage, int(workers), overrides)
        return
    small = (
        ["load.width=[4, 8]", "training.steps=300", "measures.connectivity.steps=50"]
        if arguments.quick
        else []
    )
    result = {
        "question": "two workers against one, and Ray's share of the time",
        "scaling": scaling(arguments.repeats, [*LONG, *small]),
        "share_of_digits": [share(arguments.repeats, small, workers) for workers in (1, 2)],
        "share_of_long_trials": long_trials(
            *((1.0, 4, 1) if arguments.quick else (TRIAL_S, TRIALS, SAMPLED)), 2
        ),
    }
    write("scaling", result, arguments.out)
    times = result["scaling"]
    shares = ", ".join(
        f"{100 * s['share']:.0f} % with {s['workers']} workers" for s in result["share_of_digits"]
    )
    print(f"two workers against one: training {times['training_times']:.2f}×, measuring "
          f"{times['measuring_times']:.2f}×; Ray's share of the digits run {shares}, with trials of "
          f"{result['share_of_long_trials']['seconds_a_trial']:.0f} s "
          f"{100 * result['share_of_long_trials']['share']:.1f} %, "
          f"{100 * result['share_of_long_trials']['share_idle']:.1f} % of them idle")  # fmt: skip


if __name__ == "__main__":
    main()
