"""`arvdm train`: fit a codec and a network to episodes."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ...errors import OutputExistsError, UsageError
from ..console import out as stdout
from ..console import printable, settings, warn, write_json
from ..help import Command, Row
from .display import display
from .keys import key_panels, overrides

if TYPE_CHECKING:
    from typer._click import Context

    from ...training.config import TrainConfig


class TrainCommand(Command):
    """The command, whose help also lists every key of a training file."""

    def panels(self, ctx: Context) -> dict[str, list[Row]]:
        """Rows of every panel, those of the keys last."""
        return super().panels(ctx) | key_panels()


def train(
    words: Annotated[
        list[str], Argument(metavar="CONFIG...", help="Training files in TOML, one run each, then --key value pairs.")
    ],
    resume: Annotated[
        bool,
        Option(
            "--resume",
            help="Resume each run from its saved state; a run without one starts from its beginning, with a warning.",
        ),
    ] = False,
    yes: Annotated[bool, Option("--yes", "-y", help="Replace an existing run.")] = False,
):
    """Train models, one file after the other.

    `--key value` sets a key of the files, and `--network.dim 128` a key of one of their tables.
    """
    from ...training.config import configure
    from ...training.loop import STATE, steps_of
    from ...training.loop import train as run

    count = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    files, flags = words[:count], words[count:]
    plans = [configure(Path(file), **overrides(flags)) for file in files]
    check_folders(plans, resume, yes)
    runs = []
    for file, plan in zip(files, plans, strict=True):
        saved = (Path(plan.out) / STATE).exists()
        if resume and not saved:
            warn(f"{plan.out} has no saved state to resume; this run starts from its beginning.")
        again = shlex.join(["arvdm", "train", file, "--resume", *flags])
        with ExitStack() as stack:
            made = run(plan, resume and saved, display(plan, again, stack))
        runs.append({"checkpoint": str(made), "steps": steps_of(made)})
        if not settings.json:
            stdout.print(f"checkpoint in {printable(str(made))}", soft_wrap=True)
    if settings.json:
        write_json({"runs": runs})


def check_folders(plans: list[TrainConfig], resume: bool, yes: bool):
    """Refuse runs that would replace another run unasked, or each other."""
    from ...training.loop import STATE

    if not plans:
        raise UsageError("No training file is given.", hint="arvdm train run.toml")
    for plan in plans:
        if (Path(plan.out) / STATE).exists() and not resume and not yes:
            raise OutputExistsError(f"{plan.out} holds a run.", hint="Use --resume to resume it, or -y to replace it.")
    if len({plan.out for plan in plans}) < len(plans):
        raise UsageError("Two of these runs write to the same folder.", hint="Give each file a different `out`.")
