"""Help pages: flags in panels with their defaults, examples, as wide as the terminal."""

from __future__ import annotations

import inspect
import shutil
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, style
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from ..errors import UsageError
from .console import coloured

if TYPE_CHECKING:
    from typer._click import Command as AnyCommand
    from typer._click import Context as AnyContext
    from typer._click import Parameter

WIDEST = 160  # columns of text that can still be read
NARROW = 60  # columns below which a description stands under its flag
COLUMN = 30, 38  # columns of the flags, on terminals below and from ROOMY on
ROOMY = 100

Row = tuple[str, str]  # what is described, and its description


class Command(TyperCommand):
    """A command whose flags stand in panels; each line of its epilog is an example."""

    def get_params(self, ctx: AnyContext) -> list[Parameter]:
        """Its parameters, and while a shell completes also the options of every command, which may follow it."""
        return super().get_params(ctx) + followers(ctx)

    def get_help(self, ctx: AnyContext) -> str:
        """The page of this command."""
        page = Page()
        begin(page, self, ctx)
        page.panels(self.panels(ctx))
        end(page, self, ctx)
        return page.text()

    def panels(self, ctx: AnyContext) -> dict[str, list[Row]]:
        """Rows of every panel."""
        return panels_of(self, ctx)


class Group(TyperGroup):
    """A group whose commands are listed with their whole summaries."""

    tail = "COMMAND [ARGS]..."  # of its usage

    def get_params(self, ctx: AnyContext) -> list[Parameter]:
        """Its parameters, and while a shell completes also the options of every command, which may follow it."""
        return super().get_params(ctx) + followers(ctx)

    def get_help(self, ctx: AnyContext) -> str:
        """The page of this group."""
        page = Page()
        begin(page, self, ctx)
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        page.panels({"Commands": [(name, summary(command)) for name, command in commands if command]})
        page.panels(panels_of(self, ctx))
        end(page, self, ctx)
        return page.text()


class Page:
    """Lines of a help page, wrapped between words to the width of the terminal."""

    def __init__(self) -> None:
        self.width = min(shutil.get_terminal_size().columns, WIDEST)
        self.lines: list[str] = []

    def paragraph(self, text: str) -> None:
        """Add a paragraph after an empty line."""
        self.lines += ["", *self._wrap(text, 2)]

    def panels(self, panels: dict[str, list[Row]]) -> None:
        """Add headings, and under each its terms with their descriptions in one column."""
        longest = max((len(term) for rows in panels.values() for term, _ in rows), default=0)
        column = min(longest, COLUMN[self.width >= ROOMY]) + 4  # the indent of 2, and 2 before the description
        for title, rows in panels.items():
            if rows:
                self.heading(title)
            for term, text in rows:
                self._row(term, text, column)

    def _row(self, term: str, text: str, column: int) -> None:
        if self.width < NARROW:
            self.lines += [self._paint(line) for line in self._wrap(term, 2)] + self._wrap(text, 6)
            return
        first, *rest = self._wrap(text, column) or [""]
        if len(term) + 4 > column:
            self.lines += [self._paint("  " + term), *([first] if text else [])]
        else:
            self.lines.append((self._paint("  " + term.ljust(column - 2)) + first.strip()).rstrip())
        self.lines += rest

    def heading(self, title: str) -> None:
        """Add a heading after an empty line."""
        lines = whole_words(f"{title}:", self.width, "", "")
        self.lines += ["", *(style(line, bold=True) if coloured() else line for line in lines)]

    def text_block(self, text: str) -> None:
        """Add text under a heading."""
        self.lines += self._wrap(text, 2)

    def usage(self, words: list[str]) -> None:
        """Add the usage line."""
        self.lines += whole_words(f"Usage: {' '.join(words)}", self.width, "", " " * 7)

    def example(self, line: str) -> None:
        """Add a command as it is typed."""
        self.lines.append(self._paint(f"  {line}"))

    def text(self) -> str:
        """The page."""
        return "\n".join(self.lines)

    def _wrap(self, text: str, indent: int) -> list[str]:
        space = " " * indent
        return whole_words(text, self.width, space, space)

    def _paint(self, text: str) -> str:
        return style(text, fg="cyan") if coloured() else text


def whole_words(text: str, width: int, first: str, rest: str) -> list[str]:
    """Lines of a text; a word, a flag or a path is never split."""
    return wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def begin(page: Page, command: AnyCommand, ctx: AnyContext) -> None:
    """Write the usage and the description of a command."""
    arguments = [param for param in command.params if isinstance(param, TyperArgument)]
    words = [path_of(ctx), "[OPTIONS]", *map(name_of, arguments)]
    page.usage([*words, command.tail] if isinstance(command, Group) and command.tail else words)
    for text in inspect.cleandoc(command.help or "").split("\n\n"):
        page.paragraph(" ".join(text.split()))


