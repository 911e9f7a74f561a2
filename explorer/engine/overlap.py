"""Which trial measures the cell that it has completed, so that measuring goes on beside training.

A worker that has just trained a cell has everything at hand: its process has started, its data and its
weights are there. So it measures the cell itself, before it goes on to the next trial. Towards the end,
when hardly a trial waits for a worker any more, a cell that takes long to measure is left to the pool,
which spreads it over the workers that have nothing left to train.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

Leave = Callable[[list[int]], None]
START_S = 5.0  # what it takes to start a measuring actor on two cores: imports, mostly


class Overlap(FIFOScheduler):
    """Trials in their order. One ends when it has trained, or when it has measured what it completed.

    Args:
        together: for each trial's place the places that hold, with it, all models of its cells; empty
            where they are not to be measured yet.
        workers: trials that run side by side.
        leave: is told of places whose cells are complete, and measured by no trial.
    """

    def __init__(self, together: list[list[int]], workers: int, leave: Leave):
        super().__init__()
        self.together, self.workers, self.leave = together, workers, leave
        self._waiting: list[Trial] = []
        self._started: set[int] = set()
        self._trained: set[int] = set()
        self._measuring: dict[int, float] = {}  # seconds so far
        self._took: float | None = None  # seconds of the last trial that has measured

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore that is never used; a display cannot be pickled

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._waiting.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first that waits; but a worker that is being started keeps its trial.

        Tune's own choice gives a worker that has become free to the first trial that waits, even if another
        is being started for it, and ends that one. Where trials are shorter than a start, a second worker, a
        replaced one or one on a node that joins would be started over and over, and never work.
        """
        controller = tune_controller._tune_controller  # its wrapper does not tell what is being started
        self._waiting = [trial for trial in self._waiting if trial.status == Trial.PENDING]
        for trial in self._waiting:
            actor = controller._trial_to_actor.get(trial)
            if actor is None or not controller._actor_manager.is_actor_started(actor):
                return trial
        return None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        place = trial.config["stack"]
        if place in self._measuring and not result["first"]:
            return TrialScheduler.CONTINUE
        cells = self.together[place]
        retried = place in self._trained
        self._trained.add(place)
        if not cells or not self._trained.issuperset(cells):
            return TrialScheduler.STOP
        if result["fresh"] and not retried and (self._others_wait() or self._is_short()):
            self._measuring[place] = 0.0
            return TrialScheduler.CONTINUE
        self.leave(cells)
        return TrialScheduler.STOP

    def started(self, place: int) -> None:
        self._started.add(place)

    def measured(self, place: int, seconds: float, ended: bool) -> None:
        """A trial has measured for so long, and may have come to its end."""
        self._measuring[place] = self._measuring.get(place, 0.0) + seconds
        if ended:
            self._took = self._measuring.pop(place)

    def _others_wait(self) -> bool:
        """Whether all workers will have trials to train for a while."""
        return len(self.together) - len(self._started) >= self.workers

    def _is_short(self) -> bool:
        return self._took is not None and self._took < START_S
