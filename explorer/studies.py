"""Studies: the runs of several spaces, and the claims of the paper over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from explorer.phases.claims import Claim
from explorer.phases.claims.evidence import SIGNS
from explorer.phases.claims.together import Together, combine, table
from explorer.phases.numbers import format_number
from explorer.results import RunTables, load
from explorer.runs.files import Files, split
from explorer.runs.store import locate
from explorer.settings import InputError
from explorer.space.model import CheckedSpace
from explorer.space.reading import read

if TYPE_CHECKING:
    from explorer.engine.cluster import RunOptions
    from explorer.engine.session import Observer

SPACES = "spaces/study"


@dataclass
class Study:
    """Runs of several spaces. ``claims`` has one verdict for each claim over all of them."""

    runs: Sequence[RunTables]

    @cached_property
    def claims(self) -> list[Together]:
        return combine({run.name: _claims(run) for run in self.runs})

    @property
    def table(self) -> pd.DataFrame:
        """A row for each claim and space, and one for each claim over ``all spaces``."""
        return table(self.claims)


def _claims(run: RunTables) -> list[Claim]:
    """Return the claims of a run. Points of accuracy and of another task's measure are different units."""
    claims = run.check_claims(run.cells, run.cuts())
    if run.task.name == "classification":
        return claims
    return [replace(c, unit=f"points ({run.task.name})") if c.unit == "points" else c for c in claims]


def members(
    given: str | Path | Sequence[str | Path], overrides: Sequence[str], storage: str | Path
) -> list[CheckedSpace | str]:
    """Return the spaces and runs of a study: of space files, of folders of space files, and of runs.

    Raises:
        InputError: one of them cannot be read, or two would have the same run.
    """
    members: list[CheckedSpace | str] = []
    for one in map(str, [given] if isinstance(given, str | Path) else given or [SPACES]):
        folder, is_run = Path(one), Files(one).exists("run.yaml")
        if folder.is_dir() and not is_run and (files := sorted(folder.glob("*.yaml"))):
            members += [read(file, overrides) for file in files]
        elif one.endswith((".yaml", ".yml")):
            members.append(read(one, overrides))
        else:
            _check_run(one, storage)
            if overrides:
                raise InputError(f"--set {overrides[0]}: it changes space files, and {one} is a run")
            members.append(one)
    names = [member.name if isinstance(member, CheckedSpace) else Files(member).name for member in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"the study has {twice[0]!r} twice; give one of the spaces another name")
    return members


def _check_run(run: str, storage: str | Path) -> None:
    """Raise InputError if a run or a folder of tables does not exist, with what could be given instead."""
    if not Files(run).is_folder():
        try:
            locate(run, storage)
        except InputError as error:
            raise InputError(f"{error}; a study takes space files, folders of them, and runs") from error


def check(members: Sequence[CheckedSpace | str], storage: str | Path, where: RunOptions) -> None:
    """Check every member as its run will do, so that no space stops a study that has begun.

    Raises:
        InputError: a space or a run cannot be used, or an existing run has another space.
    """
    from explorer.engine.run import preview

    for member in members:
        if isinstance(member, str):
            load(member, storage)
            continue
        try:
            preview(member, member.name, storage, where)
        except InputError as error:
            raise InputError(f"space {member.name}: {error}") from error


def run_of(
    member: CheckedSpace | str, storage: str | Path, observer: Observer | None, where: RunOptions
) -> RunTables:
    """Return the run of a member of a study; the run of a space is continued until it is complete."""
    if isinstance(member, str):
        return load(member, storage)
    from explorer.engine.run import run

    return run(member, storage=storage, observer=observer, where=where)


def target(out: str | Path | None) -> tuple[Files, str] | None:
    """Return the folder and the name of the CSV file ``out``; None if there is none to write.

    Raises:
        InputError: the name has another ending, or the place cannot be used.
    """
    if out is None:
        return None
    folder, name = split(out)
    if not name.endswith(".csv"):
        raise InputError(f"--out {out}: the name must end in .csv; a summary (.md) is put beside it")
    files = Files(folder)
    files.check_writable("--out")
    return files, name


def write(study: Study, target: tuple[Files, str]) -> list[Path | str]:
    """Write the table of a study as CSV and its claims as Markdown next to it; return both."""
    files, name = target
    files.write(name, study.table.to_csv(index=False, float_format="%.6g").encode())
    summary = f"{name.removesuffix('.csv')}.md"
    files.write(summary, markdown(study).encode())
    return [files.place(name), files.place(summary)]


def markdown(study: Study) -> str:
    """Return the claims against the spaces as a table in Markdown."""
    names = [run.name for run in study.runs]
    lines = [f"| claim | all spaces | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
    for one in study.claims:
        whole = f"{one.words}, {_effect(one)}" if format_number(one.effect) else one.words
        each = [f"{SIGNS[one.verdicts[n]]} {_effect(one.claims[n])}".strip() for n in names]
        lines.append(f"| {one.statement} | {whole} | {' | '.join(each)} |")
    lines += [
        "",
        "✓ holds, ✗ does not hold, ? cannot be told, empty: not testable; effect and 95 % interval.",
    ]
    lines += ["", *(f"- {one.statement} {one.why}{_wanted(one)}" for one in study.claims)]
    return "\n".join(lines) + "\n"


def _effect(one: Together | Claim) -> str:
    if not format_number(one.low):
        return format_number(one.effect)
    return f"{format_number(one.effect)} ({format_number(one.low)} to {format_number(one.high)})"


def _wanted(one: Together) -> str:
    return f" What would decide it: {one.would_decide}." if one.would_decide else ""
