"""Arguments and options that several commands have."""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

SpaceFile = Annotated[
    Path, typer.Argument(help="a space file, such as spaces/digits.yaml", show_default=False)
]
RunName = Annotated[str, typer.Argument(help="a run: its name, its folder or its URI", show_default=False)]
RunOrTables = Annotated[
    str, typer.Argument(help="a run, or a folder of tables (Parquet or CSV)", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="override a setting of the space, such as training.steps=500; may be repeated"
    ),
]
Storage = Annotated[
    str, typer.Option(help="where runs are kept: a folder, or a URI such as s3://bucket/runs")
]
Reports = Annotated[Path, typer.Option(help="where report pages go")]
Address = Annotated[
    str | None, typer.Option(help="of a Ray cluster, or auto; left out: a Ray of its own on this machine")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="at most so many at a time on this machine; left out: as many as fit"),
]
Gpus = Annotated[
    int | None, typer.Option(min=0, help="GPUs of this machine, logical ones too; left out: those Ray finds")
]
MaxHours = Annotated[float | None, typer.Option(min=0, help="stop cleanly after so many hours")]
Callbacks = Annotated[
    list[str] | None,
    typer.Option(
        "--callback", help="tensorboard, mlflow, wandb or module:Class, to follow trials; may be repeated"
    ),
]
Profile = Annotated[
    bool, typer.Option("--profile", help="keep a trace of the workers: profile/trace.json in the run folder")
]
Cut = Annotated[
    list[str] | None,
    typer.Option("--cut", help="a cut between phases: train_loss=0.01, connected=1 or cka=0.65"),
]


@dataclass(frozen=True)
class Where:
    """Where a command works and leaves its page; ``engine`` are the settings that the engine takes."""

    storage: str
    reports: Path
    engine: dict[str, Any]

    def to_resume(self, run: str) -> str:
        """The command that goes on with a run in the same way, but for how long and with a profile."""
        engine = {name: self.engine[name] for name in ("address", "workers", "gpus")}
        callback = self.engine["callbacks"]
        return to_resume(run, storage=self.storage, reports=self.reports, callback=callback, **engine)


def _where(
    storage: Storage = "runs",
    reports: Reports = Path("reports"),
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    max_hours: MaxHours = None,
    callback: Callbacks = None,
    profile: Profile = False,
) -> Where:
    engine = {
        "storage": storage,
        "address": address,
        "workers": workers,
        "gpus": gpus,
        "max_hours": max_hours,
        "callbacks": callback or [],
        "profile": profile,
    }
    return Where(storage, reports, engine)


def works(*, trains: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command that has a ``where`` the options of :class:`Where`, after its own.

    ``trains``: whether it has trials that callbacks can follow.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = dict(inspect.signature(_where, eval_str=True).parameters)
        if not trains:
            del shared["callback"]

        @functools.wraps(command)
        def called(**given: Any) -> None:
            from explorer.engine.cluster import begun

            where = _where(**{name: given.pop(name) for name in shared})
            with begun(where.engine["address"]) as first:  # beside the imports, and the check of the input
                where.engine["begun"] = first
                command(**given, where=where)

        signature = inspect.signature(command, eval_str=True)
        own = {name: p for name, p in signature.parameters.items() if name != "where"}
        merged = [p.replace(kind=p.KEYWORD_ONLY) for p in (own | shared).values()]
        called.__signature__ = signature.replace(parameters=merged)  # pyright: ignore[reportAttributeAccessIssue]
        called.__annotations__ = {p.name: p.annotation for p in merged}  # which typer reads beside it
        return called

    return decorate


def to_resume(run: str, **options: Any) -> str:
    """The command that goes on with a run, to copy, as this program was called.

    ``options`` are those of :class:`Where`; one that has its default is left out.
    """
    program = Path(sys.argv[0])
    words = ["python", str(program)] if program.suffix == ".py" else [program.name]
    words += ["resume", run]
    for name, parameter in inspect.signature(_where).parameters.items():
        value = options.get(name, parameter.default)
        several = value if isinstance(value, list) else [value]
        if value != parameter.default:
            words += [word for one in several for word in (f"--{name.replace('_', '-')}", str(one))]
    return shlex.join(words)
