"""Ray Tune callbacks that log the trials of a sweep to other tools. Off by default."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.settings import InputError, shown, suggest
from explorer.users.functions import user_function, users_code

if TYPE_CHECKING:
    from ray.tune import Callback

    from explorer.runs.store import Store

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}


def check(given: Sequence[Any]) -> None:
    """Check that each has a method of Tune's callbacks, or is a known name whose package is installed.

    Raises:
        InputError: one is wrong; nothing has been started yet.
    """
    for one in given:
        if not isinstance(one, str):
            if not _hooks(one):
                raise InputError(
                    f"callbacks: {shown(one)} is no callback; it should be an object or a class with a "
                    f"method of ray.tune.Callback, such as on_trial_result, or one of {', '.join(PACKAGES)}"
                )
        elif ":" in one:
            found = user_function(one)
            if not (isinstance(found, type) and _hooks(found)):
                raise InputError(
                    f"--callback {one}: it should be a class with a method of ray.tune.Callback, such as "
                    "on_trial_result"
                )
        elif one not in PACKAGES:
            raise InputError(
                f"--callback {one}: known: {suggest(one, list(PACKAGES))}, or your own module:Class"
            )
        elif importlib.util.find_spec(PACKAGES[one]) is None:
            raise InputError(
                f"--callback {one}: its package is not installed; run pip install {PACKAGES[one]}"
            )


def _hooks(one: Any) -> list[str]:
    """Return the methods of Tune's callbacks that an object or a class has."""
    from ray.tune import Callback

    names = [name for name in dir(Callback) if name == "setup" or name.startswith("on_")]
    return [name for name in names if callable(getattr(one, name, None))]


def _tunes(one: Any) -> Callback:
    """Return a callback of Tune that calls the methods of an object, which need not inherit it."""
    from ray.tune import Callback

    if isinstance(one, Callback):
        return one

    class Caller(Callback):
        """Caller of a user's object, which Tune does not save."""

        def __getstate__(self) -> dict[str, Any]:
            return {}

    made = Caller()
    for name in _hooks(one):
        setattr(made, name, getattr(one, name))
    return made


def create(given: Sequence[Any], store: Store, run: str) -> list[Callback]:
    """Return the callbacks of a run, those with names and the user's objects.

    Their files go to ``callbacks/`` in the run folder or, if that folder is not local, to
    ``callbacks/<run>/`` in the current folder. If the environment names a server, they log there instead.
    """
    files = store.files
    folder = Path(files.path("callbacks")) if files.local else Path("callbacks", run).absolute()
    makers: dict[str, Callable[[Path, str], Callback]] = {
        "tensorboard": _tensorboard,
        "mlflow": _mlflow,
        "wandb": _wandb,
    }

    def made(one: Any) -> Callback:
        if isinstance(one, str) and ":" not in one:
            return makers[one](folder / one, run)
        name = one if isinstance(one, str) else getattr(one, "__name__", type(one).__name__)
        with users_code(name, "failed"):
            found = user_function(one) if isinstance(one, str) else one
            return _tunes(found() if isinstance(found, type) else found)

    return [made(one) for one in given]


def _tensorboard(folder: Path, run: str) -> Callback:
    from ray.tune import Callback
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

    class TensorBoard(Callback):
        """Writer of each trial's numbers by step, in a folder that stays. Tune's own are deleted."""

        def __init__(self) -> None:
            self.writers: dict[str, Any] = {}

        def __getstate__(self) -> dict[str, Any]:
            return {"writers": {}}  # Tune saves callbacks for restoring, which we never use

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            writer = self.writers.get(str(trial)) or SummaryWriter(str(folder / str(trial)))
            self.writers[str(trial)] = writer
            for name, value in result.items():
                if isinstance(value, int | float):
                    writer.add_scalar(f"ray/tune/{name}", value, result.get("step", 0))
            writer.flush()
            if result.get("done"):
                self.writers.pop(str(trial)).close()

    return TensorBoard()


def _mlflow(folder: Path, run: str) -> Callback:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    server = os.environ.get("MLFLOW_TRACKING_URI")
    if not server:
        folder.mkdir(parents=True, exist_ok=True)
    return MLflowLoggerCallback(tracking_uri=server or f"sqlite:///{folder}/mlflow.db", experiment_name=run)


def _wandb(folder: Path, run: str) -> Callback:
    from ray.air.integrations.wandb import WandbLoggerCallback

    folder.mkdir(parents=True, exist_ok=True)
    project = os.environ.get("WANDB_PROJECT", "explorer")
    return WandbLoggerCallback(project=project, group=run, dir=str(folder))
