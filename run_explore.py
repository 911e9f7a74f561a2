#!/usr/bin/env python3
"""Explorer's command line: ``python run_explore.py run spaces/digits.yaml``."""

from explorer.__main__ import main

if __name__ == "__main__":
    main()
