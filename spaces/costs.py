"""Writes what each full-size space would cost on one node of eight H100 into its head and into the README.

    python spaces/costs.py           # about two minutes on one core; nothing is downloaded or trained

The numbers are those of ``run_explore.py check <file> --cluster 8xH100``.
"""

from __future__ import annotations

import re
from pathlib import Path

from explorer.estimate import describe
from explorer.space import reading

FOLDER = Path(__file__).parent
CLUSTER = "8xH100"
FULL_SIZE = sorted(file for file in FOLDER.glob("*.yaml") if re.match(r"cifar|svhn|iwslt", file.name))
HEAD = re.compile(
    r"^(# Expected cost: )(.+?)( on one node of eight H100 \(`check` with `--cluster 8xH100`\)\.)$", re.M
)


def row_of(name: str) -> re.Pattern[str]:
    """The row of a space in the README's second table; its last cell is the cost."""
    return re.compile(rf"^(\| \[{re.escape(name)}\.yaml\].*\| )([^|]+)( \|)$", re.M)


def cost(file: Path) -> str:
    """Return the time that `check` tells."""
    table = describe(reading.read(file), CLUSTER)
    text = " ".join(str(cell) for cell in table.columns[1].cells)
    hours, unit = re.findall(r"about ([\d.]+) (h|days) on", text)[0]
    return f"{float(hours) * (24 if unit == 'days' else 1):.0f} h"


def main() -> None:
    """Rewrite the numbers."""
    readme = (FOLDER / "README.md").read_text()
    for file in FULL_SIZE:
        told = cost(file)
        readme, rows = row_of(file.stem).subn(rf"\g<1>{told}\g<3>", readme)
        text, heads = HEAD.subn(rf"\g<1>{told}\g<3>", file.read_text())
        if (rows, heads) != (1, 1):
            raise SystemExit(
                f"{file.name}: {rows} rows of the README and {heads} lines of its head tell the cost"
            )
        file.write_text(text)
        print(f"{file.name}: {told}")
    (FOLDER / "README.md").write_text(readme)


if __name__ == "__main__":
    main()
