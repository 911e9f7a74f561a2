"""Entry point of ``explorer``, ``python -m explorer`` and ``run_explore.py``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line.

    Modules in the current folder are found, but after all others: no file there hides a library.
    """
    here = {"", os.path.abspath(os.curdir) if os.path.exists(os.curdir) else ""}
    sys.path[:] = [*(folder for folder in sys.path if folder not in here), ""]
    try:
        from explorer import cli

        cli.main()
    except KeyboardInterrupt:  # during the imports; later, the commands handle Ctrl-C
        sys.exit(130)


if __name__ == "__main__":
    main()
