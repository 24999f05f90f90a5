"""Flags that several commands have, each with one meaning."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from typer import Argument, Context, Option

from ..errors import UsageError
from ..sampling.config import CHOSEN, SETTINGS, flag_of
from ..sampling.schedules import OPTIONS
from . import completion

# Panels of flags, as help pages show them
PROMPT, ACTIONS, SAMPLING_PANEL, OUTPUT, RUN, MACHINE = "Prompt", "Actions", "Sampling", "Output", "Run", "Machine"


# How a model is sampled: what is given of `sampling.config.SETTINGS`, by name; the rest stays the checkpoint's own
Choices = dict[str, Any]


def name_of(setting: str) -> str:
    """A setting's name among a command's flags: memory_slots for `slots`."""
    return SETTINGS[setting].flag or setting


SAMPLING = tuple(map(name_of, SETTINGS))  # all of them, as files and variables name them


def parameter(setting: str, repeat: bool = False) -> inspect.Parameter:
    """A setting as a parameter that typer reads.

    repeat: whether it may be given more than once
    """
    about = SETTINGS[setting]
    names = [flag_of(setting), *([about.short] if about.short else [])]
    help = f"{about.help} Repeat to compare." if repeat else about.help
    kind: Any = list[about.kind] if repeat else about.kind  # type: ignore[name-defined]
    option = Option(
        *names,
        min=about.least,
        max=about.most,
        help=help,
        metavar=about.metavar or "|".join(about.choices) or None,
        show_default=default_of(setting),
        autocompletion=completion.presets if setting == "schedule" else completion.words(*about.choices),
        rich_help_panel=SAMPLING_PANEL,
    )
    return inspect.Parameter(
        name_of(setting), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def default_of(setting: str) -> str:
    """What a setting is where it is not given, for help."""
    if setting == "shift":
        return "none"
    return "the schedule's own" if setting in OPTIONS else "the checkpoint's own"


Command = Callable[..., object]  # typer reads its parameters, so their types cannot be told here


def sampling(*, presets: bool = True, fields: bool = True, repeat: bool = False) -> Callable[[Command], Command]:
    """Give a command the flags of sampling, at the place of its parameter `chosen: Choices`.

    A flag that the command has itself, with another meaning or form, is left out.

    presets: whether the options of presets are among them
    fields: whether the schedule and all that is no option of it are
    repeat: whether each may be given more than once; then `chosen` holds lists
    """

    def decorate(command: Command) -> Command:
        declared = inspect.signature(command, eval_str=True).parameters
        names = [name for name in SETTINGS if (presets and name in OPTIONS) or (fields and name in CHOSEN)]
        settings = {name_of(name): name for name in names if name_of(name) not in declared}

        @wraps(command)
        def run(**values: Any) -> object:
            sampled = {name: values.pop(flag) for flag, name in settings.items()}
            chosen = {name: value for name, value in sampled.items() if value not in (None, [])}
            for name, value in chosen.items():  # what is not a valid value shows before a model is loaded
                for each in value if isinstance(value, list) else [value]:
                    SETTINGS[name].check(name, each)
            return command(**values, chosen=chosen)

        parameters: list[inspect.Parameter] = []
        for name, each in declared.items():
            if name == "chosen":
                parameters += [parameter(setting, repeat) for setting in settings.values()]
            else:
                parameters.append(each.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def given(context: Context) -> dict[str, str]:
    """Flags that the command line itself holds, and no file or variable sets: parameter -> flag."""
    flags = {each.name: max(each.opts, key=len) for each in context.command.params if each.name}
    sources = {name: context.get_parameter_source(name) for name in flags}
    return {name: flags[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def refuse(context: Context, names: Iterable[str], why: str, hint: str | None = None) -> None:
    """Refuse flags that a command cannot obey.

    names: their parameters
    why: what the message says of those that are given, after their names
    Raises: UsageError
    """
    flags = given(context)
    if idle := [flags[name] for name in flags if name in set(names)]:
        raise UsageError(f"{', '.join(idle)}: {why}", hint)


def grouped(command: Command) -> Command:
    """Give a command a flag for every field of its parameters that are dataclasses, with the field's default.

    A field is annotated as a parameter of a command is: Annotated[int, Option(help=...)].
    """
    declared = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, type] = {
        name: each.annotation for name, each in declared.items() if hasattr(each.annotation, "__dataclass_fields__")
    }

    @wraps(command)
    def run(**values: object) -> object:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return command(**values)

    parameters: list[inspect.Parameter] = []
    for name, each in declared.items():
        keyword = inspect.Parameter.KEYWORD_ONLY
        hints = get_type_hints(each.annotation, include_extras=True) if name in groups else {}
        parameters += [
            inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name])
            for field in (fields(each.annotation) if name in groups else ())
        ] or [each.replace(kind=keyword)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


# How frames of another shape become the model's: `media.fit.Fitting`
Fitting = Literal["crop", "pad", "stretch"]
FITTING = "Fit frames of another shape: crop to the middle, pad with black, or stretch."
Fit = Annotated[Fitting, Option(help=FITTING)]
PromptFit = Annotated[Fitting, Option(help=FITTING, rich_help_panel=PROMPT)]
PromptActions = Annotated[
    str | None,
    Option(
        show_default="the action file of the same name, if there is one",
        help="Actions that led into the prompt's frames: a file, a phrase, or none.",
        rich_help_panel=PROMPT,
    ),
]


# A model, by its name
NAMES = "Folder, short name, or owner/name[@revision] on the Hub."
ModelArgument = Annotated[str, Argument(metavar="MODEL", autocompletion=completion.models, help=NAMES)]
Models = Annotated[
    list[str],
    Argument(
        metavar="MODEL...",
        autocompletion=completion.models,
        help="Folders, short names, or owner/name[@revision] on the Hub.",
    ),
]


# The machine
Device = Annotated[
    str,
    Option(
        metavar="auto|cpu|cuda[:i]|mps",
        autocompletion=completion.words(*completion.DEVICES),
        help="Device to run on.",
        rich_help_panel=MACHINE,
    ),
]
Dtype = Annotated[
    str,
    Option(
        metavar="DTYPE",
        autocompletion=completion.words(*completion.DTYPES),
        help="Number format: auto, float32, bfloat16 or float16.",
        rich_help_panel=MACHINE,
    ),
]
Threads = Annotated[
    int | None,
    Option(min=1, help="CPU threads.", show_default="chosen by torch", rich_help_panel=MACHINE),
]
PlayThreads = Annotated[
    int | None,
    Option(min=1, help="CPU threads of the model.", show_default="all cores but one", rich_help_panel=MACHINE),
]


Out = Annotated[
    Path, Option("--out", "-o", metavar="FOLDER", help="Folder for the results; an interrupted run in it is resumed.")
]


Schedules = Annotated[
    list[str] | None,
    Option(
        "--schedule",
        "-s",
        help="Preset or file, with options as in outpainting:chunk=2,steps=8; repeat for several.",
        show_default="the checkpoint's presets",
        autocompletion=completion.presets,
        rich_help_panel=SAMPLING_PANEL,
    ),
]


Seed = Annotated[int, Option(help="Seed of the mazes; a larger --mazes keeps the mazes of a smaller one.")]


Yes = Annotated[bool, Option("--yes", "-y", help="Replace existing results.")]