def path_of(ctx: AnyContext) -> str:
    """The words that name a command; arguments of those above it are left out, as they stand in for its name."""
    above = f"{path_of(ctx.parent)} " if ctx.parent else ""
    return above + str(ctx.info_name)


def end(page: Page, command: AnyCommand, ctx: AnyContext) -> None:
    """Write the flags that every command takes, and the examples."""
    if ctx.parent:
        page.heading("Options of every command")
        flags = ["/".join(reversed(option.opts)) for option in shared(ctx)]
        page.text_block(f"{', '.join([*flags, '-h/--help'])}. `arvdm --help` describes them.")
    examples = inspect.cleandoc(command.epilog or "").splitlines()
    if examples:
        page.heading("Examples" if len(examples) > 1 else "Example")
        for line in examples:
            page.example(line)


def shared(ctx: AnyContext) -> list[TyperOption]:
    """Options that every command takes."""
    options = ctx.find_root().command.params
    return [option for option in options if isinstance(option, TyperOption) and "completion" not in str(option.name)]


def followers(ctx: AnyContext) -> list[TyperOption]:
    """Options of every command that a shell completes behind a command."""
    return shared(ctx) if ctx.resilient_parsing and ctx.parent else []


def panels_of(command: AnyCommand, ctx: AnyContext) -> dict[str, list[Row]]:
    """Arguments and options of a command by panel, those without one first."""
    panels: dict[str, list[Row]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        if isinstance(param, TyperArgument):
            panels["Arguments"].append((name_of(param), described(param)))
        elif isinstance(param, TyperOption) and not param.hidden and not (ctx.parent and param.name == "help"):
            panels.setdefault(param.rich_help_panel or "Options", []).append((term(param), described(param)))
    return panels


def term(option: TyperOption) -> str:
    """Spellings of an option and what it takes: -n, --length N."""
    flags = ", ".join(sorted(option.opts, key=len))
    if option.secondary_opts:
        flags += " / " + ", ".join(option.secondary_opts)
    return flags if option.is_flag else f"{flags} {metavar(option)}"


def name_of(argument: TyperArgument) -> str:
    """An argument as the usage line shows it."""
    name = (argument.metavar or str(argument.name).upper()).removesuffix("...")
    name += "..." if argument.nargs != 1 else ""
    return name if argument.required else f"[{name}]"


def metavar(option: TyperOption) -> str:
    """What stands for an option's value: its choices, N for a number, else the last word of its name."""
    kind = option.type_descriptor
    if option.metavar:
        return option.metavar
    if kind.is_choice and kind.choices is not None:
        return "|".join(map(str, kind.choices))
    names = {"int": "N", "float": "X", "Path": "FILE"}
    bare = option.bare_type().removeprefix("list[").removesuffix("]").split(".")[-1]
    return names.get(bare, str(option.name).split("_")[-1].upper())


def described(param: Parameter) -> str:
    """Help of a parameter, then its default and its limits."""
    assert isinstance(param, TyperArgument | TyperOption)
    extra = []
    if default := default_of(param):
        extra.append(f"default: {default}")
    if param.min is not None and param.max is not None and param.max < 1 << 60:
        extra.append(f"{param.min:g} to {param.max:g}")
    if param.required and isinstance(param, TyperOption):
        extra.append("required")
    return "  ".join(filter(None, [param.help, f"[{'; '.join(extra)}]" if extra else ""]))


def default_of(param: TyperArgument | TyperOption) -> str:
    """The value where none is given, as text; empty where there is none."""
    if isinstance(param.show_default, str):
        return param.show_default
    if param.default is None or not param.show_default:
        return ""
    if isinstance(param, TyperOption) and param.is_flag:
        return ("yes" if param.default else "no") if param.secondary_opts else ""
    if isinstance(param.default, (list, tuple)):
        return ", ".join(map(str, param.default))
    return str(param.default)


def summary(command: AnyCommand) -> str:
    """First paragraph of a command's description."""
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())


def show_help(
    context: Context,
    words: Annotated[list[str] | None, Argument(metavar="COMMAND", help="Words of a command.")] = None,
):
    """Show the help of a command."""
    at: AnyContext = context.find_root()
    for word in words or []:
        if not isinstance(at.command, Group):
            raise UsageError(f"{path_of(at)} has no command {word!r}.", hint=f"`{path_of(at)} --help`")
        name, command, _ = at.command.resolve_command(at, [word])
        assert command is not None
        at = Context(command, info_name=name, parent=at)
    print(at.get_help())
