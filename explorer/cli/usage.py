"""Error messages for command lines that cannot be parsed, with a suggestion of what was meant."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from explorer.settings import near


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
            ctx.fail(f"No such command '{word}'. {_meant(word, list(self.commands))}")
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


def _meant(word: str, commands: list[str]) -> str:
    if word.endswith((".yaml", ".yml")):
        return f"Did you mean: run {shlex.quote(word)}"
    if (file := Path("spaces", f"{word}.yaml")).is_file():
        return f"Did you mean: run {file}"
    close = near(word, commands)
    return f"Did you mean: {close[0]}" if close else f"The commands are {', '.join(commands)}."
