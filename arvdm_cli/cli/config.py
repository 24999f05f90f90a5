"""What sets a flag that is not given: variables and files, and which of them wins.

From the lowest: the user's own file, arvdm.toml in the current folder, the file of --config, variables ARVDM_*.
All of them are checked as the program starts, each value as its flag would be, whichever command runs.
"""

import os
import re
import reprlib
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from typer import BadParameter, Context
from typer.core import TyperOption

from ..configs import Json
from ..errors import ConfigError
from . import flags

if TYPE_CHECKING:
    from typer._click import Parameter

Words = tuple[str, ...]  # what names a flag: the words of its command, and its own


@dataclass(frozen=True)
class Setting:
    """A value for a flag that is not given, and where it was set."""

    value: object
    origin: str  # "file arvdm.toml", "environment ARVDM_GENERATE_STEPS"


HERE = Path("arvdm.toml")
LONGEST = 1 << 14  # bytes of a file; the worst of that size takes tomllib two seconds, and twice the size four times
WHOLE = ("prompt",)  # flags that may be repeated, of which a variable holds one: a text with blanks
FLAG_ONLY = ("no_overwrite",)  # takes back the `yes` of a file; set in a file itself, it could not be taken back by -y

# All that arvdm.toml in the current folder may set, as it may be a stranger's: how frames are sampled, which a
# checkpoint may say too, and encoded; nothing that is read, written, replaced, run or fetched
ANYBODYS = {
    "generate": (
        *flags.SAMPLING, "seed", "fps", "crf", "codec", "scale", "include_prompt",
    ),
    "": ("color", "progress"),
}  # fmt: skip


WORD = re.compile(r"[\w-]*(:\w+=[\d.]+(,\w+=[\d.]+)*)?")


def use(context: Context, named: str | None) -> str | None:
    """Set the flags that are not given; this is the callback of --config, and runs before other flags are read."""
    if not context.resilient_parsing and not context.meta.get("help"):
        values: dict[Words, Setting] = {}
        for file, trusted in files(named):
            values |= from_file(file, context, trusted)
        values |= from_variables(context)
        context.meta["settings"] = values
        context.default_map = tree(values)
    return named


def files(named: str | None) -> list[tuple[Path, bool]]:
    """Settings files that exist, lowest first, and whether each is the user's."""
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():  # as the standard says
        base = Path(os.path.expanduser("~"), ".config")
    personal = base / "arvdm" / "config.toml"
    chosen = Path(named) if named is not None else None
    try:
        if chosen and not chosen.exists():
            raise ConfigError(f"{named} does not exist.", hint="--config needs the path of a TOML file.")
        existing = [(personal, True)] if base.is_absolute() and personal.exists() else []
        if HERE.exists() and not (chosen and HERE.samefile(chosen)):
            existing.append((HERE, False))
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return [*existing, (chosen, True)] if chosen else existing


def from_file(file: Path, context: Context, trusted: bool) -> dict[Words, Setting]:
    """Values that a file sets.

    trusted: whether the user wrote or named it, so that it may set everything
    """
    options = settable(context.command)
    values = {}
    for words, value in entries(read(file), options):
        where = f"{file}: {spelled(words)}"
        if words not in options:
            raise ConfigError(f"{where} is not a setting.", hint=nearest(words, options))
        if not trusted and not is_anybodys(words, value):
            raise ConfigError(
                f"{where} may not be set to {brief(value)} by a file in the current folder.",
                hint=f"Such a file may come from someone else. If it is yours, use all of it with `--config {file}`.",
            )
        flag = options[words].is_flag
        parts = value if options[words].multiple and isinstance(value, list) else [value]
        if not all(type(part) is bool if flag else is_scalar(part) for part in parts):
            wanted = "true or false" if flag else "a string or a number"
            raise ConfigError(f"{where} is {brief(value)}, not {wanted}.", hint=help_of(words))
        whole = parts if options[words].multiple else value
        check(options[words], whole, context, where, words)
        values[words] = Setting(whole, f"file {file}")
    return values


def read(file: Path) -> Json:
    """Tables of a TOML file."""
    try:
        if not file.is_file():  # a pipe would keep us waiting
            raise ConfigError(f"{file} is not a file.")
        with file.open("rb") as stream:
            data = stream.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise ConfigError(f"{file} is longer than {LONGEST} bytes.", hint="A settings file holds settings only.")
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}.") from error


def entries(table: Json, options: dict[Words, TyperOption], above: Words = ()) -> Iterator[tuple[Words, object]]:
    """Every value in the tables of commands, with the words that name it."""
    for key, value in table.items():
        words = (*above, key.replace("-", "_"))
        if isinstance(value, dict) and is_table(words, options):
            yield from entries(value, options, words)
        else:
            yield words, value


