"""`arvdm train WORDS...` beside commands that its first word names, such as `arvdm train init`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperGroup

from ..help import Group, Page, begin, end, panels_of, summary
from .keys import key_panels

if TYPE_CHECKING:
    from typer._click import Context


class TrainGroup(Group):
    """A command of its own, unless its first word is the name of one below it; its help lists every key of a file."""

    tail = ""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Leave all words to the command that the first one names, or read them as those of this one."""
        if args and args[0] in self.commands:
            ctx.args = args
            return args
        ctx.allow_interspersed_args = True
        return super(TyperGroup, self).parse_args(ctx, args)

    def invoke(self, ctx: Context) -> object:
        """Run what `parse_args` has found."""
        if not ctx.args:
            return super(TyperGroup, self).invoke(ctx)
        name, command, rest = self.resolve_command(ctx, ctx.args)
        assert command is not None, "its name is the first word"
        ctx.invoked_subcommand, ctx.args = name, []
        with command.make_context(name, rest, parent=ctx) as below:
            return command.invoke(below)

    def get_help(self, ctx: Context) -> str:
        """The page of this command."""
        page = Page()
        begin(page, self, ctx)
        panels = panels_of(self, ctx)
        below = {"Commands": [(name, summary(command)) for name, command in self.commands.items()]}
        page.panels(panels | below | key_panels())
        end(page, self, ctx)
        return page.text()
