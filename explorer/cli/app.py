"""The Typer application, its consoles, and its messages for command lines that cannot be parsed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typer.core import TyperCommand, TyperGroup

from explorer.settings import near, printable


class Commands(TyperGroup):
    """The group of all commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        option = args[0].partition("=")[0] if args else ""
        takers = [name for name, one in self.commands.items() if any(option in p.opts for p in one.params)]
        if option.startswith("--") and takers:
            ctx.fail(f"{option} must come after the command; it is an option of {', '.join(takers)}.")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        word = args[0]
        if word not in self.commands:
            ctx.fail(f"No such command '{word}'. {_suggestion(word, list(self.commands))}")
        return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command."""

    allow_extra_args = True  # rejected below, with a better message

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        super().parse_args(ctx, args)
        if ctx.args:
            word = ctx.args[0]
            settable = any("--set" in parameter.opts for parameter in self.params)
            meant = f" Did you mean: --set {shlex.quote(word)}" if "=" in word and settable else ""
            ctx.fail(f"'{word}' is one argument too many.{meant}")
        return ctx.args


def _suggestion(word: str, commands: list[str]) -> str:
    if word.endswith((".yaml", ".yml")):
        return f"Did you mean: run {shlex.quote(word)}"
    if (file := Path("spaces", f"{word}.yaml")).is_file():
        return f"Did you mean: run {file}"
    close = near(word, commands)
    return f"Did you mean: {close[0]}" if close else f"The commands are {', '.join(commands)}."


app = typer.Typer(
    name="explorer",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Explorer maps how networks learn: train a grid, measure its loss landscapes, read its phases.",
    epilog="Exit codes: 0 success, 2 wrong input, 3 finished with failures, "
    "4 stopped by --max-hours, 130 stopped with Ctrl-C, 143 by SIGTERM, 129 because the terminal was closed.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"explorer {version('explorer-landscapes')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Options of the program itself."""


class SafeConsole(Console):
    """A console that prints no control characters of a text, which may come from a file."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


console = SafeConsole()
errors = SafeConsole(stderr=True)
# For user text and for commands that the user copies: printed as it is, without wrapping.
PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}


def say(text: str) -> None:
    """Print plain text to standard output."""
    console.print(text, **PLAIN)
