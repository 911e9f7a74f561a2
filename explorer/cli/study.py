"""The command ``study``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from explorer.cli.app import PLAIN, console, errors, say
from explorer.cli.options import (
    Address,
    Gpus,
    LogicalGpus,
    Overrides,
    Reports,
    Storage,
    Workers,
    program,
)
from explorer.cli.work import exit_with_message


def study(
    spaces: Annotated[
        list[str] | None,
        typer.Argument(
            help="space files, folders of them, or runs; default: spaces/study", show_default=False
        ),
    ] = None,
    set_: Overrides = None,
    out: Annotated[
        str | None,
        typer.Option(help="CSV file of all verdicts to write, or its URI; a summary (.md) is put beside it"),
    ] = None,
    storage: Storage = "runs",
    reports: Reports = "reports",
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    logical_gpus: LogicalGpus = False,
) -> None:
    """Run several spaces, and say which claims of the paper hold over all of them. Continues their runs."""
    from explorer import report as pages
    from explorer import studies
    from explorer.engine.cluster import RunOptions
    from explorer.engine.display import Display
    from explorer.report.outcome import failures, first_lines
    from explorer.report.study_page import summary, write_study
    from explorer.runs.files import Files

    members = studies.members(spaces or [], set_ or [], storage)
    target = studies.target(out)
    Files(reports).check_writable("--reports")
    where = RunOptions(address=address, workers=workers, gpus=gpus, logical_gpus=logical_gpus)
    studies.check(members, storage, where)
    again = shlex.join([*program(), *sys.argv[1:]])
    runs, links, failed = [], {}, []

    def kept(before: str) -> str:
        how = f"{before}continue the study with the same command:\n  {again}"
        return f"Finished work is kept. {how[0].upper()}{how[1:]}"

    with exit_with_message(kept), Display(console) as display:
        display.stage("spaces", len(members))
        for member in members:
            run = studies.run_of(member, storage, display, where)
            folder = pages.page_folder([run], reports)
            pages.write(run, folder)
            runs.append(run)
            links[run.name] = f"../{Path(folder).name}/index.html"
            failed += [f"{run.name}: {line}" for line in failures(run)[1]]
            display.advance("spaces", 1, 0)
        display.stage("drawing", 0)
        one = studies.Study(runs)
        index = write_study(runs, one.claims, pages.page_folder(runs, reports, name="study"), links)
        files = studies.write(one, target) if target else []
    for file in files:
        say(f"Wrote {file}")
    say(summary(one.claims))
    say(f"Report: {index}")
    if failed:
        errors.print("Finished with failures:", *first_lines(failed), sep="\n  ", **PLAIN)
        raise typer.Exit(3)