def from_variables(context: Context) -> dict[Words, Setting]:
    """Values that variables set: ARVDM_, the words of the command and the flag's own, such as ARVDM_GENERATE_STEPS."""
    values = {}
    for words, option in settable(context.command).items():
        name = "_".join(("arvdm", *words)).upper()
        if text := os.environ.get(name):
            parts = [text] if option.name in WHOLE else text.split()
            value = parts if option.multiple else text
            check(option, value, context, name, words)
            values[words] = Setting(value, f"environment {name}")
    return values


def unread(context: Context) -> Iterator[str]:
    """Say of each variable that is like one of a flag, and is none, that it sets nothing."""
    given = [name for name in os.environ if name.startswith("ARVDM_")]
    options = settable(context.command) if given else {}
    known = {"_".join(("arvdm", *words)).upper(): words for words in options}
    commands = {name.removesuffix(words[-1].upper()) for name, words in known.items() if len(words) > 1}
    for name in given:
        if name in known:
            continue
        near = get_close_matches(name, known, 1, 0.9)
        near = near or [other for other in known if other.endswith(name.removeprefix("ARVDM"))]
        if near or name.startswith(tuple(commands)):
            yield f"{name} sets nothing: no flag is called so." + (f" Did you mean {near[0]}?" if near else "")


class Command(Protocol):
    """A command or group, as typer builds it."""

    params: "list[Parameter]"


def settable(command: Command, above: Words = ()) -> dict[Words, TyperOption]:
    """Every flag that variables and files can set; one with a callback does something at once, as --version does."""
    options = {
        (*above, option.name): option
        for option in command.params
        if isinstance(option, TyperOption) and option.callback is None and option.name not in FLAG_ONLY
    }
    for word, below in getattr(command, "commands", {}).items():
        options |= settable(below, (*above, word))
    return options


def require_finite(command: Command) -> None:
    """Let no flag of a command, or of one below it, take inf or nan."""
    for option in settable(command).values():
        option.process_value = partial(finite, option, option.process_value)  # type: ignore[method-assign]


def finite(
    option: TyperOption, process: Callable[[Context, object], object], context: Context, value: object
) -> object:
    """Process a flag's value.

    Raises: BadParameter where it is inf or nan
    """
    processed = process(context, value)
    for number in processed if isinstance(processed, list) else [processed]:
        if isinstance(number, float) and not isfinite(number):
            raise BadParameter(f"{number} is not a finite number.", context, option)
    return processed


def check(option: TyperOption, value: object, context: Context, where: str, words: Words) -> None:
    """Refuse a value that its flag cannot take.

    Raises: ConfigError
    """
    try:
        option.process_value(context, value)
    except BadParameter as error:
        reason = error.message.removeprefix("Value error, ")[:200]
        raise ConfigError(f"{where} is {brief(value)}: {reason}", hint=help_of(words)) from error


def tree(values: dict[Words, Setting]) -> Json:
    """Values in the form in which a context looks up its defaults: a dict for each command."""
    whole: Json = {}
    for (*above, name), setting in values.items():
        table = whole
        for word in above:
            below = table.setdefault(word, {})
            assert isinstance(below, dict)
            table = below
        table[name] = setting.value
    return whole


def is_table(words: Words, options: dict[Words, TyperOption]) -> bool:
    """Whether these are the words of a command or group with flags."""
    return any(len(path) > len(words) and path[: len(words)] == words for path in options)


def is_anybodys(words: Words, value: object) -> bool:
    """Whether a stranger may set this: a flag that can do no harm, and where it takes text, a word that is no path.

    A word may have options, as a schedule has: rolling:blocks=2,shift=1.5.
    """
    *above, name = words
    harmless = name in ANYBODYS.get(".".join(above), ())
    parts = value if isinstance(value, list) else [value]
    return harmless and all(not isinstance(part, str) or WORD.fullmatch(part) for part in parts)


def is_scalar(value: object) -> bool:
    """Whether a value could stand behind a flag."""
    if isinstance(value, str):
        return "\0" not in value
    return isinstance(value, float) or (type(value) is int and abs(value) < 1 << 63)


def nearest(words: Words, options: dict[Words, TyperOption]) -> str:
    """Hint at what was meant by an unknown name."""
    *above, name = words
    if is_table(words, options):
        return f"[{'.'.join(words)}] is the table of its flags."
    if not above and (owner := next((path for path in options if path[-1] == name), None)):
        return f"Put it into the table of its command, such as [{'.'.join(owner[:-1])}]."
    here = dict.fromkeys(path[len(above)] for path in options if path[: len(above)] == tuple(above))
    near = get_close_matches(name, here, n=1)
    return f"Did you mean {near[0]!r}?" if near else help_of(words)


def help_of(words: Words) -> str:
    """Where to look for what a command can be given."""
    return f"`{' '.join(('arvdm', *words[:-1]))} --help` lists the options."


def spelled(words: Words) -> str:
    """A setting as it stands in a file: [eval.drift] steps."""
    *above, name = words
    table = f"[{'.'.join(above)}] " if above else ""
    return table + (name if len(name) < 40 else brief(name))


def brief(value: object) -> str:
    """A value as short text, however long it is."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return "a number of too many digits"
