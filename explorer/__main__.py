"""Entry point of ``explorer``, ``python -m explorer`` and ``run_explore.py``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line, also without a standard input or output.

    Modules in the current folder are found, but after all others: no file there hides a library.
    """
    here = {"", os.path.abspath(os.curdir) if os.path.exists(os.curdir) else ""}
    sys.path[:] = [*(folder for folder in sys.path if folder not in here), ""]
    for file in range(3):
        try:
            os.fstat(file)
        except OSError:  # closed: the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = (file or open(os.devnull, "w") for file in (sys.stdout, sys.stderr))  # noqa: SIM115
    try:
        from explorer import cli

        cli.main()
    except ModuleNotFoundError as error:
        if "explorer.cli" in sys.modules:
            raise
        from explorer import _lacking

        print(f"Error: {_lacking(error.name or '')}.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # during the imports; later, the commands handle Ctrl-C
        sys.exit(130)


if __name__ == "__main__":
    main()
