"""The command line: parse, call, print where things are.

Exit codes: 0 all well, 2 wrong input, 3 finished with failures (listed), 130 stopped by the user.

Heavy imports (ray, torch, altair, pandas) stay inside the commands: ``--help`` answers at once.
"""

from __future__ import annotations

import sys

from explorer.cli import look, pages, work
from explorer.cli.app import PLAIN, app, errors
from explorer.cli.usage import Command
from explorer.settings import InputError

__all__ = ["app", "main"]

# In the order in which --help lists them.
for command in (
    *(work.run, work.resume, work.measure),
    *(pages.report, pages.diagnose, pages.export),
    *(look.status, look.check, look.spaces),
):
    app.command(cls=Command)(command)


def main() -> None:
    """Entry point of ``explorer`` and ``run_explore.py``."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # module:function of the current folder, as `python run_explore.py` finds it
    try:
        app()
    except (InputError, NotADirectoryError, FileExistsError, PermissionError) as error:  # a wrong place
        errors.print(f"Error: {error}", style="red", **PLAIN)
        sys.exit(2)
    except OSError as error:  # a full disk, a storage out of reach
        errors.print(f"Error: {error}", style="red", **PLAIN)
        sys.exit(3)
