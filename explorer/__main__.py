"""Entry point of ``explorer``, ``python -m explorer`` and ``run_explore.py``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from explorer import cli

        cli.main()
    except KeyboardInterrupt:  # during the imports; later, the commands handle Ctrl-C
        sys.exit(130)


if __name__ == "__main__":
    main()
