"""The Typer application and its consoles."""

from __future__ import annotations

import re
from typing import Any

import typer
from rich.console import Console

from explorer.cli.usage import Commands
from explorer.settings import InputError

app = typer.Typer(
    name="explorer",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Explorer maps how networks learn: train a grid, measure its loss landscapes, read its phases.",
    epilog="Exit codes: 0 success, 2 wrong input, 3 finished with failures, 130 stopped with Ctrl-C.",
)
console = Console()
errors = Console(stderr=True)
# For user text and for commands that the user copies: no markup, no highlighting, no wrapping.
PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}


def checked_name(name: str) -> str:
    from explorer.space.model import NAME, NAME_RULE

    if not re.match(NAME, name):
        raise InputError(f"--name {name!r}: {NAME_RULE}")
    return name


def say(text: str) -> None:
    console.print(text, **PLAIN)
