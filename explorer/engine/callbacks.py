"""Ray Tune callbacks that log the trials of a sweep to other tools. Off by default."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.settings import InputError, suggest
from explorer.users import user_function, users_code

if TYPE_CHECKING:
    from ray.tune import Callback

    from explorer.runs.store import Store

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}


def check(names: Sequence[str]) -> None:
    """Check that each name is known and its package is installed, or that it is a ``module:Class``.

    Raises:
        InputError: a name is wrong; nothing has been started yet.
    """
    for name in names:
        if ":" in name:
            from ray.tune import Callback

            found = user_function(name)
            if not (isinstance(found, type) and issubclass(found, Callback)):
                raise InputError(f"--callback {name}: it should be a class that inherits ray.tune.Callback")
        elif name not in PACKAGES:
            raise InputError(
                f"--callback {name}: known: {suggest(name, list(PACKAGES))}, or your own module:Class"
            )
        elif importlib.util.find_spec(PACKAGES[name]) is None:
            raise InputError(
                f"--callback {name}: its package is not installed; run pip install {PACKAGES[name]}"
            )


def create(names: Sequence[str], store: Store, run: str) -> list[Callback]:
    """Return the callbacks with these names for a run.

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
    return [_of_user(name) if ":" in name else makers[name](folder / name, run) for name in names]


def _of_user(name: str) -> Callback:
    with users_code(name, "failed"):
        return user_function(name)()


def _tensorboard(folder: Path, run: str) -> Callback:
    from ray.tune import Callback
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

    class TensorBoard(Callback):
        """Writer of each trial's numbers in a folder that stays. Tune's own folders are deleted."""

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            with SummaryWriter(str(folder / str(trial))) as writer:  # a trial has one result
                for name, value in result.items():
                    if isinstance(value, int | float):
                        writer.add_scalar(f"ray/tune/{name}", value, result["training_iteration"])

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
