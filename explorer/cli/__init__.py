"""The command line: parses arguments, calls the library and prints where the results are.

Exit codes: 0 success, 2 wrong input, 3 finished with failures (listed), 4 stopped by ``--max-hours``,
130 stopped with Ctrl-C, 143 by SIGTERM, 129 because the terminal was closed.

Heavy imports (ray, torch, altair, pandas) stay inside the commands, which keeps ``--help`` fast.
"""

from __future__ import annotations

import sys

from explorer.cli import adopt, look, pages, simulate, study, work
from explorer.cli.app import PLAIN, Command, app, errors
from explorer.settings import InputError, bounded

__all__ = ["app", "main"]

# In the order in which --help lists them.
for command in (
    *(work.run, work.resume, work.measure, study.study),
    *(pages.report, pages.diagnose, pages.export),
    *(look.status, look.runs, look.verify, look.check, simulate.simulate, look.spaces),
):
    app.command(cls=Command)(command)
app.command("import", cls=Command)(adopt.import_models)


def main() -> None:
    """Run the command line; the entry point of ``explorer`` and ``run_explore.py``."""
    try:
        app()
    except (InputError, NotADirectoryError, FileExistsError, PermissionError) as error:  # a wrong path
        errors.print(f"Error: {bounded(str(error))}", style="red", **PLAIN)
        sys.exit(2)
    except OSError as error:  # a full disk, or storage that cannot be reached
        errors.print(f"Error: {bounded(str(error))}", style="red", **PLAIN)
        sys.exit(3)
