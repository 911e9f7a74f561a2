"""The program, as ``explorer``, ``python -m explorer`` and ``run_explore.py`` start it."""

from __future__ import annotations

import sys


def main() -> None:
    """Do what the command line says."""
    try:
        from explorer import cli

        cli.main()
    except KeyboardInterrupt:  # in the first moment; later on, a command says what comes next
        sys.exit(130)


if __name__ == "__main__":
    main()
